"""The hash of a key: fixed for all time, the same for one key and for a column of keys.

Keys are None, bool, int, float, str, bytes, and tuples of them. Keys that Python calls equal have one hash, so 1, 1.0
and True are one key, also inside a tuple. Every NaN is the same key. What is hashed:

* a number: its value modulo 2^64 if it is an integer in [-2^63, 2^64), else the bits of the equal double, else (an
  integer that no double equals) its two's complement bytes;
* str, bytes: a polynomial over little-endian 64-bit words, each scrambled first, of the UTF-8 or the bytes;
* a tuple: a polynomial over the hashes of its elements.

A finaliser (MurmurHash3's) makes every bit of the result depend on every bit of the input, so that the low bits alone
are a fair key group. Not made to resist keys that somebody chose in order to collide.
"""

from __future__ import annotations

import math
import reprlib
import struct
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.errors import KeyTypeError

Hashes: TypeAlias = npt.NDArray[np.uint64]

_BITS64 = 2**64 - 1
_MIX1 = 0xFF51AFD7ED558CCD
_MIX2 = 0xC4CEB9FE1A85EC53
_BASE = 0x9E3779B97F4A7C15  # odd, so that no step of the polynomial loses a bit
_NONE = 0x8F1BBCDC5A827999
_INTEGER = 0x2545F4914F6CDD1D
_DOUBLE = 0xD6E8FEB86659FD93
_WIDE = 0xA0761D6478BD642F
_TEXT = 0xE7037ED1A0B428DB
_BYTES = 0x589965CC75374CC3
_TUPLE = 0x1D8E4E27C47D124F
_NAN_BITS = 0x7FF8000000000000
_TAIL_MASKS: Hashes = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # by the bytes that are left
_BLOCK = 16_384  # rows at once: 128 KiB for each intermediate, which stays in cache and off the page allocator
_FEW = 8  # rows; below this a NumPy pass costs more than a Python loop over a few hundred words
_ROW_TYPES = {pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.binary()}  # whose rows are what they were made of


class PairColumn(Protocol):
    """Two columns of one length whose rows are ``(key, value)`` tuples."""

    @property
    def keys(self) -> Any:
        """The first elements."""

    @property
    def values(self) -> Any:
        """The second elements."""


KeyColumn: TypeAlias = "list[Any] | pa.Array | PairColumn"


def key_hash(key: Any) -> int:
    """The key's 64-bit hash, the same in every process, on every machine and in every release.

    Raises:
        KeyTypeError: The key, or an element of it, is not of a type that can be a key.
    """
    if isinstance(key, str):
        return _bytes_hash(key.encode("utf-8", "surrogatepass"), _TEXT)
    if isinstance(key, int):
        return _int_hash(key)
    if isinstance(key, float):
        return _int_hash(int(key)) if key.is_integer() else _double_hash(key)
    if isinstance(key, bytes):
        return _bytes_hash(key, _BYTES)
    if isinstance(key, tuple):
        total = _TUPLE + len(key)
        for element in key:
            total = (total * _BASE + key_hash(element)) & _BITS64
        return _mix(total)
    if key is None:
        return _NONE
    raise not_a_key(key)


def not_a_key(value: object) -> KeyTypeError:
    """The error that refuses a value as a key."""
    return KeyTypeError(reprlib.repr(value), type(value).__name__)


def hash_column(column: KeyColumn) -> Hashes:
    """The hash of every row, equal to ``key_hash`` of it.

    Arrow columns of strings, binaries, numbers, booleans and nulls, their dictionary encodings, and lists of one exact
    type are hashed in NumPy; other lists row by row.

    Raises:
        KeyTypeError: Some row, or an element of it, is not of a type that can be a key.
    """
    if isinstance(column, pa.Array):
        if len(column) <= _FEW and column.type in _ROW_TYPES:
            return np.array([key_hash(key) for key in column.to_pylist()], np.uint64)
        return _array_hashes(column)
    if isinstance(column, list):
        if len(column) <= _FEW:
            return np.array([key_hash(key) for key in column], np.uint64)
        return _row_hashes(column)
    return _tuple_hashes([column.keys, column.values])


