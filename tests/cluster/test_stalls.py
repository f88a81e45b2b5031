"""Jobs that stand still on real processes: who does is named with the line that does not return; nobody is killed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dstream import StreamingContext
from dstream.model import start_job
from elastic import Operator, Query, sinks, sources
from elastic.batch import Batch
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.discard import DiscardSink
from elastic.keys import KeyInterval
from elastic.report import JobOutcome, Stall
from elastic.scenario.models import DStream
from tests.cluster.driving import Breaker, Running, drive, kinds
from tests.cluster.jobs import HARD, hard_to_match

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STALL_AFTER_MS = 700


class Endless(Operator):
    """Loops for a while at one record, as an operator with a mistake would for ever."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        if value == 60:
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                sum(range(100))  # the endless loop
        yield key, value


class Backtracking(Operator):
    """Holds the interpreter at one record."""

    def __init__(self) -> None:
        self.text = hard_to_match(2.0)

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        if value == 60:
            HARD.match(self.text)  # takes seconds
        yield key, value


class LockedSink(Sink):
    """A target that answers no commit of the third second."""

    name = "locked"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return _LockedWriter(DiscardSink().open(context, interval, generation))


class _LockedWriter(Writer):
    def __init__(self, inner: Writer) -> None:
        self._inner, self._opened_s = inner, time.monotonic()
        self._is_locked = True

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if self._is_locked and time.monotonic() > self._opened_s + 0.5:
            self._is_locked = False
            time.sleep(3.5)  # somebody holds the lock
        return self._inner.commit(ticks, through, final=final)


def job(operator: Operator | None = None, sink: Sink | None = None) -> Query:
    query = Query("stalls")
    numbers = query.source(sources.from_list(list(range(200)), rate="200/s")).key_by(lambda n: n % 7)
    stream = numbers.apply(operator or Passing(), name="operator")
    stream.sink(sink or sinks.discard(), name="sink")
    return query


