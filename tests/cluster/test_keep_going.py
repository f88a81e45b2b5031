"""A program of which one output fails, on real processes: the others go on, through losses and a resumed job."""

from __future__ import annotations

import json
import operator
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dstream import OutputInfo, StreamingContext, StreamingListener
from elastic import sinks, sources
from elastic.errors import JobFailedError
from tests.cluster.driving import DEADLINE_S, Held

pytestmark = pytest.mark.cluster

ROWS = [(n % 5, n) for n in range(3_000)]
BAD = 1_100
EXPECTED = {key: sum(n for k, n in ROWS if k == key) for key in range(5)}


def refuse(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[1] == BAD:
        raise ValueError("eleven hundred is right out")
    return pair


class Notes(StreamingListener):
    def __init__(self) -> None:
        self.outputs: list[OutputInfo] = []

    def on_output_operation_completed(self, output: OutputInfo) -> None:
        self.outputs.append(output)


def program(directory: Path) -> StreamingContext:
    context = StreamingContext(
        "100ms", workers=2, directory=directory / "job", checkpoint=3, retries=1, keep_going=True, partitions=1
    )
    pairs = context.source(Held(sources.from_list(ROWS, rate="2k/s"), directory / "go"))
    totals = pairs.running_reduce(operator.add, name="totals")
    totals.save(sinks.sqlite(directory / "totals.db", table="totals", upsert=True), name="good")
    pairs.map(refuse).save(sinks.json_lines(directory / "refused"), name="refused")
    return context


def committed(directory: Path) -> tuple[dict[int, int], list[Any]]:
    with closing(sqlite3.connect(directory / "totals.db")) as connection:
        totals = dict(connection.execute("SELECT key, value FROM totals"))
    parts = sorted((directory / "refused").glob("*.jsonl"))
    return totals, [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def test_an_output_that_fails_has_all_intervals_before_and_the_other_one_has_everything(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    context = program(tmp_path)
    context.add_listener(notes := Notes())
    context.start()

    with pytest.raises(JobFailedError, match="1 of 2 outputs failed, the others have everything") as caught:
        context.await_termination(DEADLINE_S)

    assert "'refused' from interval" in str(caught.value)
    assert "test_keep_going.py" in str(caught.value)
    totals, rows = committed(tmp_path)
    assert totals == EXPECTED
    failed = [o.interval for o in notes.outputs if o.error is not None]
    assert {o.name for o in notes.outputs if o.error is not None} == {"refused"}
    assert failed == list(range(failed[0], failed[0] + len(failed)))
    lines = (tmp_path / "job" / "intervals.jsonl").read_text().splitlines()
    records = [json.loads(line)["records"] for line in lines]
    assert len(rows) == sum(records[: failed[0] - 1]) <= BAD < sum(records[: failed[0]])
    assert [tuple(row) for row in rows] == ROWS[: len(rows)]


def test_a_resumed_job_goes_on_with_the_outputs_that_have_not_failed(tmp_path: Path) -> None:
    context = program(tmp_path)
    context.add_listener(notes := Notes())
    context.start()
    deadline = time.monotonic() + DEADLINE_S
    while not any(output.error for output in notes.outputs):
        assert not context.await_termination(0.05)
        assert time.monotonic() < deadline
    context.stop(graceful=False)
    before = committed(tmp_path)[1]
    (tmp_path / "go").touch()
    again = program(tmp_path)
    again.start(resume=True)

    with pytest.raises(JobFailedError, match="'refused' from interval"):
        again.await_termination(DEADLINE_S)

    totals, rows = committed(tmp_path)
    assert totals == EXPECTED
    assert rows[: len(before)] == before
    assert len(rows) <= BAD
