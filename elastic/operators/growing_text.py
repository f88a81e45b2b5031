"""A column of text that grows at its end, without being copied each time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from elastic.hashing import byte_spans
from elastic.operators.integers import grown


class GrowingText:
    """Strings, appended to in place; columns that were given out stay as they are, since nothing in them changes.

    Args:
        first: The strings to begin with, without None; they are copied.
    """

    def __init__(self, first: pa.Array) -> None:
        self._data, self._offsets = np.empty(0, np.uint8), np.zeros(1, np.int32)
        self._count = 0
        self.append(first)

    def append(self, more: pa.Array) -> None:
        """Add strings; all of them together take less than two GiB."""
        spans = byte_spans(more)
        assert spans is not None
        data, offsets = spans
        used, count = int(self._offsets[self._count]), self._count + len(more)
        size = used + int(offsets[-1] - offsets[0])
        self._data, self._offsets = grown(self._data, size), grown(self._offsets, count + 1)
        self._data[used:size] = data[offsets[0] : offsets[-1]]
        self._offsets[self._count : count + 1] = offsets - (offsets[0] - used)
        self._count = count

    def column(self) -> pa.Array:
        """All of them, as a view."""
        offsets = self._offsets[: self._count + 1]
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._data)]
        return pa.Array.from_buffers(pa.string(), self._count, buffers)
