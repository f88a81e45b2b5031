"""Whatever the keys: rows and columns agree on hash, group and order, and equal keys are one key."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Pairs
from elastic.hashing import hash_column
from elastic.keys import (
    KeyInterval,
    encode_key,
    even_intervals,
    groups_of,
    key_group,
    key_hash,
    sort_order,
    tiles,
    unique_nan,
    value_order,
)

EDGES = [0, 1, 255, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1, 2**64, 2**64 + 1, 10**400]
integers = st.integers() | st.integers(-3, 3) | st.sampled_from(EDGES) | st.sampled_from([-e for e in EDGES])
doubles = st.floats() | st.integers(-3, 3).map(float) | st.sampled_from([float(e) for e in EDGES[:-1]])
texts = st.text(st.characters(codec="utf-8")) | st.text("ab\0\x7fß€😀", max_size=40)
surrogates = st.text(st.characters())
binaries = st.binary(max_size=40)
scalars = st.none() | st.booleans() | integers | doubles | texts | surrogates | binaries
keys = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)

INT_TYPES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


def ints_of(dtype: pa.DataType) -> st.SearchStrategy[int]:
    """Values that fit the type, its limits among them."""
    limits = np.iinfo(dtype.to_pandas_dtype())
    return st.integers(int(limits.min), int(limits.max)) | st.sampled_from([int(limits.min), int(limits.max), 0])


@st.composite
def arrays(draw: st.DrawFn) -> pa.Array:
    """A column of any type that holds keys, with None, sliced at both ends, some of them dictionary encoded."""
    choice = draw(st.sampled_from(["text", "binary", "int", "float", "bool", "null"]))
    if choice == "int":
        dtype = draw(st.sampled_from(INT_TYPES))
        values: st.SearchStrategy[Any] = ints_of(dtype)
    else:
        dtype, values = {
            "text": (draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()])), texts),
            "binary": (draw(st.sampled_from([pa.binary(), pa.large_binary(), pa.binary_view()])), binaries),
            "float": (pa.float64(), doubles) if draw(st.booleans()) else (pa.float32(), st.floats(width=32)),
            "bool": (pa.bool_(), st.booleans()),
            "null": (pa.null(), st.none()),
        }[choice]
    rows = draw(st.lists(st.none() | values if draw(st.booleans()) else values, max_size=30))
    array = pa.array(rows if choice != "null" else [None] * len(rows), dtype)
    if draw(st.booleans()) and choice != "null" and not str(dtype).endswith("view"):
        array = array.dictionary_encode()
    low = draw(st.integers(0, len(array)))
    return array[low : draw(st.integers(low, len(array)))]


@given(arrays(), st.sampled_from([1, 7, 256, 1000, 65536]))
def test_a_column_has_the_hash_and_group_of_each_of_its_rows(array: pa.Array, key_groups: int) -> None:
    rows = array.to_pylist()

    assert hash_column(array).tolist() == [key_hash(row) for row in rows]
    assert groups_of(array, key_groups).tolist() == [key_group(row, key_groups) for row in rows]
    assert groups_of(rows, key_groups).tolist() == groups_of(array, key_groups).tolist()


@given(st.lists(keys, max_size=12) | st.lists(st.tuples(scalars, scalars)) | st.lists(integers) | st.lists(surrogates))
def test_a_list_has_the_hash_of_each_of_its_rows(rows: list[Any]) -> None:
    assert hash_column(rows).tolist() == [key_hash(row) for row in rows]


@given(arrays(), st.integers(1, 9))
def test_a_column_has_the_same_hashes_however_its_blocks_fall(array: pa.Array, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elastic.hashing._BLOCK", block)
        assert hash_column(array).tolist() == [key_hash(row) for row in array.to_pylist()]


@given(arrays(), arrays())
def test_pairs_have_hash_and_order_of_their_tuples(left: pa.Array, right: pa.Array) -> None:
    size = min(len(left), len(right))
    pairs = Pairs(left[:size], right[:size])
    rows = list(zip(left[:size].to_pylist(), right[:size].to_pylist(), strict=True))
    groups = groups_of(pairs, 3)

    assert hash_column(pairs).tolist() == [key_hash(row) for row in rows]
    assert sort_order(groups, pairs).tolist() == sort_order(groups, rows).tolist()


@given(st.lists(texts.map(lambda t: t * 30), min_size=10, max_size=30))
def test_long_strings_hash_alike_in_rows_and_columns(rows: list[str]) -> None:
    assert hash_column(pa.array(rows, pa.string())).tolist() == [key_hash(row) for row in rows]


@given(keys, keys)
def test_encodings_are_equal_for_equal_keys_only(one: Any, other: Any) -> None:
    same = unique_nan(one) == unique_nan(other) or unique_nan(one) is unique_nan(other)

    assert (encode_key(one) == encode_key(other)) == same
    if same:
        assert key_hash(one) == key_hash(other)
    else:
        assert not encode_key(one).startswith(encode_key(other))


@given(st.integers(-(2**70), 2**70) | doubles.filter(lambda d: d == d and abs(d) != float("inf")))  # noqa: PLR0124
def test_keys_that_python_calls_equal_are_one_key(number: float) -> None:
    twins = [t for t in (int(number), float(number), bool(number), 0.0 - number, number + 0.0) if t == number]

    for twin in twins:
        assert key_hash(twin) == key_hash(number)
        assert encode_key((twin, "a")) == encode_key((number, "a"))


@given(integers | doubles, integers | doubles)
def test_numbers_are_ordered_by_value(one: float, other: float) -> None:
    if one < other:
        assert encode_key(one) < encode_key(other)


@given(st.lists(texts, max_size=4).map(tuple), st.lists(texts, max_size=4).map(tuple))
def test_tuples_are_ordered_element_by_element(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    utf8 = [[text.encode() for text in texts] for texts in (one, other)]

    assert (encode_key(one) < encode_key(other)) == (utf8[0] < utf8[1])


@given(arrays(), st.randoms(use_true_random=False))
def test_a_column_is_ordered_as_its_rows_are(array: pa.Array, random: Any) -> None:
    rows = array.to_pylist()
    groups = np.array([random.randrange(3) for _ in rows], np.uint16)

    assert sort_order(groups, array).tolist() == canonical(groups, rows)
    assert sort_order(groups, rows).tolist() == canonical(groups, rows)
    assert value_order(array).tolist() == sorted(range(len(rows)), key=lambda i: encode_key(rows[i]))


@given(st.lists(keys, max_size=12))
def test_a_list_of_any_keys_is_ordered_by_group_and_hash(rows: list[Any]) -> None:
    groups = groups_of(rows, 2)

    assert sort_order(groups, rows).tolist() == canonical(groups, rows)
    assert value_order(rows).tolist() == sorted(range(len(rows)), key=lambda i: encode_key(rows[i]))


@given(arrays() | st.lists(keys, max_size=12))
def test_keys_that_share_their_hash_are_ordered_by_encoding(column: Any) -> None:
    rows = column if isinstance(column, list) else column.to_pylist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elastic.keys.hash_column", lambda column: np.zeros(len(column), np.uint64))
        order = sort_order(np.zeros(len(rows), np.uint16), column).tolist()

    assert order == sorted(range(len(rows)), key=lambda i: encode_key(rows[i]))


def canonical(groups: Any, rows: list[Any]) -> list[int]:
    """Indices in canonical order."""
    return sorted(range(len(rows)), key=lambda i: (groups[i], key_hash(rows[i]) >> 16, encode_key(rows[i])))


@given(st.integers(1, 300), st.integers(1, 1000))
def test_even_intervals_tile_all_groups_evenly(count: int, key_groups: int) -> None:
    if count > key_groups:
        with pytest.raises(ValueError, match="cannot be cut"):
            even_intervals(count, key_groups)
        return
    intervals = even_intervals(count, key_groups)

    assert tiles(intervals, KeyInterval(0, key_groups))
    assert max(h - l for l, h in intervals) - min(h - l for l, h in intervals) <= 1  # noqa: E741


@given(keys)
def test_a_key_survives_pickling_with_its_hash(key: Any) -> None:
    assert key_hash(pickle.loads(pickle.dumps(key))) == key_hash(key)
