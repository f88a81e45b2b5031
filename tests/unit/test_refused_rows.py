"""Rows that a sink cannot hold: found before they are sent, left out or diverted, and the others written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from elastic import Query, sinks, sources
from elastic.batch import Pairs
from elastic.connectors.base import Sink
from elastic.errors import QueryError, SinkError
from elastic.plan import Settings
from elastic.testing.simulator import simulate

NAMES = ["a", "b"]


def positive(row: Any) -> None:
    if row[0] < 0:
        raise ValueError(f"{row[0]} is below zero")


@pytest.mark.parametrize(
    ("make", "bad", "said"),
    [
        (sinks.json_lines, (1, math.inf), "cannot be written to .* as JSON"),
        (lambda path: sinks.csv(path, columns=NAMES), (1, {2}), "which cannot be written to .* as CSV"),
        (lambda path: sinks.csv(path, columns=NAMES), (1,), "but the sink was given the columns a, b"),
        (lambda path: sinks.parquet(path, columns=NAMES, types={"b": int}), (1, "x"), "does not go with int64"),
        (lambda path: sinks.sqlite(path, table="t", columns=NAMES), (2**64, 1), "an integer of more than 64 bits"),
        (lambda path: sinks.sqlite(path, table="t", columns=NAMES), (1, [2]), "column 'b' holds a list"),
        (lambda path: sinks.sqlite(path, table="t", columns=NAMES, upsert=True), (None, 1), "cannot be a key"),
    ],
)
def test_a_sink_says_which_rows_it_cannot_hold_without_touching_its_target(
    tmp_path: Path, make: Any, bad: Any, said: str
) -> None:
    sink: Sink = make(tmp_path / "target")

    sink.check([(1, 2), (3, 4)])
    sink.check(Pairs(pa.array([1, 3]), pa.array([2, 4])))
    with pytest.raises(SinkError, match=said):
        sink.check([bad])

    assert sink.checks
    assert not (tmp_path / "target").exists()


ROWS = [(n if n % 7 else -n, n) for n in range(1, 60)]


@pytest.mark.parametrize("on_error", ["skip", "divert"])
def test_rows_that_are_refused_are_left_out_and_diverted(on_error: Any) -> None:
    query = Query("q")
    rows = query.source(sources.from_list(ROWS, rate="500/s"))
    written = rows.sink(sinks.call(print, accepts=positive), on_error=on_error, name="K")
    if on_error == "divert":
        written.output("errors").map(lambda bad: (bad["operator"], bad["record"], bad["cause"])).sink(
            sinks.discard(), name="bad"
        )

    result = simulate(query, 3, workers=2, settings=Settings(tick_ms=10, checkpoint_ms=60, key_groups=16))

    assert (result.status, result.wrong, result.error) == ("done", None, None)
    found = {name: sorted(row for tick in ticks.values() for row in tick) for name, ticks in result.sinks.items()}
    assert found["K"] == sorted(row for row in ROWS if row[0] > 0)
    assert found.get("bad", []) == [
        ("K", row, f"ValueError: {row[0]} is below zero") for row in sorted(ROWS) if row[0] < 0 and on_error == "divert"
    ]


def test_a_sink_that_cannot_tell_has_no_policy() -> None:
    rows = Query("q").source(sources.from_list([1]))

    with pytest.raises(QueryError, match=r"the sink 'call' does not say which rows it can hold"):
        rows.sink(sinks.call(print), on_error="skip")
    with pytest.raises(QueryError, match="this stream is 'discard'"):
        rows.sink(sinks.discard()).output("errors")


def test_what_is_diverted_must_be_read(tmp_path: Path) -> None:
    query = Query("q")
    query.source(sources.from_list([1])).sink(sinks.json_lines(tmp_path), on_error="divert")

    with pytest.raises(QueryError, match="nothing reads what comes from output 'errors' of 'json_lines'"):
        query.check()
