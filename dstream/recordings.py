"""Streams that end in the user's process: the rows of their last intervals, for functions and for looking back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from dstream.hand_over import KEPT_SEGMENTS, HandOver, handed_over, unpacked
from dstream.rdd import RDD, Workers, rdd_of
from elastic.callables import add_query_room, caller
from elastic.connectors import sources
from elastic.connectors.base import Partition, SinkContext, Source
from elastic.connectors.commit_log import CommitLogReader
from elastic.errors import QueryError

add_query_room(__file__)


Perform: TypeAlias = Callable[..., None]
"""Calls a function of the user's: ``perform(name, interval, function, *arguments)``, of an output or a listener."""


@dataclass(eq=False)
class Recording:
    """What one stream has handed over, by interval.

    Attributes:
        operator: Name of the sink that hands rows over.
        interval_ms: Length of an interval.
        keep_ms: So long rows are kept; until the function has returned, if None.
        function: Called with each interval's rows; none if None.
        timed: It takes the time of the interval's end too.
        tick_zero_s: When the job's first interval began, Unix time.
        complete: The last interval whose rows were handed over, or would have been if it had any.
        forgotten: Rows of intervals through this one are not kept any more.
    """

    operator: str
    sink: HandOver
    interval_ms: int
    keep_ms: int | None = None
    function: Callable[..., Any] | None = None
    timed: bool = False
    workers: Workers | None = None
    tick_zero_s: float = 0.0
    complete: int = 0
    forgotten: int = 0
    _held: dict[int, str] = field(default_factory=dict)
    _reader: CommitLogReader | None = None
    _returned: Path | None = None  # a file with the last interval with which the function has returned
    _called: int = 0
    _interval_ticks: int = 1
    _ended_s: float = 0.0  # the last complete interval
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, context: SinkContext) -> None:
        """The job is about to start; the context is the sink's."""
        self._reader = self.sink.reader(context)
        self._returned = context.directory / f"{self.operator}.called"
        self._called = int(self._returned.read_text()) if self._returned.exists() else 0
        self._interval_ticks = self.interval_ms // context.tick_ms

    def read(self, tick_zero_s: float, perform: Perform) -> None:
        """Take what has been handed over since, and call the function with it."""
        assert self._reader is not None
        self.tick_zero_s = tick_zero_s
        for tick, data in handed_over(self._reader):
            interval = -(-tick // self._interval_ticks)  # the last one may be cut short
            ended_s = tick_zero_s + tick * self.interval_ms / self._interval_ticks / 1000
            with self._lock:
                self._held[interval] = data
                self.complete, self._ended_s = interval, ended_s
            if self.function is not None and interval > self._called:
                arguments = (ended_s, self.rdd(interval)) if self.timed else (self.rdd(interval),)
                perform(self.operator, interval, self.function, *arguments)
                self._note_called(interval)
            self._forget()
        self._reader.drop_read(KEPT_SEGMENTS)
        committed = min((claim.tick for claim in self._reader.claims), default=0) // self._interval_ticks
        if committed > self.complete:
            self.complete, self._ended_s = committed, tick_zero_s + committed * self.interval_ms / 1000

    def _note_called(self, interval: int) -> None:
        """The function has returned: who resumes the job goes on after that."""
        assert self._returned is not None
        self._called = interval
        begun = self._returned.with_suffix(".partial")
        begun.write_text(str(interval))
        begun.replace(self._returned)

    def rdd(self, interval: int) -> RDD:
        """The rows of an interval."""
        return rdd_of(IntervalRows(partial(self.rows, interval)), self.workers)

    def rows(self, interval: int) -> list[Any]:
        """The rows of an interval, in this process.

        Raises:
            QueryError: They are forgotten.
        """
        with self._lock:
            if interval <= self.forgotten:
                ended_s = self.tick_zero_s + interval * self.interval_ms / 1000
                ended = datetime.fromtimestamp(ended_s, UTC).astimezone()
                kept = "until the function had returned" if self.keep_ms is None else f"for {self.keep_ms}ms"
                raise QueryError(
                    f"{caller()}: the rows of {self.operator!r} in the interval that ended {ended:%H:%M:%S.%f} are "
                    f"forgotten: they were kept {kept}; call context.remember('5m') before start(), or keep what "
                    "rdd.collect() gives, and not the RDD"
                )
            data = self._held.get(interval)
        return [] if data is None else unpacked(data)

    def between(self, begin_s: float, end_s: float) -> list[RDD]:
        """The datasets of the intervals that ended from one time to the other, of those that are complete.

        Raises:
            QueryError: Some are forgotten.
        """
        first, last = (int((moment - self.tick_zero_s) * 1000 // self.interval_ms) for moment in (begin_s, end_s))
        last = self.complete if end_s >= self._ended_s else last
        found = range(max(first, 1), last + 1)
        if found:
            self.rows(found[0])
        return [self.rdd(interval) for interval in found]

    def _forget(self) -> None:
        with self._lock:
            kept = (self.keep_ms or 0) // self.interval_ms
            self.forgotten = max(self.forgotten, max(self._held) - kept)
            self._held = {i: data for i, data in self._held.items() if i > self.forgotten}


class IntervalRows(Source):
    """The rows of one interval, as long as they are kept; shipped without them."""

    name = "interval"

    def __init__(self, found: Callable[[], list[Any]] | None) -> None:
        self._found = found

    def __reduce__(self) -> tuple[Any, ...]:
        return IntervalRows, (None,)

    def partitions(self, count: int) -> Sequence[Partition]:
        """Runs of equal length.

        Raises:
            QueryError: They are forgotten.
        """
        assert self._found is not None, "partitions are cut where the rows are"
        return sources.from_list(self._found()).partitions(count)


def moment_s(call: str, what: str, moment: Any) -> float:
    """A moment as Unix time.

    Raises:
        QueryError: It is none.
    """
    if isinstance(moment, datetime):
        return moment.timestamp()
    if isinstance(moment, int | float) and not isinstance(moment, bool):
        return float(moment)
    raise QueryError(f"{caller()}: {call}({what}={moment!r}) takes a datetime, or seconds since 1970")
