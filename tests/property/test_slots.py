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
