"""A sink's target is written in a thread of its own, so that a slow target delays nobody else there.

Only a target that never waits for anything is written where its instance is stepped: to hand over and to answer takes
two switches of threads for each commit, and the other thread has to get the interpreter first.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.keys import KeyInterval
from elastic.operators.failure import connector_error, ending_error
from elastic.protocol import Commit, Start
from elastic.worker.tallies import TALLIES, Tally
from elastic.worker.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Opened:
    """The target is open, and holds these intervals through these ticks: ``rows`` of them, as far as is known."""

    start: Start
    committed: list[tuple[KeyInterval, int]]
    rows: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit is in the target, through tick ``through``; so many ``rows`` since the last one; it took ``took_s``."""

    instance: int
    through: int
    rows: int
    final: bool
    at_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class TargetFailed:
    """The target refused, or a newer generation has it."""

    instance: int
    error: Exception


class _Target:
    """An open target, and what of it is committed."""

    def __init__(self, sink: Sink, context: SinkContext, start: Start, clock: Callable[[], float]) -> None:
        self._sink, self._context, self._start, self._clock = sink, context, start, clock
        self._writer: Writer | None = None
        self._tally: Tally | None = None

    def open(self) -> Opened:
        """Open it for the instance's interval and generation."""
        self._writer = self._sink.open(self._context, self._start.interval, self._start.generation)
        committed, start = self._writer.committed(), self._start
        through = min(tick for _, tick in committed)
        self._tally = Tally(self._context.directory / TALLIES, start.operator, start.index, start.generation, through)
        return Opened(start, committed, self._tally.rows)

    def commit(self, command: Commit) -> Committed:
        """Have the writer commit."""
        assert self._writer is not None
        assert self._tally is not None
        self._tally.hand((tick, len(batch)) for tick, batch in command.ticks)
        began_s = self._clock()
        through = self._writer.commit(command.ticks, command.through, final=command.final)
        rows = self._tally.settle(through)
        now_s = self._clock()
        return Committed(self._start.instance, through, rows, command.final, now_s, now_s - began_s)

    def failed(self, error: BaseException) -> TargetFailed:
        """What is told of an error: whatever a target raises ends its instance, and is reported."""
        if isinstance(error, Exception):
            return TargetFailed(self._start.instance, connector_error(error, f"sink {self._start.operator!r}"))
        return TargetFailed(self._start.instance, ending_error(error))

    def close(self) -> None:
        """Release the target."""
        if self._tally is not None:
            self._tally.close()
        if self._writer is not None:
            self._writer.close()


class PromptTarget:
    """Opens one sink instance's target and commits to it, at once.

    Args:
        answer: Called with each result.
        clock: Unix time, seconds.
    """

    def __init__(
        self, sink: Sink, context: SinkContext, start: Start,
        answer: Callable[[Opened | Committed | TargetFailed], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._target, self._answer = _Target(sink, context, start, clock), answer
        self._do(self._target.open)

    def commit(self, command: Commit) -> None:
        """Commit; the answer has been given when this returns."""
        self._do(lambda: self._target.commit(command))

    def close(self, timeout_s: float) -> None:
        """No further commit follows."""
        self._target.close()

    def _do(self, what: Callable[[], Opened | Committed]) -> None:
        try:
            self._answer(what())
        except BaseException as error:  # noqa: BLE001 (reported, also where code of the user's would end the process)
            self._answer(self._target.failed(error))


class TargetThread:
    """Opens one sink instance's target and commits to it, in order, in a thread of its own.

    Args:
        answer: Called in the thread with each result; must be thread-safe.
        clock: Unix time, seconds.
        watchdog: Watches over a target that does not return.
    """

    def __init__(
        self, sink: Sink, context: SinkContext, start: Start,
        answer: Callable[[Opened | Committed | TargetFailed], None], clock: Callable[[], float], watchdog: Watchdog,
    ) -> None:  # fmt: skip
        self._target, self._answer, self._watchdog = _Target(sink, context, start, clock), answer, watchdog
        self._instance = start.instance
        self._work: queue.SimpleQueue[Commit | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"sink-{start.operator}-{start.index}", daemon=True)
        self._thread.start()

    def commit(self, command: Commit) -> None:
        """Queue a commit; its answer follows."""
        self._work.put(command)

    def close(self, timeout_s: float) -> None:
        """No further commit begins; waits a while for one under way."""
        self._work.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        activity = self._watchdog.activity()
        try:
            activity.now = ("open", self._instance, 0, time.perf_counter())
            self._answer(self._target.open())
            activity.now = None
            while (command := self._work.get()) is not None:
                activity.now = ("commit", self._instance, command.through, time.perf_counter())
                done = self._target.commit(command)
                activity.now = None
                self._answer(done)
        except BaseException as error:  # noqa: BLE001 (code of the user's may end this thread, not the process)
            self._answer(self._target.failed(error))
        finally:
            self._watchdog.forget(activity)
            self._target.close()
