"""Balances of users, from orders in JSON lines and refunds in CSV.

The job is ``query``; it writes its own input, the first time. ``check`` adds it up in plain Python.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from elastic import Query, sinks, sources
from elastic.functions import field

ORDERS, REFUNDS, USERS = 150_000, 20_000, 997


def query(input: str = ".elastic/orders-input", output: str = ".elastic/orders", rate: Any = None) -> Query:
    """The job: orders as they are, and what every user has spent in the end."""
    _write_input(Path(input))
    job = Query("orders")
    orders = job.source(sources.json_lines(f"{input}/*.jsonl", rate=rate), name="orders")
    refunds = job.source(sources.csv(f"{input}/*.csv", types={"cents": int}), name="refunds")
    orders.sink(sinks.parquet(Path(output, "archive"), commit="500ms"), name="archive")
    spent = orders.union(refunds).key_by(field("user")).sum(field("cents"), emit="end", name="spent")
    spent.sink(sinks.csv(Path(output, "balances"), columns=["user", "cents"]), name="balances")
    return job


def check(result: Any) -> tuple[int, int]:
    """Orders and balances that are missing or wrong, and those that are there too often."""
    folder, output = Path(result.parameters["input"]), Path(result.parameters["output"])
    orders = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    spent = Counter[str]()
    for row in (*orders, *_csv_rows(folder)):
        spent[row["user"]] += int(row["cents"])
    expected = Counter(row["order"] for row in orders) + Counter(spent.items())
    archive = pq.read_table(output / "archive", columns=["order"]).column("order").to_pylist()
    found = Counter(archive) + Counter((row["user"], int(row["cents"])) for row in _csv_rows(output / "balances"))
    return (expected - found).total(), (found - expected).total()


def largest(result: Any) -> Iterator[str]:
    """The five users who have spent most."""
    yield "the five users who have spent most:"
    rows = _csv_rows(Path(result.parameters["output"], "balances"))
    for row in sorted(rows, key=lambda row: -int(row["cents"]))[:5]:
        yield f"  {int(row['cents']) / 100:>9,.2f}  {row['user']}"


def _csv_rows(folder: Path) -> list[dict[str, str]]:
    rows = []
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def _write_input(folder: Path) -> None:
    """Two files of orders and one of refunds, the same every time; left alone if they are there."""
    if (folder / "refunds.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(2):
        orders = (
            {"order": n, "user": f"user-{n * 7919 % USERS}", "cents": n * 31 % 10_007} for n in range(part, ORDERS, 2)
        )
        (folder / f"orders-{part}.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    refunds = (f"user-{n * 104_729 % USERS},-{n * 17 % 5003}\n" for n in range(REFUNDS))
    (folder / "refunds.csv.new").write_text("user,cents\n" + "".join(refunds))
    (folder / "refunds.csv.new").rename(folder / "refunds.csv")  # last, and whole: it says that the input is complete
