"""Sinks that discard, and keep for afterwards: the last value of every key, or when what was committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from elastic.batch import Batch, Pairs
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.discard import DiscardSink
from elastic.keys import KeyInterval
from elastic.state.processing import StateTable, merge_deltas

_ENOUGH_ROWS = 500_000
_SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])


@dataclass(frozen=True)
class RecordingDiscard(Sink):
    """``elastic.sinks.discard`` for rows of (str, int); each writer also leaves what it was given in a file at the end.

    For runs without failures: what a writer has kept goes with it.

    Attributes:
        directory: Where the files go; exists.
        forgets: What later values have replaced is forgotten now and then.
    """

    directory: Path
    forgets: bool = False
    name = "discard"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        inner = DiscardSink().open(context, interval, generation)
        return _RecordingWriter(inner, self.directory / f"{interval.low}.arrow", forgets=self.forgets)

    def last_values(self) -> dict[str, int]:
        """The last value that came for each key; a key's values all come through one writer."""
        return _last_values(sorted(self.directory.glob("*.arrow")))


class _RecordingWriter(Writer):
    def __init__(self, inner: Writer, path: Path, *, forgets: bool) -> None:
        self._inner, self._path, self._forgets = inner, path, forgets
        self._kept: list[pa.RecordBatch] = []
        self._rows = 0

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        self._kept += [_columns(batch) for _, batch in ticks]
        self._rows += sum(len(batch) for _, batch in ticks)
        if self._forgets and self._rows > _ENOUGH_ROWS:
            self._kept = [_latest(self._kept)]
            self._rows = len(self._kept[0])
        if final:
            _write(self._path, self._kept)
        return self._inner.commit(ticks, through, final=final)

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class DurableDiscard(Sink):
    """The same with a file for each commit, for runs in which writers are lost.

    A commit that was repeated leaves its rows twice, which changes no last value.

    Attributes:
        directory: Where the files go; exists.
    """

    directory: Path
    name = "discard"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        inner = DiscardSink().open(context, interval, generation)
        return _DurableWriter(inner, self.directory, f"{interval.low}-{generation}")

    def last_values(self) -> dict[str, int]:
        """The last value that came for each key."""
        return _last_values(sorted(self.directory.glob("*.arrow")))


class _DurableWriter(Writer):
    def __init__(self, inner: Writer, directory: Path, name: str) -> None:
        self._inner, self._directory, self._name = inner, directory, name

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if ticks:
            partial = self._directory / f"{self._name}.partial"
            _write(partial, [_columns(batch) for _, batch in ticks])
            partial.replace(self._directory / f"{through:09}-{self._name}.arrow")
        return self._inner.commit(ticks, through, final=final)

    def close(self) -> None:
        self._inner.close()


def _columns(batch: Batch) -> pa.RecordBatch:
    assert isinstance(batch.values, Pairs)
    arrays = [pa.array(batch.values.keys, pa.string()), pa.array(batch.values.values, pa.int64())]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _latest(kept: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The last row of each key."""
    tables = [StateTable(np.zeros(len(b), np.uint16), b.column(0), {"value": b.column(1)}) for b in kept]
    found = merge_deltas(tables)
    return pa.RecordBatch.from_arrays([found.keys, found.fields["value"]], schema=_SCHEMA)


def _write(path: Path, kept: Sequence[pa.RecordBatch]) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
        writer.write_table(pa.Table.from_batches(kept, _SCHEMA))


def _last_values(paths: Sequence[Path]) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in paths:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            table = reader.read_all()
        found.update(zip(table["key"].to_pylist(), table["value"].to_pylist(), strict=True))
    return found


@dataclass(frozen=True)
class TimedDiscard(Sink):
    """``elastic.sinks.discard`` that notes when each commit with rows was done, and the job's time of its last tick.

    Attributes:
        directory: Where the notes go, a file for each writer; exists.
    """

    directory: Path
    name = "discard"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        inner = DiscardSink().open(context, interval, generation)
        return _TimedWriter(inner, self.directory / f"{interval.low}-{generation}.times", context.tick_ms / 1000)

    def longest_gap_s(self, since_s: float, until_s: float) -> float:
        """The longest time between two commits of which one has rows of this span of the job's time."""
        lines = [line.split() for path in self.directory.glob("*.times") for line in path.read_text().splitlines()]
        commits = sorted((float(at), float(through)) for at, through in lines)
        return max(b[0] - a[0] for a, b in pairwise(commits) if b[1] > since_s and a[1] < until_s)


class _TimedWriter(Writer):
    def __init__(self, inner: Writer, path: Path, tick_s: float) -> None:
        self._inner, self._file, self._tick_s = inner, path.open("a"), tick_s

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        committed = self._inner.commit(ticks, through, final=final)
        if ticks:
            self._file.write(f"{time.time()} {through * self._tick_s}\n")
        return committed

    def close(self) -> None:
        self._inner.close()
        self._file.close()
