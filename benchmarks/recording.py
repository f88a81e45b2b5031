"""A sink that discards, and keeps the last value of every key for the check of the result afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
