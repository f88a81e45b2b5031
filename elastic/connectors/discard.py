"""A sink that keeps no row, only how many there were and a checksum of them: to measure with, and to verify by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from elastic.batch import Batch
from elastic.connectors.base import Rate, Sink, SinkContext, Writer
from elastic.connectors.checksum import checksum
from elastic.connectors.claims import progress_ticks
from elastic.connectors.commit_log import CommitLog, CommitLogReader, log_path
from elastic.keys import KeyInterval


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows counted, and the sum of their hashes modulo 2^64: equal for the same rows in any order and any batches."""

    rows: int = 0
    checksum: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.rows + other.rows, (self.checksum + other.checksum) % 2**64)


@dataclass(frozen=True)
class DiscardSink(Sink):
    """Rows are counted and forgotten; see ``elastic.sinks.discard``.

    Attributes:
        rate: Rows a second that each writer takes, by sleeping; None for as fast as it goes.
    """

    rate: Rate | None = None
    name = "discard"

    @property
    def waits(self) -> bool:  # type: ignore[override]
        """Only to keep its rate."""
        return self.rate is not None

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return DiscardWriter(self, context, interval, generation)

    def contents(self, context: SinkContext) -> Any:
        newest = {
            (entry.interval, entry.generation): Tally(*entry.payload)
            for entry in CommitLogReader(log_path(context, context.directory)).read()
        }
        return sum(newest.values(), Tally())

    def expected(self, batches: Sequence[Batch]) -> Any:
        return sum(map(tally, batches), Tally())

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        """Missing and surplus rows; where as many are there, but others, all that is certain is one of each."""
        if expected.rows == contents.rows:
            differs = int(expected.checksum != contents.checksum)
            return differs, differs
        return max(0, expected.rows - contents.rows), max(0, contents.rows - expected.rows)


class DiscardWriter(Writer):
    """Counts the rows of one key interval; its commits are records in the job directory, several ticks in each.

    A record says how much this writer has counted in all: of its earlier ones none is needed.
    """

    def __init__(self, sink: DiscardSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._log = CommitLog(log_path(context, context.directory), interval, generation)
        self._through = min(tick for _, tick in self._log.committed())
        mine = [e for e in self._log.commits if (e.interval, e.generation) == (interval, generation)]
        self._total = Tally(*mine[0].payload) if mine else Tally()
        self._progress_ticks = progress_ticks(context.tick_ms)
        self._pause = _pacer(sink.rate)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if not ticks and through < self._through + self._progress_ticks and not final:
            return self._through
        new = sum((tally(batch) for _, batch in ticks), Tally())
        self._pause(new.rows)
        total = self._total + new
        self._log.commit(through, [total.rows, total.checksum])
        self._through, self._total = through, total
        return through

    def close(self) -> None:
        self._log.close()


def tally(batch: Batch) -> Tally:
    """Count and checksum of a batch's rows."""
    assert batch.values is not None, "a sink's input carries its rows"
    return Tally(len(batch), checksum(batch.values))


def _pacer(rate: Rate | None) -> Callable[[int], None]:
    """A function that returns after the time that so many rows take at the rate; time not used is not saved up."""
    if rate is None:
        return lambda _: None
    free_at = time.monotonic()

    def pause(count: int) -> None:
        nonlocal free_at
        free_at = max(free_at, time.monotonic()) + count / rate.per_second
        time.sleep(max(0.0, free_at - time.monotonic()))

    return pause
