"""Every source keeps the contract."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elastic.connectors import sources
from elastic.connectors.base import Source
from elastic.testing import check_source

ROWS: list[dict[str, Any]] = [
    {"user": f"user-{n % 17}", "amount": n * 0.5, "n": n, "ok": n % 3 == 0} for n in range(700)
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The rows in three files of each kind, and two small ones."""
    for n, (low, high) in enumerate([(0, 300), (300, 301), (301, 690), (690, 700)]):
        part = ROWS[low:high]
        (tmp_path / f"{n}.txt").write_text("".join(f"line {row['n']}\r\n" for row in part))
        (tmp_path / f"{n}.jsonl").write_text("".join(json.dumps(row) + "\n" * (1 + row["n"] % 2) for row in part))
        lines = [f"{row['user']},{row['amount']},{row['n']},{str(row['ok']).lower()}\n" for row in part]
        (tmp_path / f"{n}.csv").write_text("user,amount,n,ok\n" + "".join(lines))
        pq.write_table(pa.Table.from_pylist(part), tmp_path / f"{n}.parquet", row_group_size=100)
    return tmp_path


SOURCES: dict[str, Callable[[Path], Source]] = {
    "text_files": lambda files: sources.text_files(f"{files}/*.txt"),
    "json_lines": lambda files: sources.json_lines(f"{files}/*.jsonl"),
    "csv": lambda files: sources.csv(f"{files}/*.csv"),
    "parquet": lambda files: sources.parquet(f"{files}/*.parquet"),
    "text_files repeated": lambda files: sources.text_files(f"{files}/[13].txt", repeat=3),
    "parquet repeated": lambda files: sources.parquet(f"{files}/[13].parquet", repeat=3),
    "from_list": lambda _: sources.from_list(ROWS),
    "generator": lambda _: sources.generator(keys=10, count=700),
    "followed text": lambda files: sources.text_files(f"{files}/*.txt", follow=True),
    "followed json_lines": lambda files: sources.json_lines(f"{files}/*.jsonl", follow=True),
    "followed csv": lambda files: sources.csv(f"{files}/*.csv", follow=True),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_the_contract(name: str, files: Path) -> None:
    rows: list[Any] | None = ROWS
    if "repeated" in name or name == "generator":
        rows = None
    elif "text" in name:
        rows = [f"line {row['n']}" for row in ROWS]
    counts = (1, 3) if "followed" in name else (1, 2, 3)

    check_source(lambda: SOURCES[name](files), rows=rows, patience_s=0.05, counts=counts)


class Greeter(socketserver.BaseRequestHandler):
    """Sends everybody the same lines, in pieces that end anywhere."""

    def handle(self) -> None:
        text = "".join(f"line {n}\n" for n in range(300)).encode() + b"the last"
        for at in range(0, len(text), 97):
            self.request.sendall(text[at : at + 97])


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_connection_keeps_the_contract(port: int) -> None:
    rows = [*(f"line {n}" for n in range(300)), "the last"]

    check_source(lambda: sources.tcp_lines("127.0.0.1", port, reconnect=False), rows=rows)
