"""Slots: one number per key, whether a dict or a table finds it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import columnar, rows
from elastic.keys import encode_key
from elastic.operators import slots
from elastic.operators.growing_text import GrowingText

texts = st.lists(
    st.text("abß", max_size=3) | st.sampled_from(["longer than one word of it", "longer than one word of IT"])
)
others = st.lists(st.sampled_from([1, True, 1.0, None, "a", "\ud800", b"a", ("a",), float("nan")]))


@given(columns=st.lists(texts | others, max_size=8))
def test_keys_are_numbered_in_the_order_in_which_they_are_first_seen(columns: list[list[Any]]) -> None:
    expected: dict[bytes, int] = {}
    numbers = slots.KeySlots()
    with patch.object(slots, "WORTH_IT_ROWS", 1):
        for keys in columns:
            found = numbers.of(columnar(keys))

            assert found.tolist() == [expected.setdefault(encode_key(key), len(expected)) for key in keys]
    assert [encode_key(key) for key in numbers.keys] == list(expected)
    assert len(numbers) == len(expected)


@given(
    first=st.sets(st.integers(-5, 30)) | st.sets(st.text("abß", max_size=3)),
    columns=st.lists(st.lists(st.integers(-5, 40)) | others | texts, max_size=6),
)
def test_keys_of_a_checkpoint_have_the_first_slots_whatever_is_asked_for_afterwards(
    first: set[Any], columns: list[list[Any]]
) -> None:
    expected = {encode_key(key): n for n, key in enumerate(first)}
    numbers = slots.KeySlots()
    with patch.object(slots, "WORTH_IT_ROWS", 1):
        assert numbers.begin(columnar(list(first))).tolist() == list(expected.values())
        for keys in columns:
            found = numbers.of(columnar(keys))

            assert found.tolist() == [expected.setdefault(encode_key(key), len(expected)) for key in keys]
            taken = rows(numbers.take(np.arange(len(numbers))))
            assert [encode_key(key) for key in taken] == list(expected)
    assert [encode_key(key) for key in numbers.keys] == list(expected)
    assert len(numbers) == len(expected)


@pytest.mark.parametrize("distinct_hashes", [1, 7])
def test_different_keys_of_one_hash_have_different_slots(distinct_hashes: int) -> None:
    def hashes(keys: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return np.array([len(key) % distinct_hashes << 8 for key in keys.to_pylist()], np.uint64)

    columns = [pa.array([letter * n for n in range(20)]) for letter in "abc"]
    numbers = slots.KeySlots()
    with patch.object(slots, "WORTH_IT_ROWS", 1), patch.object(slots, "hash_column", hashes):
        first = [numbers.of(column).tolist() for column in columns]
        again = [numbers.of(column).tolist() for column in columns]

    assert first == again
    assert len(numbers) == 3 * 19 + 1, "the empty text is in all of them"


@given(
    columns=st.lists(texts | others, max_size=8),
    worth_it=st.sampled_from([1, 4]),
    most_bytes=st.sampled_from([0, 60, 1 << 30]),
    random=st.randoms(),
)
def test_keys_are_handed_out_in_any_order_and_stay_what_they_were(
    columns: list[list[Any]], worth_it: int, most_bytes: int, random: Any
) -> None:
    numbers, given_out, seen = slots.KeySlots(), [], list[Any]()
    with patch.object(slots, "WORTH_IT_ROWS", worth_it), patch.object(slots, "MOST_BYTES", most_bytes):
        for keys in columns:
            for key, slot in zip(keys, numbers.of(columnar(keys)).tolist(), strict=True):
                seen += [key] if slot == len(seen) else []
            wanted = random.choices(range(len(seen)), k=6) if seen else []
            given_out.append((numbers.take(np.array(wanted, np.int64)), [seen[slot] for slot in wanted]))
    for taken, expected in given_out:
        assert [encode_key(key) for key in rows(taken)] == [encode_key(key) for key in expected]


@given(st.lists(texts, min_size=1))
def test_a_column_that_grows_leaves_those_that_were_given_out_as_they_are(columns: list[list[str]]) -> None:
    first, *more = columns
    growing, expected = GrowingText(pa.array(["x", *first], pa.string())[1:]), list(first)
    given_out = [(growing.column(), list(expected))]
    for column in more:
        growing.append(pa.array(["x", *column, "y"], pa.string())[1:-1])
        expected += column
        given_out.append((growing.column(), list(expected)))
    for column, texts_then in given_out:
        column.validate(full=True)
        assert column.to_pylist() == texts_then
