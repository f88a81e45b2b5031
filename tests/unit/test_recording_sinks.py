"""The sinks whose target is the record itself: stdout and discard."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch, Column, Pairs
from elastic.connectors import commit_log, sinks
from elastic.connectors.base import Sink, SinkContext
from elastic.errors import FencedError, QueryError, SinkError
from elastic.keys import KeyInterval

ALL = KeyInterval(0, 16)


def batch(values: Column) -> Batch:
    return Batch(np.zeros(len(values), np.uint16), None, values)


@pytest.fixture
def context(tmp_path: Path) -> SinkContext:
    return SinkContext("run", "job", "sink", 16, 10, tmp_path / "job")


def test_lines_are_shown_once_and_in_order_when_they_are_committed(context: SinkContext) -> None:
    sink = sinks.stdout()
    shown = sink.display(context)
    assert shown() == []

    zombie = sink.open(context, ALL, 1)
    zombie.commit([(1, batch(Pairs(pa.array(["the", "of"]), pa.array([3, 2]))))], 1, final=False)
    assert shown() == ["the\t3", "of\t2"]

    with closing(sink.open(context, ALL, 2)) as writer:
        with pytest.raises(FencedError):
            zombie.commit([(2, batch(["twice"]))], 2, final=False)
        writer.commit([(2, batch(["zwölf\nZeilen"])), (3, batch([{"a": 1}]))], 3, final=True)
    zombie.close()

    assert shown() == ["zwölf\nZeilen", "{'a': 1}"]
    assert shown() == []


def test_a_line_that_is_still_being_written_is_shown_when_it_is_whole(context: SinkContext) -> None:
    sink = sinks.stdout()
    shown = sink.display(context)
    with closing(sink.open(context, ALL, 1)) as writer:
        writer.commit([(1, batch(["whole"]))], 1, final=True)
    (log,) = context.directory.iterdir()
    data = log.read_bytes()

    log.write_bytes(data[:-5])
    assert shown() == []

    log.write_bytes(data)
    assert shown() == ["whole"]


def test_who_resumes_shows_what_was_not_shown(context: SinkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_log, "SEGMENT_BYTES", 300)
    sink, shown = sinks.stdout(), list[str]()
    for generation in range(1, 6):
        display = sink.display(context)
        assert display is not None
        with closing(sink.open(context, ALL, generation)) as writer:
            for tick in range(generation * 10, generation * 10 + 10):
                writer.commit([(tick, batch([f"row {tick}"]))], tick, final=False)
                if tick % 3:
                    while found := display():
                        shown += found

    assert shown == [f"row {tick}" for tick in range(10, 60)]


@pytest.mark.parametrize("make", [sinks.stdout, sinks.discard])
def test_the_record_of_a_long_job_stays_short(
    context: SinkContext, make: Callable[[], Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_log, "SEGMENT_BYTES", 1000)
    sink, shown = make(), list[str]()
    display = sink.display(context) or list
    for generation in (1, 2):
        with closing(sink.open(context, ALL, generation)) as writer:
            for tick in range(generation * 1000, generation * 1000 + 500):
                writer.commit([(tick, batch(["row"]))], tick, final=False)
                shown += display()

    assert sum(path.stat().st_size for path in context.directory.iterdir()) < 30_000
    if make is sinks.discard:
        assert sink.compare(sink.expected([batch(["row"] * 1000)]), sink.contents(context)) == (0, 0)
    else:
        assert shown == ["row"] * 1000
        assert sink.contents(context) is None, "what was shown long ago is kept by nobody"


@pytest.mark.parametrize(
    ("other", "difference"),
    [(["a", "b"], (0, 0)), (["b", "a"], (0, 0)), (["a"], (0, 1)), (["a", "b", "b"], (1, 0)), (["a", "c"], (1, 1))],
)
def test_what_discard_has_counted_tells_lost_from_duplicated(
    context: SinkContext, other: list[Any], difference: tuple[int, int]
) -> None:
    sink = sinks.discard()
    with closing(sink.open(context, ALL, 1)) as writer:
        writer.commit([(1, batch(["a"])), (2, batch(pa.array(["b"])))], 2, final=True)

    assert sink.compare(sink.expected([batch(other)]), sink.contents(context)) == difference


def test_a_slow_discard_takes_no_more_rows_than_its_rate(context: SinkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(time, "sleep", sleep)
    with closing(sinks.discard(rate="1k/s").open(context, ALL, 1)) as writer:
        for tick in (1, 2, 3):
            writer.commit([(tick, batch(list(range(500))))], tick, final=False)
        assert clock == pytest.approx(101.5)

        sleep(10)  # idle time is not saved up
        writer.commit([(4, batch(list(range(500))))], 4, final=False)
        assert clock == pytest.approx(112)


def test_a_rate_in_bytes_is_refused() -> None:
    with pytest.raises(QueryError, match="rows a second"):
        sinks.discard(rate="1MiB/s")


def test_a_record_that_cannot_be_written_is_named(context: SinkContext) -> None:
    context.directory.parent.joinpath("job").write_text("a file")

    with pytest.raises(SinkError, match="job"):
        sinks.discard().open(context, ALL, 1)
