from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Column, Pairs, columnar, concat, cut
from elastic.connectors.checksum import checksum

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=5)
)
nested = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=6,
)
int64 = st.integers(-(2**63), 2**63 - 1)


def total(*columns: Column) -> int:
    return sum(map(checksum, columns)) % 2**64


@given(st.lists(nested, max_size=12), st.integers(0, 12), st.randoms())
def test_the_order_and_the_batching_of_rows_do_not_matter(rows: list[Any], at: int, random: Any) -> None:
    whole = total(rows)

    shuffled = random.sample(rows, len(rows))

    assert total(shuffled[:at], shuffled[at:]) == whole


@given(st.lists(st.tuples(st.text(max_size=4), int64), max_size=8))
def test_pairs_in_columns_count_as_their_rows_do(rows: list[tuple[str, int]]) -> None:
    keys, values = [k for k, _ in rows], [v for _, v in rows]

    assert total(Pairs(columnar(keys), columnar(values))) == total(list(rows))


@given(
    st.lists(st.fixed_dictionaries({"value": int64, "key": st.none() | st.text(max_size=4)}), max_size=8),
    st.integers(0, 8),
)
def test_structs_in_columns_count_as_their_rows_do(rows: list[dict[str, Any]], at: int) -> None:
    array = pa.array(rows, pa.struct([("key", pa.string()), ("value", pa.int64())]))

    assert total(cut(array, 0, at), cut(array, at, len(rows))) == total(list(rows)) == total(concat([array]))


@given(st.lists(nested, min_size=1, max_size=6), st.integers(0, 5))
def test_a_row_more_or_less_is_noticed(rows: list[Any], at: int) -> None:
    assert total(rows, [rows[at % len(rows)]]) != total(rows)
    assert total(rows[1:]) != total(rows)


class Visit:
    """A row of a class of the user's own, which prints where in memory it is."""

    def __init__(self, page: str) -> None:
        self.page = page


def test_objects_count_by_their_attributes_not_by_their_address() -> None:
    assert total([Visit("home")]) == total([Visit("home")]) != total([Visit("about")])
