"""Who writes a sink's target: a thread of its own, or the worker's where no commit ever waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic import sinks
from elastic.batch import Batch
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.errors import FencedError, SinkError
from elastic.keys import KeyInterval
from elastic.protocol import Commit, Start
from elastic.worker.targets import Committed, Opened, PromptTarget, TargetFailed, TargetThread
from elastic.worker.watchdog import Watchdog

EVERYTHING = KeyInterval(0, 256)


@dataclass
class Calls(Sink, Writer):
    """A sink that is its own writer; it commits through the tick before, and raises what it is told to."""

    threads: list[int] = field(default_factory=list)
    error: BaseException | None = None
    closed: bool = False

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        self.threads.append(threading.get_ident())
        return self

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return [(EVERYTHING, 4)]

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        self.threads.append(threading.get_ident())
        if self.error is not None:
            raise self.error
        return through if final else through - 1

    def close(self) -> None:
        self.closed = True


def rows(count: int) -> Batch:
    return Batch(np.zeros(count, np.uint16), None, pa.array(range(count)))


def start() -> Start:
    return Start(0, 7, "out", 0, EVERYTHING, 1, 1, None, None, ())


def context(tmp_path: Path) -> SinkContext:
    return SinkContext("run", "job", "out", 256, 10, tmp_path)


def prompt(sink: Sink, tmp_path: Path) -> tuple[PromptTarget, list[Any]]:
    answers: list[Any] = []
    return PromptTarget(sink, context(tmp_path), start(), answers.append, time.time), answers


def test_a_prompt_target_is_written_by_whoever_asks_and_has_answered_when_it_returns(tmp_path: Path) -> None:
    sink = Calls()
    target, answers = prompt(sink, tmp_path)
    target.commit(Commit(7, ((5, rows(2)), (6, rows(3))), 6, final=False))
    target.commit(Commit(7, (), 8, final=True))
    target.close(0.0)

    opened, first, last = answers
    assert opened == Opened(start(), [(EVERYTHING, 4)], 0)
    assert (first.through, first.rows, first.final) == (5, 2, False), "what a writer keeps back is not counted yet"
    assert (last.through, last.rows, last.final) == (8, 3, True)
    assert set(sink.threads) == {threading.get_ident()}
    assert sink.closed


def test_a_target_in_a_thread_gives_the_same_answers_from_there(tmp_path: Path) -> None:
    sink, answers = Calls(), queue.SimpleQueue[Any]()
    watchdog = Watchdog(0, "", "", 0.0, time.time, tmp_path / "stack")
    target = TargetThread(sink, context(tmp_path), start(), answers.put, time.time, watchdog)
    target.commit(Commit(7, ((5, rows(2)), (6, rows(3))), 6, final=False))
    target.commit(Commit(7, (), 8, final=True))
    target.close(timeout_s=60)

    assert answers.get() == Opened(start(), [(EVERYTHING, 4)], 0)
    done = [answers.get() for _ in range(2)]
    assert [(d.through, d.rows, d.final) for d in done] == [(5, 2, False), (8, 3, True)]
    assert threading.get_ident() not in sink.threads
    assert sink.closed


@pytest.mark.parametrize("error", [FencedError("replaced"), SinkError("no space left"), SystemExit("enough")])
def test_what_a_prompt_target_raises_is_an_answer(tmp_path: Path, error: BaseException) -> None:
    target, answers = prompt(Calls(error=error), tmp_path)
    target.commit(Commit(7, ((5, rows(2)),), 5, final=False))

    failed = answers[1]
    assert isinstance(failed, TargetFailed)
    assert failed.instance == 7
    if isinstance(error, Exception):
        assert type(failed.error) is type(error)
    else:
        assert "code of yours ends the process" in str(failed.error)
    assert str(error) in str(failed.error)


def test_only_a_sink_that_keeps_no_rate_and_no_row_needs_no_thread(tmp_path: Path) -> None:
    assert not sinks.discard().waits
    assert sinks.discard(rate="10/s").waits
    assert sinks.json_lines(str(tmp_path)).waits
    target, answers = prompt(sinks.discard(), tmp_path)
    target.commit(Commit(7, ((5, rows(2)),), 5, final=True))
    target.close(0.0)
    assert isinstance(answers[0], Opened)
    assert isinstance(answers[1], Committed)
    assert answers[1].rows == 2
