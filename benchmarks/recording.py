"""Sinks that discard, and keep for afterwards: the last value of every key, or when what was committed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from elastic.batch import Batch, Pairs
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.discard import DiscardSink
from elastic.keys import KeyInterval

_SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])


@dataclass(frozen=True)
class RecordingDiscard(Sink):
    """``elastic.sinks.discard`` for rows of (str, int); each writer also leaves what it was given in a file at the end.

    For runs without failures: what a writer has kept goes with it.

    Attributes:
        directory: Where the files go; exists.
    """

    directory: Path
    name = "discard"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return _RecordingWriter(
            DiscardSink().open(context, interval, generation), self.directory / f"{interval.low}.arrow"
        )

    def last_values(self) -> dict[str, int]:
        """The last value that came for each key; a key's values all come through one writer."""
        found: dict[str, int] = {}
        for path in sorted(self.directory.glob("*.arrow")):
            with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
                table = reader.read_all()
            found.update(zip(table["key"].to_pylist(), table["value"].to_pylist(), strict=True))
        return found


class _RecordingWriter(Writer):
    def __init__(self, inner: Writer, path: Path) -> None:
        self._inner, self._path = inner, path
        self._kept: list[pa.RecordBatch] = []

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        for _, batch in ticks:
            assert isinstance(batch.values, Pairs)
            arrays = [pa.array(batch.values.keys, pa.string()), pa.array(batch.values.values, pa.int64())]
            self._kept.append(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))
        if final:
            with pa.OSFile(str(self._path), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
                writer.write_table(pa.Table.from_batches(self._kept, _SCHEMA))
        return self._inner.commit(ticks, through, final=final)

    def close(self) -> None:
        self._inner.close()


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
