"""Fingerprints of rows: equal for equal rows, however they lie in memory. They expose replays that differ."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from elastic import pickling
from elastic.batch import Batch, Column, Pairs, columnar

if TYPE_CHECKING:
    from hashlib import _Hash

# The pickle of a set that is not empty contains EMPTY_SET and MARK, that of a frozenset FROZENSET; others may, too.
_SET_OPCODES = (b"\x8f(", b"\x91")
_PLAIN = {type(None), bool, int, float, complex, str, bytes, list, tuple, dict}
_DEPTH = 16
_WIDEST = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16(), pa.uint32()), pa.int64()),
    **dict.fromkeys((pa.float16(), pa.float32()), pa.float64()),
}


def fingerprint(batch: Batch) -> int:
    """64 bits that are equal for equal rows, keys and groups, on every machine; never 0.

    Whatever their slicing, offset, chunking, spare bits, identity sharing or Arrow width, and whether a column of plain
    values is a list or an array. Structs are told from dicts, pairs from tuples, and 1, 1.0 and True from one another.

    Cost: about 7 µs, and 0.6 ns a byte for typed columns; 150 ns a row for lists.
    """
    state = hashlib.sha1(b"partial" if batch.partial else b"whole", usedforsecurity=False)
    state.update(np.ascontiguousarray(batch.groups).data)
    for column in (batch.keys, batch.values):
        _feed(state, column)
    if batch.times is not None:
        state.update(np.ascontiguousarray(batch.times).data)
    if batch.marks:
        state.update(repr(batch.marks).encode())
    return int.from_bytes(state.digest()[:8], "big") or 1


def _feed(state: _Hash, column: Column | None) -> None:
    if column is None:
        state.update(b"none;")
    elif isinstance(column, Pairs):
        state.update(b"pairs;")
        _feed(state, column.keys)
        _feed(state, column.values)
    elif isinstance(column, list):
        _feed_list(state, column)
    else:
        _feed_array(state, column)


def _feed_list(state: _Hash, values: list[Any]) -> None:
    """Feed a list as the array that has the same rows, if there is one, else as a pickle."""
    present = [v for v in values if v is not None]
    typed = columnar(present)
    if not present:
        _feed_array(state, pa.nulls(len(values)))
    elif isinstance(typed, pa.Array):
        _feed_array(state, typed if len(present) == len(values) else pa.array(values, typed.type))
    else:
        data = pickling.dumps(values)
        if any(opcode in data for opcode in _SET_OPCODES) and _may_hold_sets(values):
            data = pickling.dumps_ordered(values)
        state.update(b"rows;%d;" % len(data))
        state.update(data)


def _may_hold_sets(values: list[Any]) -> bool:
    """False if the values are plain data without a set; looks into builtin containers."""
    for _ in range(_DEPTH):
        types = set(map(type, values))
        if not types <= _PLAIN:
            return True
        if types.isdisjoint((list, tuple, dict)):
            return False
        containers = [v for v in values if type(v) in (list, tuple, dict)]
        mappings = [v.values() for v in containers if type(v) is dict]
        values = list(chain(chain.from_iterable(containers), chain.from_iterable(mappings)))
    return True


def _feed_array(state: _Hash, array: pa.Array) -> None:
    """Feed the rows of an array: their type, which of them are null, and their content without what nulls hide."""
    if array.null_count == len(array):
        state.update(b"null;%d;" % len(array))
        return
    array = _widest(array)
    kind = array.type
    state.update(b"%s;%d;%d;" % (str(kind).encode(), len(array), array.null_count))
    if array.null_count and (not pa.types.is_nested(kind) or pa.types.is_struct(kind)):
        state.update(_bytes_of(array.is_valid().cast(pa.uint8())))
        array = array.drop_null()
    if pa.types.is_boolean(kind):
        state.update(_bytes_of(array.cast(pa.uint8())))
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _feed_strings(state, array)
    elif pa.types.is_struct(kind):
        for child in array.flatten():
            _feed_array(state, child)
    elif pa.types.is_primitive(kind):
        state.update(_bytes_of(array))
    else:
        _feed_list(state, array.to_pylist())


def _widest(array: pa.Array) -> pa.Array:
    """The same rows in the widest type of their kind, since rows do not know their width."""
    kind = array.type
    if (wide := _WIDEST.get(kind)) is not None:
        return array.cast(wide)
    if pa.types.is_dictionary(kind):
        return _widest(array.dictionary_decode())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.string())
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return array.cast(pa.binary())
    return array


def _feed_strings(state: _Hash, array: pa.Array) -> None:
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int32, len(array) + 1, array.offset * 4)
    low, high = int(ends[0]), int(ends[-1])
    state.update((ends - low if low else ends).data)
    if high > low:
        state.update(memoryview(data)[low:high])


def _bytes_of(array: pa.Array) -> memoryview:
    """The bytes of exactly the rows of a fixed-width array without nulls; at least one row."""
    width = array.type.bit_width // 8
    return memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]
