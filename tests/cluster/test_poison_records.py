"""Records on which user code raises, on real processes of which some are killed: diverted and counted once each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dstream.model import start_job
from elastic import Operator, Query, sinks, sources
from elastic.cluster.job import LocalJob
from elastic.scenario.models import DStream
from tests.cluster.driving import drive, kill_owner, kinds

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
NUMBERS = list(range(6000))


def halved(row: dict[str, int]) -> int:
    """Fails on multiples of a hundred."""
    return row["n"] // (row["n"] % 100 and 1)


class Sums(Operator):
    """A running sum per key, which fails after it has changed state, on every number that ends with 13."""

    outputs = ("large",)

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        total = (state.get() or 0) + value
        state.set(total)
        if total > 10_000:
            ctx.emit("large", (key, total))
        yield key, total
        if value % 100 == 13:
            raise ValueError(f"{value} ends with 13")


def rows(directory: Path) -> Counter[str]:
    """What a JSON lines sink holds."""
    parts = [p for p in directory.rglob("*.jsonl") if not p.name.startswith(".")]
    return Counter(line for part in parts for line in part.read_text().splitlines())


def test_the_scenario_with_poison_records_meets_what_it_expects(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "elastic", "run", f"{ROOT}/scenarios/poison_records.yaml", "--json", str(report)]

    done = subprocess.run([*command, "--plain"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    failures = {f["where"]: (f["skipped"], f["diverted"]) for f in json.loads(report.read_text())["failures"]}
    assert failures == {"map(parse)": (0, 200), "Account": (0, 20)}
    assert "failed      map(parse): 200 diverted; the last: json.decoder.JSONDecodeError" in done.stdout


SECTION = DStream.model_validate({"interval": "100ms", "checkpoint": 2})


@pytest.mark.parametrize("start", [LocalJob, partial(start_job, settings=SECTION)], ids=["elastic", "dstream"])
def test_bad_records_are_diverted_and_counted_once_though_workers_die(
    tmp_path: Path, start: Callable[..., LocalJob]
) -> None:
    cut_off = [n for n in NUMBERS if n % 100 == 57]
    file = tmp_path / "numbers.jsonl"
    file.write_text("".join(f'{{"n": {n}\n' if n in cut_off else f'{{"n": {n}}}\n' for n in NUMBERS))
    query = Query("poison")
    read = query.source(sources.json_lines(file, rate="3k/s", errors="divert"), name="numbers")
    good = read.map(halved, on_error="divert")
    sums = good.key_by(lambda number: number % 10).apply(Sums(), name="sums", on_error="divert")
    sums.sink(sinks.json_lines(tmp_path / "sums", commit="200ms"), name="K")
    sums.output("large").key_by(lambda row: row[0]).count(emit="end").sink(
        sinks.json_lines(tmp_path / "large"), name="L"
    )
    failed = read.output("errors").union(good.output("errors"), sums.output("errors"))
    failed.map(lambda told: [told["operator"], told["key"], told["record"], told["place"] or bool(told["line"])]).sink(
        sinks.json_lines(tmp_path / "failed", commit="200ms"), name="M"
    )

    outcome = drive(
        query, tmp_path, kill_owner("sums", 0, after_records=1500), kill_owner("sums", 1, after_records=4000),
        workers=3, spares=2, checkpoint_ms=200, start=start,
    )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert kinds(outcome).count("failed") == 2
    hundreds = [n for n in NUMBERS if n % 100 == 0]
    thirteens = [n for n in NUMBERS if n % 100 == 13]
    assert rows(tmp_path / "failed") == Counter(
        [json.dumps(["numbers", None, f'{{"n": {n}', f"{file}:{n + 1}"], separators=(",", ":")) for n in cut_off]
        + [json.dumps(["map(halved)", None, {"n": n}, True], separators=(",", ":")) for n in hundreds]
        + [json.dumps(["sums", 3, n, True], separators=(",", ":")) for n in thirteens]
    )
    assert sum(rows(tmp_path / "sums").values()) == len(NUMBERS) - len(cut_off) - len(hundreds) - len(thirteens)
    counts = {f.where: (f.skipped, f.diverted) for f in outcome.failures}
    assert counts == dict.fromkeys(("numbers", "map(halved)", "sums"), (0, 60))
    assert kinds(outcome).count("record_failed") == 3
    totals = Counter[int]()
    for n in set(NUMBERS) - {*cut_off, *hundreds, *thirteens}:
        totals[n % 10] += n
    last = Counter[int]()
    for key, total in map(json.loads, rows(tmp_path / "sums")):
        last[key] = max(last[key], total)
    assert last == totals
    assert {json.loads(row)[0] for row in rows(tmp_path / "large")} == set(totals)
