"""A sink's target is written in a thread of its own, so that a slow target delays nobody else there."""

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


class TargetThread:
    """Opens one sink instance's target and commits to it, in order.

    Args:
        answer: Called in the thread with each result; must be thread-safe.
        clock: Unix time, seconds.
        watchdog: Watches over a target that does not return.
    """

    def __init__(
        self, sink: Sink, context: SinkContext, start: Start,
        answer: Callable[[Opened | Committed | TargetFailed], None], clock: Callable[[], float], watchdog: Watchdog,
    ) -> None:  # fmt: skip
        self._watchdog = watchdog
        self._sink, self._context, self._start, self._answer, self._clock = sink, context, start, answer, clock
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
        id = self._start.instance
        writer: Writer | None = None
        tally: Tally | None = None
        activity = self._watchdog.activity()
        try:
            activity.now = ("open", id, 0, time.perf_counter())
            writer = self._sink.open(self._context, self._start.interval, self._start.generation)
            committed = writer.committed()
            tally = self._tally(min(tick for _, tick in committed))
            self._answer(Opened(self._start, committed, tally.rows))
            activity.now = None
            while (command := self._work.get()) is not None:
                tally.hand((tick, len(batch)) for tick, batch in command.ticks)
                began_s = self._clock()
                activity.now = ("commit", id, command.through, time.perf_counter())
                through = writer.commit(command.ticks, command.through, final=command.final)
                activity.now = None
                rows = tally.settle(through)
                now_s = self._clock()
                self._answer(Committed(id, through, rows, command.final, now_s, now_s - began_s))
        except Exception as error:  # noqa: BLE001 (whatever a target raises ends its instance, and is reported)
            self._answer(TargetFailed(id, connector_error(error, f"sink {self._start.operator!r}")))
        except BaseException as error:  # noqa: BLE001 (code of the user's would end the process, and ends this thread)
            self._answer(TargetFailed(id, ending_error(error)))
        finally:
            self._watchdog.forget(activity)
            if tally is not None:
                tally.close()
            if writer is not None:
                writer.close()

    def _tally(self, through: int) -> Tally:
        start = self._start
        return Tally(self._context.directory / TALLIES, start.operator, start.index, start.generation, through)
