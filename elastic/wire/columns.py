"""Columns as bytes: typed ones together as one Arrow record batch, lists of Python objects as a pickle.

Only the rows of a slice travel, never what else its buffers hold, and what is read refers to the bytes it came in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from elastic import pickling
from elastic.batch import Column, Pairs

Frame: TypeAlias = "bytes | memoryview"
Blob: TypeAlias = Callable[[Frame], Any]
"""Turns content into what stands for it in the header: itself if it is small, else a reference to a frame."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How arrays of certain types travel: as the body of a record batch whose schema is known, or as a whole stream."""

    schema: pa.Schema
    header: bytes


@lru_cache(maxsize=512)
def _layout(types: tuple[pa.DataType, ...]) -> _Layout:
    schema = pa.schema([("", t) for t in types])
    text = str(schema)
    # Dictionaries travel beside the batch, and extension types in the schema's metadata: only a stream carries both.
    needs_stream = "dictionary<" in text or "extension<" in text
    return _Layout(schema, b"" if needs_stream else schema.serialize().to_pybytes())


@lru_cache(maxsize=512)
def _schema(header: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(header))


class TableWriter:
    """Collects the columns of one table; all have the same number of rows."""

    __slots__ = ("_arrays", "_blob")

    def __init__(self, blob: Blob) -> None:
        self._arrays: list[pa.Array] = []
        self._blob = blob

    def add(self, column: Column | None) -> Any:
        """What stands for the column in the header: None, an array's number, [keys, values] of pairs, or a pickle."""
        if column is None:
            return None
        if isinstance(column, list):
            return self._blob(pickling.dumps(column))
        if isinstance(column, Pairs):
            return [self.add(column.keys), self.add(column.values)]
        self._arrays.append(column)
        return len(self._arrays) - 1

    def finish(self) -> Any:
        """What stands for the typed columns in the header; None if there are none."""
        if not self._arrays:
            return None
        layout = _layout(tuple([a.type for a in self._arrays]))
        batch = pa.RecordBatch.from_arrays(self._arrays, schema=layout.schema)
        if layout.header:
            return [layout.header, self._blob(memoryview(batch.serialize()))]
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, layout.schema) as writer:
            writer.write_batch(batch)
        return [b"", self._blob(memoryview(stream.getvalue()))]


class TableReader:
    """The columns that a ``TableWriter`` wrote."""

    __slots__ = ("_batch", "_trusted")

    def __init__(self, table: Sequence[Any] | None, *, trusted: bool) -> None:
        """Open what ``TableWriter.finish`` gave; untrusted content is checked against reaching out of its frame."""
        self._trusted = trusted
        self._batch: pa.RecordBatch | None = None
        if table is None:
            return
        header, body = table
        source = pa.py_buffer(body)
        if header:
            self._batch = pa.ipc.read_record_batch(source, _schema(header))
        else:
            self._batch = pa.ipc.open_stream(source).read_next_batch()
        if not trusted:
            self._batch.validate(full=True)

    def array(self, number: int) -> pa.Array:
        """The typed column of that number."""
        if self._batch is None:
            raise ValueError(f"column {number} of a table without typed columns")
        return self._batch.column(number)

    def column(self, shape: Any) -> Any:
        """The column for which ``TableWriter.add`` gave ``shape``."""
        if shape is None:
            return None
        if isinstance(shape, int):
            return self.array(shape)
        if isinstance(shape, list):
            keys, values = shape
            return Pairs(self.column(keys), self.column(values))
        if not self._trusted:
            raise ValueError("a pickled column on a channel that is not private")
        return pickling.loads(shape)


def numpy_of(array: pa.Array) -> np.ndarray[Any, Any]:
    """The array's values as a read-only NumPy view."""
    return array.to_numpy(zero_copy_only=True)  # type: ignore[no-any-return]
