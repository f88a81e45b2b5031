"""Every shipped function gives for a column what it gives for each of its rows, whatever the rows."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elastic.batch import Pairs, rows
from elastic.functions import (
    ColumnFunction,
    apply_column,
    contains,
    endswith,
    equals,
    field,
    greater_than,
    identity,
    length,
    less_than,
    lower,
    split,
    startswith,
    strip,
    upper,
)
from elastic.text import WHITE_SPACE
from tests.examples import examples

SPECIAL = ["ß", "İ", "ΑΣ", "ὈΔΥΣΣΕΎΣ", "ǆ", "ﬁ", "é", "e\u0301", "😀", "\ufeff", "\x00", "\x1b", "\x7f", "\u200b"]
pieces = st.sampled_from([*WHITE_SPACE, "  ", "\r\n", ",", ",,", "a", "word", "needle", "aab", *SPECIAL])
texts = st.lists(pieces, max_size=12).map("".join) | st.text(st.characters(codec="utf-8"))
ascii_texts = st.text(st.characters(codec="ascii"), max_size=20)
lines = st.lists(texts, max_size=12) | st.lists(ascii_texts, max_size=12)
needles = texts | st.sampled_from(["a", "aa", "ab", "nee", "needle", "", " ", "\x85", "aab"])


def outcomes(function: ColumnFunction, values: list[Any]) -> list[Any]:
    """What the row form does with each row: its result or the type of its error."""
    results: list[Any] = []
    for value in values:
        try:
            results.append(function(value))
        except Exception as error:  # noqa: BLE001 (whatever Python raises is what the row form is held to)
            results.append(type(error))
    return results


def assert_forms_agree(function: ColumnFunction, column: Any) -> None:
    result = apply_column(function, column)
    if result is not None:
        if isinstance(result, pa.Array):
            result.validate(full=True)
        assert list(map(repr, rows(result))) == list(map(repr, outcomes(function, rows(column))))


@st.composite
def columns_of(draw: st.DrawFn, values: st.SearchStrategy[list[Any]], *types: pa.DataType) -> pa.Array:
    """A column sliced at both ends, perhaps with None."""
    items = draw(values)
    if draw(st.integers(0, 4)) == 0:
        items = [*items, None]
    array = pa.array(items, draw(st.sampled_from(types)))
    low = draw(st.integers(0, len(array)))
    return array[low : draw(st.integers(low, len(array)))]


text_columns = columns_of(lines, pa.string(), pa.large_string())
any_columns = (
    text_columns
    | columns_of(st.lists(st.binary(max_size=8)), pa.binary(), pa.large_binary())
    | columns_of(st.lists(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1, 0, 1])), pa.int64())
    | columns_of(st.lists(st.floats() | st.sampled_from([2.0**53, 0.0, -0.0, 1.0])), pa.float64())
    | columns_of(st.lists(st.booleans()), pa.bool_())
    | columns_of(st.lists(st.lists(ascii_texts, max_size=3)), pa.list_(pa.string()))
    | columns_of(st.just([]), pa.null())
)


@given(text_columns)
@example(pa.array(["", " ", "a", " a  b ", "\x1c\x1da\x85b\u3000", "\n", "a\x0bb"]))
def test_split_gives_the_words_that_str_split_gives(column: pa.Array) -> None:
    assert_forms_agree(split(), column)
    if not column.null_count:
        words = split().column(column)
        assert words.flatten().to_pylist() == [word for line in column.to_pylist() for word in line.split()]


@given(text_columns, st.integers(1, 20))
def test_split_gives_the_same_words_however_its_blocks_fall(column: pa.Array, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elastic.text._BLOCK_BYTES", block_bytes)
        assert_forms_agree(split(), column)
        assert_forms_agree(split(","), column)


@given(st.lists(lines, max_size=4), st.integers(0, 3))
def test_a_split_column_can_be_sliced_and_joined(parts: list[list[str]], low: int) -> None:
    column = pa.array([line for part in parts for line in part], pa.string())
    words = split().column(column)[low:]

    assert words.to_pylist() == [line.split() for line in column.to_pylist()[low:]]


@given(text_columns, needles.filter(bool))
@example(pa.array(["", "a,b", ",", ",,a,"]), ",")
def test_split_at_a_separator_gives_what_str_split_gives(column: pa.Array, separator: str) -> None:
    assert_forms_agree(split(separator), column)


@given(text_columns, needles)
@example(pa.array(["nee", "dle", "", "needle", "xneedlex", "needl"]), "needle")
def test_contains_finds_text_within_rows_only(column: pa.Array, text: str) -> None:
    assert_forms_agree(contains(text), column)


@given(st.lists(st.sampled_from(["needle", "x" * 90, "nee", "dle", "", "aneedleneedle"]), max_size=400), needles)
def test_contains_finds_rare_and_frequent_text_alike(values: list[str], text: str) -> None:
    assert_forms_agree(contains(text), pa.array(values, pa.string()))


@given(columns_of(st.lists(st.binary(max_size=6)), pa.binary(), pa.large_binary()), st.binary(max_size=3))
def test_contains_finds_bytes_in_bytes(column: pa.Array, text: bytes) -> None:
    assert_forms_agree(contains(text), column)


@pytest.mark.parametrize("make", [startswith, endswith, strip], ids=lambda make: make.__name__)
@given(column=text_columns, text=needles)
def test_a_text_function_with_an_argument_agrees_in_both_forms(make: Any, column: pa.Array, text: str) -> None:
    assert_forms_agree(make(text), column)


@pytest.mark.parametrize("function", [lower(), upper(), strip(), length(), identity()], ids=repr)
@given(column=text_columns)
@example(column=pa.array([*SPECIAL]))
@example(column=pa.array([f" {s}x{s}\x1c" for s in WHITE_SPACE]))
def test_a_text_function_agrees_in_both_forms(function: ColumnFunction, column: pa.Array) -> None:
    assert_forms_agree(function, column)


FUNCTIONS = [
    *(split(), split(","), split("ab"), contains("a"), contains(b"a"), startswith("a"), endswith("a"), length()),
    *(lower(), upper(), strip(), strip("a"), field("a"), field(0), field(1), identity()),
    *(
        make(value)
        for make in (equals, less_than, greater_than)
        for value in (0, 1.0, 2**53, 2**70, "a", b"a", None, True)
    ),
]


@examples(1000)
@given(st.sampled_from(FUNCTIONS), any_columns)
def test_no_function_takes_a_column_on_which_its_forms_differ(function: ColumnFunction, column: pa.Array) -> None:
    assert_forms_agree(function, column)


@given(
    columns_of(
        st.lists(st.fixed_dictionaries({"user": texts | st.none(), "n": st.integers(0, 9) | st.none()})),
        pa.struct([("user", pa.string()), ("n", pa.int64())]),
    ),
    st.sampled_from(["user", "n", "missing", 0]),
)
def test_a_field_of_structs_agrees_in_both_forms(column: pa.Array, name: str | int) -> None:
    assert_forms_agree(field(name), column)


@given(st.lists(st.tuples(texts, st.integers(0, 9))), st.sampled_from([0, 1, -1, -2, 2, "a"]))
def test_an_element_of_pairs_agrees_in_both_forms(values: list[tuple[str, int]], name: str | int) -> None:
    column = Pairs(pa.array([key for key, _ in values], pa.string()), [value for _, value in values])

    assert_forms_agree(field(name), column)


def test_all_of_pythons_white_space_is_known() -> None:
    assert [c for c in map(chr, range(sys.maxunicode + 1)) if c.isspace()] == list(WHITE_SPACE)
