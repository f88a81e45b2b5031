"""What functions over rows and columns promise beside agreeing with themselves."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from elastic.functions import (
    ColumnFunction,
    apply_column,
    columnar,
    contains,
    endswith,
    equals,
    field,
    length,
    lower,
    row_form,
    split,
    startswith,
    strip,
)


@columnar(lambda column: pc.multiply(column, 2) if column.type == pa.int64() else None)
def doubled(row: Any) -> Any:
    return row * 2


def test_a_users_own_function_takes_rows_and_columns() -> None:
    assert doubled(4) == 8
    assert apply_column(doubled, pa.array([1, 2])).to_pylist() == [2, 4]  # type: ignore[union-attr]
    assert apply_column(doubled, pa.array(["a"])) is None
    assert repr(doubled) == doubled.__name__ == "doubled"


def test_a_plain_function_and_a_list_go_row_by_row() -> None:
    assert apply_column(str.split, pa.array(["a b"])) is None
    assert apply_column(split(), ["a b"]) is None
    assert row_form(str.split) is str.split
    assert row_form(split())("a b") == ["a", "b"]


def test_a_column_form_that_loses_rows_is_refused_by_name() -> None:
    function = ColumnFunction("shrink", len, lambda column: column[:1])

    with pytest.raises(TypeError, match="column form of shrink returned 1 rows for 2"):
        apply_column(function, pa.array([1, 2]))


def test_a_column_form_that_returns_no_column_is_refused_by_name() -> None:
    function = ColumnFunction("odd", len, lambda column: 7)

    with pytest.raises(TypeError, match="column form of odd returned a value of type int"):
        apply_column(function, pa.array([1, 2]))


def test_a_column_form_may_answer_with_numpy_or_chunks_or_not_at_all() -> None:
    two = pa.array([1, 2])

    for answer in (np.array([3, 4]), pa.chunked_array([[3], [4]])):
        result = apply_column(ColumnFunction("f", len, partial(lambda given, _: given, answer)), two)
        assert isinstance(result, pa.Array)
        assert result.to_pylist() == [3, 4]
    assert apply_column(ColumnFunction("f", len, lambda column: NotImplemented), two) is None


def test_functions_are_named_as_the_user_wrote_them() -> None:
    functions = [split(), split(","), contains("x"), field("user"), field(0), strip(), strip("ab"), equals(1)]

    assert [repr(f) for f in functions] == [
        *("split()", "split(',')", "contains('x')", "field('user')", "field(0)", "strip()", "strip('ab')", "equals(1)")
    ]


@pytest.mark.parametrize(
    "function", [split(), split(","), contains("x"), field("a"), lower(), length(), strip(), equals(1)], ids=repr
)
def test_a_shipped_function_survives_pickling_in_few_bytes(function: ColumnFunction) -> None:
    for dumps in (pickle.dumps, cloudpickle.dumps):
        shipped = dumps(function)

        assert repr(pickle.loads(shipped)) == repr(function)
        assert len(shipped) < 500


def test_a_users_own_function_survives_shipping() -> None:
    shipped = pickle.loads(cloudpickle.dumps(doubled))

    assert shipped(4) == 8
    assert apply_column(shipped, pa.array([1])).to_pylist() == [2]  # type: ignore[union-attr]


def test_an_empty_separator_is_refused_when_the_function_is_made() -> None:
    with pytest.raises(ValueError, match="at least one character"):
        split("")


def test_none_raises_what_it_raises_in_python_and_its_column_goes_row_by_row() -> None:
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'split'"):
        split()(None)
    for function in (split(), split(","), contains("a"), startswith("a"), endswith("a"), lower(), strip(), length()):
        assert function.column(pa.array(["a", None])) is None


def test_letters_outside_ascii_change_case_as_python_changes_them() -> None:
    assert apply_column(lower(), pa.array(["ABC"])) == pa.array(["abc"])
    assert apply_column(lower(), pa.array(["İ"])) is None


def test_shipped_functions_take_a_plain_column() -> None:
    """The fast path exists: agreement alone would also hold for functions that never take a column."""
    text, struct = pa.array(["a needle b", "c"]), pa.array([{"a": 1}])

    for function in (split(), split(","), split(" n"), contains("needle"), startswith("a"), endswith("b"), strip()):
        assert function.column(text) is not None
    assert length().column(text) == pa.array([10, 1])
    assert field("a").column(struct) == pa.array([1])
    assert equals("c").column(text) == pa.array([False, True])