class Passing(Operator):
    """Passes rows on."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield key, value


def stall_of(outcome: JobOutcome, operator: str | None, what: str) -> Stall:
    """The one that was provoked; on a busy machine others may stand still as well."""
    assert outcome.status == "done", outcome.error
    assert outcome.records_out == 200
    assert "failed" not in kinds(outcome)
    return the(outcome.stalls, operator, what)


def the(stalls: Sequence[Stall], operator: str | None, what: str) -> Stall:
    found = [stall for stall in stalls if stall.what == what and operator in (None, stall.operator)]
    assert found, stalls
    return found[0]


def sees(operator: str | None, what: str, seen: list[Stall]) -> Breaker:
    """Breaks nothing: it waits until a stall is shown, and notes it."""

    def watch(running: Running) -> bool:
        seen.extend(s for s in running.progress.stalls if s.what == what and operator in (None, s.operator))
        return bool(seen)

    return watch


def test_user_code_that_loops_is_named_with_its_line_while_it_loops(tmp_path: Path) -> None:
    seen: list[Stall] = []

    watch = sees("operator", "code", seen)
    outcome = drive(job(Endless()), tmp_path, watch, workers=2, stall_after_ms=STALL_AFTER_MS)
    stall = stall_of(outcome, "operator", "code")

    assert seen[0].until_s is None
    assert "# the endless loop" in seen[0].lines[-1] or "while time.monotonic()" in seen[0].lines[-1]
    assert f"{__file__}, line " in seen[0].lines[-1]
    assert stall.until_s is not None
    assert stall.until_s - stall.since_s > 1.6
    assert any("waits for its worker, which is busy with operator#" in sentence for sentence in stall.waiting)


def test_user_code_that_holds_the_interpreter_is_named_with_its_line_too(tmp_path: Path) -> None:
    outcome = drive(job(Backtracking()), tmp_path, workers=2, stall_after_ms=STALL_AFTER_MS, heartbeat_ms=1_000)
    stall = stall_of(outcome, "operator", "code")

    assert re.search("holds Python's interpreter|^in your code", stall.detail), (
        "its worker may get a word in at the end"
    )
    assert "# takes seconds" in stall.lines[-1]


def test_a_target_that_does_not_return_is_named_with_its_line_and_those_that_wait_for_it(tmp_path: Path) -> None:
    outcome = drive(job(sink=LockedSink()), tmp_path, workers=2, stall_after_ms=STALL_AFTER_MS)
    stall = stall_of(outcome, "sink", "sink")

    assert "has not returned from a commit" in stall.detail
    assert "# somebody holds the lock" in stall.lines[-1]


def test_a_stopped_worker_is_hung_and_replaced_where_heartbeats_are_quick_and_a_stall_where_they_are_slow(
    tmp_path: Path,
) -> None:
    def pause(running: Running) -> bool:
        owner = running.job.owner_of("operator", 0)
        if not running.has_read(40) or owner is None:
            return False
        running.job.pause(owner)
        return True

    def resume(running: Running) -> bool:
        for worker in range(3):
            running.job.resume(worker)
        return True

    faults = pause, sees(None, "worker", []), resume
    outcome = drive(job(), tmp_path, *faults, workers=2, stall_after_ms=STALL_AFTER_MS, heartbeat_ms=30_000)
    stall = stall_of(outcome, None, "worker")

    assert "has said nothing for" in stall.detail
    assert stall.until_s is not None


def test_a_job_that_is_merely_slow_or_idle_has_no_stalls(tmp_path: Path) -> None:
    """Of each of two partitions there is a row every four seconds."""
    query = Query("idle")
    numbers = query.source(sources.from_list(list(range(3)), rate="0.5/s")).key_by(lambda n: n % 7)
    numbers.count(emit="1s").sink(sinks.discard())

    outcome = drive(query, tmp_path, workers=2, stall_after_ms=2_500)

    assert outcome.status == "done", outcome.error
    assert outcome.stalls == ()
    assert "stalled" not in kinds(outcome)


# -- under the D-Streams model -----------------------------------------------------------------------------------------


def in_intervals(query: Any, tmp_path: Path, **settings: Any) -> JobOutcome:
    start: Any = partial(start_job, settings=DStream(interval="100ms"))  # type: ignore[arg-type]
    return drive(query, tmp_path, start=start, workers=2, stall_after_ms=STALL_AFTER_MS, **settings)


class Slow:
    """Takes its time over the rows of one key in one interval."""

    def __call__(self, row: tuple[int, list[int]]) -> int:
        if 60 in row[1]:
            time.sleep(2.5)  # a service that does not answer
        return len(row[1])


class Program:
    """Two outputs of one program, where a query is expected."""

    name = "stalls"

    def plan(self, **_: Any) -> Any:
        context = StreamingContext("100ms", name=self.name, workers=2, stall_after=f"{STALL_AFTER_MS}ms")
        numbers = context.source(sources.from_list(list(range(200)), rate="200/s"), name="numbers")
        numbers.map(lambda n: (n % 7, n)).group_by_key().map(Slow()).save(sinks.discard(), name="quick")
        numbers.save(LockedSink(), name="locked")
        return context.plan()


def test_in_intervals_tasks_without_state_and_targets_that_do_not_return_are_both_named_with_their_lines(
    tmp_path: Path,
) -> None:
    outcome = in_intervals(Program(), tmp_path)

    assert outcome.status == "done", outcome.error
    code, sink = the(outcome.stalls, None, "code"), the(outcome.stalls, "locked", "sink")
    assert "# a service that does not answer" in code.lines[-1]
    assert re.match(r"in your code for .*, in interval \d+$", code.detail)
    assert code.until_s is not None
    assert code.until_s - code.since_s > 1.6
    assert any("in interval" in sentence for sentence in code.waiting)
    assert "# somebody holds the lock" in sink.lines[-1]
    assert {"stalled", "moving"} <= set(kinds(outcome))


def test_in_intervals_user_code_that_holds_the_interpreter_is_named_with_its_line_too(tmp_path: Path) -> None:
    stall = stall_of(in_intervals(job(Backtracking()), tmp_path, heartbeat_ms=1_000), None, "code")

    assert re.search("holds Python's interpreter|^in your code", stall.detail), (
        "its worker may get a word in at the end"
    )
    assert "# takes seconds" in stall.lines[-1]
