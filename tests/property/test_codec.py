"""Whatever is sent arrives equal, type by type; and fingerprints see rows, not memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, Column, Pairs, rows
from elastic.fingerprint import fingerprint
from elastic.keys import KeyInterval
from elastic.state.processing import StateTable
from elastic.wire.codec import Codec
from tests.examples import examples


@dataclass(frozen=True, slots=True)
class Envelope:
    name: str
    content: Any


class Text(str):
    """A string that is not exactly a ``str``."""

    __slots__ = ()


CODEC = Codec([Envelope], trusted=True)
few = examples(50)

texts = st.text(st.characters())  # with lone surrogates
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    texts,
    st.binary(max_size=3000),
    st.complex_numbers(allow_nan=False),
    texts.map(Text),
    st.builds(KeyInterval, st.integers(0, 256), st.integers(0, 256)),
)
hashables = st.recursive(
    scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.builds(Envelope, st.text(), inner),
    ),
    max_leaves=20,
)
array_types = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(),
    pa.large_string(): st.text(),
    pa.binary(): st.binary(),
    pa.dictionary(pa.int32(), pa.string()): st.text(max_size=2),
    pa.list_(pa.int64()): st.lists(st.integers(0, 9), max_size=3),
    pa.struct([("key", pa.string()), ("value", pa.int64())]): st.fixed_dictionaries(
        {"key": st.text() | st.none(), "value": st.integers(0, 9)}
    ),
}


@st.composite
def arrays(draw: st.DrawFn, length: int) -> pa.Array:
    """An array of ``length`` rows, in the middle of a longer one."""
    kind = draw(st.sampled_from(list(array_types)))
    before, after = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    element = array_types[kind] | st.none() if draw(st.booleans()) else array_types[kind]
    total = before + length + after
    return pa.array(draw(st.lists(element, min_size=total, max_size=total)), kind)[before : before + length]


def columns(length: int) -> st.SearchStrategy[Column]:
    """A column of any form."""
    plain = st.lists(values, min_size=length, max_size=length)
    typed = arrays(length)
    return plain | typed | st.builds(Pairs, plain | typed, plain | typed)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    groups = np.array(sorted(draw(st.lists(st.integers(0, 255), max_size=40))), np.uint16)
    column = st.none() | columns(len(groups))
    return Batch(groups, draw(column), draw(column), draw(st.booleans()))


@st.composite
def tables(draw: st.DrawFn) -> StateTable:
    length, deleted = draw(st.integers(0, 20)), draw(st.none() | st.integers(0, 20))
    return StateTable(
        np.arange(length, dtype=np.uint16),
        draw(columns(length)),
        draw(st.dictionaries(st.text(), columns(length), max_size=3)),
        None if deleted is None else np.arange(deleted, dtype=np.uint16),
        None if deleted is None else draw(columns(deleted)),
    )


def assert_same(one: Any, other: Any) -> None:
    """Equal and of the same types all the way down."""
    assert type(one) is type(other)
    if isinstance(one, (Batch, StateTable, Pairs, Envelope)):
        for name in one.__dataclass_fields__:
            assert_same(getattr(one, name), getattr(other, name))
    elif isinstance(one, pa.Array):
        assert one.type == other.type
        assert one.equals(other)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, dict):
        assert_same(list(one.items()), list(other.items()))
    elif isinstance(one, (set, frozenset)):
        assert one == other
    elif isinstance(one, float):
        assert one == other
        assert math.copysign(1, one) == math.copysign(1, other)
    else:
        assert one == other


@few
@given(values)
def test_any_value_arrives_equal_and_of_the_same_types(value: Any) -> None:
    assert_same(CODEC.decode(CODEC.encode(value)), value)


@few
@given(batches() | tables() | columns(5), st.text())
def test_columns_arrive_equal_in_a_message_and_in_one_piece(content: Any, name: str) -> None:
    message = Envelope(name, content)

    assert_same(CODEC.decode(CODEC.encode(message)), message)
    assert_same(CODEC.unpack(CODEC.pack(message)), message)


@few
@given(batches(), st.data())
def test_a_slice_arrives_as_the_rows_that_it_has(batch: Batch, data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.tuples(st.integers(0, 256), st.integers(0, 256))))

    part = batch.slice(KeyInterval(low, high))

    assert_same(CODEC.decode(CODEC.encode(part)), part)


@few
@given(batches())
def test_a_fingerprint_is_the_same_after_the_batch_was_sent(batch: Batch) -> None:
    assert fingerprint(CODEC.decode(CODEC.encode(batch))) == fingerprint(batch)


@few
@given(st.data(), st.integers(1, 20))
def test_a_fingerprint_does_not_see_how_an_array_lies_in_memory(data: st.DataObject, length: int) -> None:
    array = data.draw(arrays(length))
    middle = data.draw(st.integers(0, length))
    groups = np.zeros(length, np.uint16)

    copies = [
        pa.concat_arrays([array[:middle], array[middle:]]),
        pa.array(array.to_pylist(), array.type),
        pa.concat_arrays([array, array])[length:],
        array.take(pa.array(range(length))),
    ]

    assert {fingerprint(Batch(groups, None, copy)) for copy in copies} == {fingerprint(Batch(groups, None, array))}


@few
@given(st.lists(values, max_size=20))
def test_a_fingerprint_does_not_see_which_equal_values_are_one_object(column: list[Any]) -> None:
    groups = np.zeros(len(column), np.uint16)
    separate = [CODEC.decode(CODEC.encode(value)) for value in column]

    assert fingerprint(Batch(groups, None, column)) == fingerprint(Batch(groups, None, separate))


@few
@given(st.data(), st.integers(1, 20))
def test_a_fingerprint_is_the_same_for_plain_values_in_a_list_and_in_an_array(data: st.DataObject, length: int) -> None:
    kind = data.draw(st.sampled_from([k for k in array_types if not pa.types.is_nested(k)]))
    array = pa.array(data.draw(st.lists(array_types[kind] | st.none(), min_size=length, max_size=length)), kind)
    groups = np.zeros(length, np.uint16)

    assert fingerprint(Batch(groups, array, None)) == fingerprint(Batch(groups, rows(array), None))


@few
@given(st.data(), st.integers(1, 20))
def test_a_fingerprint_differs_when_one_row_does(data: st.DataObject, length: int) -> None:
    array = data.draw(arrays(length))
    groups = np.zeros(length, np.uint16)
    position = data.draw(st.integers(0, length - 1))
    changed = array.to_pylist()
    changed[position] = data.draw(array_types[array.type] | st.none())

    same = fingerprint(Batch(groups, None, array)) == fingerprint(Batch(groups, None, pa.array(changed, array.type)))

    assert same == (repr(changed) == repr(array.to_pylist()))
