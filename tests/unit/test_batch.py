"""Columns: what one form cannot hold, another can."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from elastic.batch import concat, rows
from elastic.state.processing import StateTable, join_tables


def nothing_of(size_bytes: int) -> pa.Array:
    """A column of one None, which says that it holds so much text: memory that nobody touches."""
    data = pa.py_buffer(np.zeros(size_bytes, np.uint8))
    return pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, size_bytes], np.int32)), data, pa.py_buffer(b"\0"))


def test_more_text_than_a_column_can_hold_becomes_rows() -> None:
    parts = [nothing_of(1 << 30) for _ in range(3)]

    assert concat(parts) == [None, None, None]
    assert isinstance(concat([pa.array(["a"]), pa.array([None])]), pa.Array)


def test_the_parts_of_a_state_with_more_text_than_that_are_joined() -> None:
    parts = [StateTable(np.array([n], np.uint16), pa.array([n]), {"value": nothing_of(1 << 30)}) for n in range(3)]

    joined = join_tables(parts)

    assert (rows(joined.keys), rows(joined.fields["value"])) == ([0, 1, 2], [None] * 3)