def exact_array(rows: Sequence[Any]) -> pa.Array | None:
    """The rows as an array if all but the None have one exact type of key that Arrow holds without loss; else None."""
    types = set(map(type, rows)) - {type(None)}
    if len(types) != 1 or (arrow := _EXACT.get(types.pop())) is None:
        return None
    try:
        array = pa.array(rows, arrow)
    except (OverflowError, UnicodeEncodeError, pa.ArrowInvalid):  # too wide an int; a lone surrogate
        return None
    return array if isinstance(array, pa.Array) else None  # over 2 GiB of text would come in chunks


_EXACT: dict[type, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()
}  # fmt: skip


def number_values(column: pa.Array) -> npt.NDArray[Any] | None:
    """The values of a column of numbers or booleans, anything where they are null; None for other types."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return None
    dtype = np.dtype(column.type.to_pandas_dtype())
    if not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)


def byte_spans(column: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.signedinteger[Any]]] | None:
    """Data and offsets (one more than rows) of a column of strings or binaries; None for other types."""
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    if not wide and not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return None
    _, offsets, data = column.buffers()
    dtype = np.dtype(np.int64 if wide else np.int32)
    if not len(column):
        return np.empty(0, np.uint8), np.zeros(1, dtype)
    spans = np.frombuffer(offsets, dtype, len(column) + 1, column.offset * dtype.itemsize)
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), spans


def _mix(x: int) -> int:
    x = ((x ^ x >> 33) * _MIX1) & _BITS64
    x = ((x ^ x >> 33) * _MIX2) & _BITS64
    return x ^ x >> 33


def _mix_all(x: Hashes) -> Hashes:
    """``_mix`` of every element, in place."""
    x ^= x >> 33
    x *= np.uint64(_MIX1)
    x ^= x >> 33
    x *= np.uint64(_MIX2)
    x ^= x >> 33
    return x


def _int_hash(value: int) -> int:
    if -(2**63) <= value < 2**64:
        return _mix((value + _INTEGER) & _BITS64)
    try:
        if (double := float(value)) == value:
            return _double_hash(double)
    except OverflowError:
        pass
    return _bytes_hash(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True), _WIDE)


def _double_hash(value: float) -> int:
    bits = _NAN_BITS if math.isnan(value) else struct.unpack("<Q", struct.pack("<d", value))[0]
    return _mix((bits + _DOUBLE) & _BITS64)


def _bytes_hash(data: bytes, seed: int) -> int:
    count = max(1, -(-len(data) // 8))
    total = seed
    for word in struct.unpack(f"<{count}Q", data.ljust(8 * count, b"\0")):
        product = (word * _MIX1) & _BITS64
        total = (total * _BASE + (product ^ product >> 32)) & _BITS64
    return _mix(total ^ len(data))


def _row_hashes(rows: Sequence[Any]) -> Hashes:
    if (array := exact_array(rows)) is not None:
        return _array_hashes(array)
    if set(map(type, rows)) == {tuple} and len(set(map(len, rows))) == 1 and rows[0]:
        return _tuple_hashes([list(column) for column in zip(*rows, strict=True)])
    return np.fromiter(map(key_hash, rows), np.uint64, len(rows))


def _tuple_hashes(columns: Sequence[KeyColumn]) -> Hashes:
    """Hashes of the tuples whose elements stand in ``columns``, of which there is at least one."""
    total: Hashes | int = _TUPLE + len(columns)
    for column in columns:
        hashes = hash_column(column)
        hashes += np.uint64(total * _BASE & _BITS64) if isinstance(total, int) else total * np.uint64(_BASE)
        total = hashes
    return _mix_all(total)  # type: ignore[arg-type]  # an array after the first column


def _array_hashes(column: pa.Array) -> Hashes:
    if pa.types.is_dictionary(column.type):
        entries: Hashes = np.append(_array_hashes(column.dictionary), np.uint64(_NONE))
        indices = np.asarray(pc.fill_null(column.indices.cast(pa.int64()), len(entries) - 1))
        return entries.take(indices)
    if pa.types.is_null(column.type):
        return np.full(len(column), _NONE, np.uint64)
    hashes = np.empty(len(column), np.uint64)
    for low in range(0, len(column), _BLOCK):
        hashes[low : low + _BLOCK] = _block_hashes(column[low : low + _BLOCK])
    return hashes


def _block_hashes(column: pa.Array) -> Hashes:
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if (spans := byte_spans(column)) is not None:
        hashes = _span_hashes(*spans, _TEXT if text else _BYTES)
    elif (values := number_values(column)) is not None:
        hashes = _double_hashes(values) if values.dtype.kind == "f" else _integer_hashes(values)
    else:
        return _row_hashes(column.to_pylist())
    if column.null_count:
        hashes[np.asarray(column.is_null())] = _NONE
    return hashes


def _integer_hashes(values: npt.NDArray[Any]) -> Hashes:
    signed = values.dtype.kind == "i"
    wide = values.astype(np.int64).view(np.uint64) if signed else values.astype(np.uint64)
    wide += np.uint64(_INTEGER)
    return _mix_all(wide)


def _double_hashes(values: npt.NDArray[Any]) -> Hashes:
    doubles = values.astype(np.float64)
    whole = (doubles == np.trunc(doubles)) & (doubles >= -(2.0**63)) & (doubles < 2.0**64)
    upper = whole & (doubles >= 2.0**63)
    integers = np.where(whole & ~upper, doubles, 0.0).astype(np.int64).view(np.uint64)
    integers += np.where(upper, doubles, 0.0).astype(np.uint64)
    bits = doubles.view(np.uint64)
    bits[np.isnan(doubles)] = _NAN_BITS
    return _mix_all(np.where(whole, integers + np.uint64(_INTEGER), bits + np.uint64(_DOUBLE)))


def _span_hashes(data: npt.NDArray[np.uint8], offsets: npt.NDArray[Any], seed: int) -> Hashes:
    """Hash of ``data[offsets[i]:offsets[i + 1]]`` for each i, in passes: the k-th takes the k-th word of all."""
    if len(offsets) == 1:
        return np.empty(0, np.uint64)
    low, high = int(offsets[0]), int(offsets[-1])
    if high + 8 > len(data):  # every word is loaded whole, and masked after
        data = np.concatenate([data[low:high], np.zeros(8, np.uint8)])
        offsets = offsets - low
    words: Hashes = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    lengths = np.diff(offsets)
    word = words[offsets[:-1]]  # take() would first copy what overlaps, eight bytes for each
    word &= _TAIL_MASKS.take(lengths, mode="clip")
    totals = _scramble(word)
    totals += np.uint64(seed * _BASE & _BITS64)
    longer, done = np.flatnonzero(lengths > 8), 8
    while len(longer) > _FEW:
        rest = lengths[longer] - done
        word = words[offsets[longer] + done]
        word &= _TAIL_MASKS.take(rest, mode="clip")
        totals[longer] = totals[longer] * np.uint64(_BASE) + _scramble(word)
        done += 8
        longer = longer[rest > 8]
    totals ^= lengths.astype(np.uint64)
    hashes = _mix_all(totals)
    for i in longer.tolist():
        hashes[i] = _bytes_hash(data[offsets[i] : offsets[i + 1]].tobytes(), seed)
    return hashes


def _scramble(word: Hashes) -> Hashes:
    """Fold the upper bits of each word onto the lower ones, in place: a product alone only carries upwards."""
    word *= np.uint64(_MIX1)
    word ^= word >> 32
    return word
