"""Keys, key groups and key intervals: how key space is cut, and the one order in which keys are visited.

``hash(key) mod key_groups`` is a key's *group*; a *key interval* is a contiguous range of groups and is what an
instance owns. The canonical order of rows is by group and then by the rest of the hash, which sorts as fast as integers
do; the few keys that share both are ordered by their encodings (``encode_key``). Where people see the order, as that of
equal ranks, it is that of the encodings alone: None, then numbers by value with NaN last, then str by UTF-8, then
bytes, then tuples element by element.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.hashing import KeyColumn, byte_spans, exact_array, hash_column, key_hash, not_a_key, number_values

__all__ = [
    "KEY_GROUPS", "KeyColumn", "KeyInterval", "encode_key", "even_intervals", "groups_of", "hash_column", "key_group",
    "key_hash", "order_codes", "sort_order", "tiles", "unique_nan", "value_order",
]  # fmt: skip

Groups: TypeAlias = npt.NDArray[np.uint16]
Indices: TypeAlias = npt.NDArray[np.int64]

KEY_GROUPS = 256
"""Key groups of a job that does not say otherwise. Fixed for the life of a job."""

NAN = math.nan


class KeyInterval(NamedTuple):
    """Key groups ``[low, high)``: what one instance owns."""

    low: int
    high: int

    def contains(self, group: int) -> bool:
        """Whether the group lies in the interval."""
        return self.low <= group < self.high

    def overlaps(self, other: KeyInterval) -> bool:
        """Whether some group lies in both."""
        return max(self.low, other.low) < min(self.high, other.high)

    def __str__(self) -> str:
        return f"[{self.low}, {self.high})"


def even_intervals(count: int, key_groups: int = KEY_GROUPS) -> list[KeyInterval]:
    """``count`` intervals that tile all key groups, in order, whose lengths differ by at most one.

    Raises:
        ValueError: There are fewer key groups than intervals, or no interval is asked for.
    """
    if not 1 <= count <= key_groups:
        raise ValueError(
            f"{key_groups} key groups cannot be cut into {count} intervals, since each needs at least one group; "
            f"ask for 1 to {key_groups}, or give the job more key groups"
        )
    return [KeyInterval(i * key_groups // count, (i + 1) * key_groups // count) for i in range(count)]


def tiles(intervals: Iterable[KeyInterval], span: KeyInterval) -> bool:
    """Whether the intervals, in any order, cover ``span`` exactly: no gap, no overlap, nothing outside, none empty."""
    at = span.low
    for low, high in sorted(intervals):
        if low != at or high <= low:
            return False
        at = high
    return at == span.high


def key_group(key: Any, key_groups: int = KEY_GROUPS) -> int:
    """The key's group, in ``[0, key_groups)``.

    Raises:
        KeyTypeError: The value is not of a type that can be a key.
    """
    return key_hash(key) % key_groups


def groups_of(column: KeyColumn, key_groups: int = KEY_GROUPS) -> Groups:
    """The group of every row, equal to ``key_group`` of it; ``key_groups`` is at most 65,536.

    Raises:
        KeyTypeError: Some row is not of a type that can be a key.
    """
    hashes = hash_column(column)
    if key_groups & (key_groups - 1) == 0:
        return (hashes & np.uint64(key_groups - 1)).astype(np.uint16)
    return (hashes % np.uint64(key_groups)).astype(np.uint16)


def unique_nan(key: Any) -> Any:
    """The same key, with every NaN in it replaced by one object, so that a dict takes equal encodings for one key."""
    if isinstance(key, float):
        return key if key == key else NAN  # noqa: PLR0124 (what NaN is)
    if isinstance(key, tuple):
        return tuple(map(unique_nan, key))
    return key


# Type tags of encodings. Zero ends a str, bytes or tuple, so that a prefix sorts before what it begins.
_END = b"\x00"
_NONE, _NUMBER, _TEXT, _BYTES, _TUPLE = b"\x10", b"\x20", b"\x30", b"\x40", b"\x50"
_EXACT_REST = b"\x80"
_NAN_CODE = b"\x20" + b"\xff" * 8 + _EXACT_REST
_LARGEST = 2.0**1023 * (2 - 2.0**-52)


def encode_key(key: Any) -> bytes:
    """Bytes that are equal for equal keys, differ for different keys, and sort as keys do where people see the order.

    No encoding is a prefix of another. Equal is what Python calls equal, with every NaN equal to every NaN.

    Raises:
        KeyTypeError: The key, or an element of it, is not of a type that can be a key.
    """
    if isinstance(key, str):
        return _TEXT + key.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff") + _END
    if isinstance(key, int):
        return _encode_int(key)
    if isinstance(key, float):
        return _NUMBER + _double_code(key) + _EXACT_REST if key == key else _NAN_CODE  # noqa: PLR0124 (NaN)
    if isinstance(key, bytes):
        return _BYTES + key.replace(b"\0", b"\0\xff") + _END
    if isinstance(key, tuple):
        return _TUPLE + b"".join(map(encode_key, key)) + _END
    if key is None:
        return _NONE
    raise not_a_key(key)


def _double_code(value: float) -> bytes:
    """Eight bytes that sort as doubles do; both zeros alike."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))
    return struct.pack(">Q", bits ^ (2**64 - 1 if bits >> 63 else 1 << 63))


