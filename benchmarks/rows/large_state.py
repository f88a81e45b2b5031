"""Five million keys of which a hundredth changes between checkpoints, against a state of that hundredth alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import check, run, scratch
from elastic import Query
from elastic.batch import Batch, Column
from elastic.connectors.base import Chunk, Partition, Position, Reader, Sink, SinkContext, Source, Writer
from elastic.connectors.discard import DiscardSink
from elastic.keys import KeyInterval

KEYS, CHANGED_PER_S = 5_000_000, 50_000
SETTLE_S = 3
"""So long after all keys have come, what came as fast as it could is still being worked off."""

_STRIDE = 1_000_003  # prime, so that the keys of one second lie all over the state
_RECORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class KeysAgain(Source):
    """Every key of the state once, as fast as it goes; then one after the other of them again, at a rate.

    Attributes:
        keys: How many.
        seconds: How long it goes on after the first round.
        changed_per_s: The rate then.
    """

    keys: int
    seconds: int
    changed_per_s: int = CHANGED_PER_S
    name = "keys"
    rate = None

    def partitions(self, count: int) -> Sequence[Partition]:
        return [
            _KeysPartition(f"keys[{n}]", self.keys // count, n, count, self.seconds, self.changed_per_s)
            for n in range(count)
        ]


@dataclass(frozen=True, slots=True)
class _KeysPartition(Partition):
    name: str
    keys: int
    number: int
    of: int
    seconds: int
    changed_per_s: int

    def open(self) -> Reader:
        return _KeysReader(self)


class _KeysReader(Reader):
    def __init__(self, partition: _KeysPartition) -> None:
        self._partition, self._position = partition, 0
        self._per_s = partition.changed_per_s // partition.of
        self._loaded_s: float | None = None

    @property
    def _end(self) -> int:
        return self._partition.keys + self._per_s * self._partition.seconds

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._position = position

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        limit = limit_bytes // _RECORD_BYTES
        if self._position < self._partition.keys:
            count = min(limit, self._partition.keys - self._position)
        else:
            self._loaded_s = self._loaded_s or time.monotonic()
            due = int((time.monotonic() - self._loaded_s) * self._per_s) - (self._position - self._partition.keys)
            count = min(limit, due, self._end - self._position)
        if count <= 0:
            self.finished = self._position >= self._end
            return None
        rows = self.reread(self._position, self._position + count)
        self._position += count
        self.finished = self._position >= self._end
        return Chunk(rows, self._position, count * _RECORD_BYTES, count)

    def reread(self, start: Position, end: Position) -> Column:
        assert isinstance(start, int)
        assert isinstance(end, int)
        partition = self._partition
        places = np.arange(start, end) * _STRIDE % partition.keys
        return pa.array(places * partition.of + partition.number)


@dataclass(frozen=True)
class LatenessSink(Sink):
    """Discards, and notes when which tick was committed.

    Attributes:
        directory: Where the notes go; exists.
    """

    directory: Path
    name = "lateness"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        inner = DiscardSink().open(context, interval, generation)
        return _LatenessWriter(inner, self.directory / f"{interval.low}.npy", context.tick_ms / 1000)

    def worst_ms(self, last_s: float) -> float:
        """How much later than the quickest any tick of the last so many seconds came out, milliseconds."""
        worst = 0.0
        for path in self.directory.glob("*.npy"):
            ticks_s, committed_s = np.load(path)
            late_s = (committed_s - ticks_s)[committed_s > committed_s[-1] - last_s]
            worst = max(worst, float(late_s.max() - late_s.min()) * 1000)
        return worst


class _LatenessWriter(Writer):
    def __init__(self, inner: Writer, path: Path, tick_s: float) -> None:
        self._inner, self._path, self._tick_s = inner, path, tick_s
        self._notes: list[tuple[float, float]] = []

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        done = self._inner.commit(ticks, through, final=final)
        now_s = time.monotonic()
        if not final:
            self._notes += [(tick * self._tick_s, now_s) for tick, _ in ticks]
        else:
            np.save(self._path, np.array(self._notes).T)
        return done

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True, slots=True)
class _Cost:
    checkpoint_ms: float
    worst_tick_ms: float
    worker_mib: float


def _measured(keys: int, seconds: int) -> _Cost:
    with scratch() as notes:
        sink = LatenessSink(notes)
        query = Query("large-state")
        query.source(KeysAgain(keys, seconds)).key_by().count(emit="tick").sink(sink)
        report = run(query, memory="1GiB", stall_after="off")
        expected = keys + CHANGED_PER_S * seconds
        check(None if report.records_in == expected else f"{report.records_in} records instead of {expected}")
        duration_ms = report.checkpoints.duration_ms.p50 or 0.0
        return _Cost(duration_ms, sink.worst_ms(seconds - SETTLE_S), report.peak_memory_bytes.worker / 2**20)


def _measure(effort: Effort) -> Sequence[Row]:
    seconds = 12 if effort.quick else 40
    small = _measured(CHANGED_PER_S, seconds)
    large = _measured(KEYS, seconds)
    return [
        limit_row(
            "large_state_checkpoint", large.checkpoint_ms / small.checkpoint_ms, "x of what changes", at_most=3.0
        ),
        limit_row("large_state_worst_tick", large.worst_tick_ms - small.worst_tick_ms, "ms", at_most=50.0),
        limit_row("large_state_memory", large.worker_mib, "MiB", at_most=1024.0),
    ]


MEASUREMENT = Measurement("large_state", "checkpoints of 5 M keys of which 1 % changes, by those of that 1 %", _measure)