def _encode_int(value: int) -> bytes:
    """The nearest double, then the rest: rounding keeps the order, so the rest decides between equal doubles only."""
    try:
        nearest = float(value)
    except OverflowError:
        nearest = _LARGEST if value > 0 else -_LARGEST
    return _NUMBER + _double_code(nearest) + _rest_code(value - int(nearest))


def _rest_code(rest: int) -> bytes:
    """Sign and number of bytes first, then the bytes, so that longer means further from zero."""
    if rest == 0:
        return _EXACT_REST
    size = (rest.bit_length() + 7) // 8
    long = size.to_bytes(8, "big") if size >= 0x7F else b""
    code = bytes([0x80 + min(size, 0x7F)]) + long + abs(rest).to_bytes(size, "big")
    return code if rest > 0 else bytes([0x100 - code[0]]) + bytes(255 - byte for byte in code[1:])


def sort_order(groups: Groups, keys: KeyColumn) -> Indices:
    """Indices that put rows into canonical order; equal keys keep their order.

    Raises:
        KeyTypeError: Some row is not of a type that can be a key.
    """
    codes = order_codes(groups, keys)
    order = np.argsort(codes, kind="stable")
    found = codes[order]
    twins = np.flatnonzero(found[1:] == found[:-1])
    if len(twins) and not _all_equal(keys, order[twins], order[twins + 1]):
        return np.lexsort((*reversed(_sort_columns(keys)), codes))
    return order


def order_codes(groups: Groups, keys: KeyColumn) -> npt.NDArray[np.uint64]:
    """Numbers that sort as the canonical order does, but for different keys that have the same number.

    Raises:
        KeyTypeError: Some row is not of a type that can be a key.
    """
    return groups.astype(np.uint64) << _GROUP_AT | hash_column(keys) >> _GROUP_BITS


_GROUP_BITS, _GROUP_AT = np.uint64(16), np.uint64(48)  # there are at most 65,536 groups


def value_order(keys: KeyColumn) -> Indices:
    """Indices that order keys by their encodings; equal keys keep their order.

    Raises:
        KeyTypeError: Some row is not of a type that can be a key.
    """
    return np.lexsort(tuple(reversed(_sort_columns(keys))))


def _all_equal(keys: KeyColumn, these: Indices, those: Indices) -> bool:
    """Whether the keys at these places equal those at the others, as far as that is found out fast."""
    if isinstance(keys, list):
        return all(
            encode_key(keys[i]) == encode_key(keys[j]) for i, j in zip(these.tolist(), those.tolist(), strict=True)
        )
    if not isinstance(keys, pa.Array):
        return _all_equal(keys.keys, these, those) and _all_equal(keys.values, these, those)
    try:
        same = pc.equal(keys.take(pa.array(these)), keys.take(pa.array(those)))
    except pa.ArrowNotImplementedError:  # some types have no such kernels
        return False
    return pc.all(same, skip_nulls=False).as_py() is True


def _sort_columns(column: KeyColumn) -> Sequence[npt.NDArray[Any]]:
    """NumPy columns that sort, the first one deciding before the next, as the encodings of the rows do."""
    if isinstance(column, list):
        if (array := exact_array(column)) is None:
            return [_ranks([encode_key(key) for key in column])]
        column = array
    if not isinstance(column, pa.Array):
        return [*_sort_columns(column.keys), *_sort_columns(column.values)]
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return [np.zeros(len(column), np.int64)]
    if byte_spans(column) is not None:
        ranks = pc.rank(column, sort_keys="ascending", tiebreaker="dense")
        return [np.where(column.is_valid(), ranks, 0)]  # ranks count from 1
    values = number_values(column)
    if values is None:
        return [_ranks([encode_key(key) for key in column.to_pylist()])]
    if not column.null_count:
        return [values]
    valid = np.asarray(column.is_valid())
    return [valid, np.where(valid, values, 0)]


def _ranks(codes: Sequence[bytes]) -> npt.NDArray[np.int64]:
    position = {code: i for i, code in enumerate(sorted(set(codes)))}
    return np.array([position[code] for code in codes], np.int64)
