"""Functions over rows and columns: the same function for one row and, much faster, for a whole column.

``split()``, ``contains("x")``, ``field("user")`` are called on a row as any function is, and are given the whole column
where rows lie in one. Both forms agree on every input: a column on which a kernel would differ from Python (nulls,
other types, letters outside ASCII) is not taken, and its rows are then called one by one.

Your own: write the row form, and put the column form beside it::

    @columnar(lambda column: pc.utf8_length(column) if column.type == pa.string() else None)
    def length(row):
        return len(row)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import INT64, Column, Pairs
from elastic.text import WHITE_SPACE, is_ascii, rows_with, split_bytes, split_words

ColumnForm: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnFunction:
    """A function with a row form and a column form, which agree on every input.

    Attributes:
        name: What errors and reports call it, such as ``split()``.
        row: Takes a row. Calling the object calls it.
        column: Takes a column (an Arrow array or ``Pairs``) and returns one of the same length: the results for
            ``map`` and ``key_by``, booleans for ``filter``, a list array for ``flat_map``. Or None: not this column,
            call the row form on each of its rows, which also raises what a bad row raises.
    """

    name: str
    row: Callable[[Any], Any]
    column: ColumnForm

    def __call__(self, row: Any) -> Any:
        return self.row(row)

    def __repr__(self) -> str:
        return self.name

    @property
    def __name__(self) -> str:
        return self.name


def columnar(column: ColumnForm, *, name: str | None = None) -> Callable[[Callable[[Any], Any]], ColumnFunction]:
    """A decorator that gives a function of one row its column form.

    Args:
        column: Takes an Arrow array (or ``Pairs``) and returns one of the same length, or None for a column that it
            does not handle. It must give, row for row, what the decorated function gives.
        name: What errors and reports call the function; its own name if not given.
    """

    def decorate(row: Callable[[Any], Any]) -> ColumnFunction:
        return ColumnFunction(name or str(getattr(row, "__name__", type(row).__name__)), row, column)

    return decorate


def row_form(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function to call on single rows: without the detour over ``ColumnFunction.__call__``."""
    return function.row if isinstance(function, ColumnFunction) else function


def apply_column(function: Callable[[Any], Any], column: Column) -> Column | None:
    """The function's result for the whole column; None if its rows have to be called one by one.

    Raises:
        TypeError: A column form of the user's returned something that is no column, or one of another length.
    """
    if not isinstance(function, ColumnFunction) or isinstance(column, list):
        return None
    result = function.column(column)
    if result is None or result is NotImplemented:
        return None
    if isinstance(result, pa.ChunkedArray):
        result = result.combine_chunks()
    if isinstance(result, np.ndarray):
        result = pa.array(result)
    if not isinstance(result, pa.Array | Pairs | list):
        kind = type(result).__name__
        raise TypeError(f"the column form of {function.name} returned a value of type {kind}; return an Arrow array")
    if len(result) != len(column):
        raise TypeError(
            f"the column form of {function.name} returned {len(result)} rows for {len(column)}; return one for each "
            "(a list array where the function is for flat_map)"
        )
    return result


def split(separator: str | None = None) -> ColumnFunction:
    """What ``str.split(separator)`` gives: the words between white space, or the parts between separators.

    Raises:
        ValueError: The separator is empty.
    """
    if separator is None:
        return ColumnFunction("split()", operator.methodcaller("split"), _split_words)
    if not separator:
        raise ValueError("split needs a separator of at least one character; split() splits at white space")
    return ColumnFunction(
        f"split({separator!r})", operator.methodcaller("split", separator), partial(_split_at, separator)
    )


def contains(text: str | bytes) -> ColumnFunction:
    """Whether the row contains the text: ``text in row``."""
    return ColumnFunction(f"contains({text!r})", partial(_contains, text), partial(_column_contains, text))


def startswith(text: str) -> ColumnFunction:
    """Whether the row starts with the text."""
    return ColumnFunction(
        f"startswith({text!r})", operator.methodcaller("startswith", text), partial(_affix, pc.starts_with, text)
    )


def endswith(text: str) -> ColumnFunction:
    """Whether the row ends with the text."""
    return ColumnFunction(
        f"endswith({text!r})", operator.methodcaller("endswith", text), partial(_affix, pc.ends_with, text)
    )


def length() -> ColumnFunction:
    """``len(row)``: characters of a str, bytes of bytes, elements of a list."""
    return ColumnFunction("length()", len, _length)


def lower() -> ColumnFunction:
    """The row in lower case, as ``str.lower`` makes it."""
    return ColumnFunction("lower()", operator.methodcaller("lower"), partial(_ascii, pc.ascii_lower))


def upper() -> ColumnFunction:
    """The row in upper case, as ``str.upper`` makes it."""
    return ColumnFunction("upper()", operator.methodcaller("upper"), partial(_ascii, pc.ascii_upper))


def strip(characters: str | None = None) -> ColumnFunction:
    """The row without white space, or without the given characters, at both ends."""
    call = () if characters is None else (characters,)
    shown = "" if characters is None else repr(characters)
    cut = WHITE_SPACE if characters is None else characters
    return ColumnFunction(f"strip({shown})", operator.methodcaller("strip", *call), partial(_strip, cut))


def field(name: str | int) -> ColumnFunction:
    """``row[name]``: a field of a dict or struct, or an element of a tuple or list."""
    return ColumnFunction(f"field({name!r})", operator.itemgetter(name), partial(_field, name))


def identity() -> ColumnFunction:
    """The row itself."""
    return ColumnFunction("identity()", _same, _same)


def equals(value: Any) -> ColumnFunction:
    """Whether the row equals the value."""
    return _comparison("equals", operator.eq, pc.equal, value)


def less_than(value: Any) -> ColumnFunction:
    """Whether the row is less than the value."""
    return _comparison("less_than", operator.lt, pc.less, value)


def greater_than(value: Any) -> ColumnFunction:
    """Whether the row is greater than the value."""
    return _comparison("greater_than", operator.gt, pc.greater, value)


def _is_text(column: Any) -> bool:
    """Strings without nulls: a None has no ``split``, and the row form says so."""
    return isinstance(column, pa.Array) and column.type in (pa.string(), pa.large_string()) and not column.null_count


def _is_binary(column: Any) -> bool:
    return isinstance(column, pa.Array) and column.type in (pa.binary(), pa.large_binary()) and not column.null_count


def _same(row: Any) -> Any:
    return row


def _split_words(column: Any) -> pa.Array | None:
    return split_words(column) if _is_text(column) else None


def _split_at(separator: str, column: Any) -> pa.Array | None:
    if not _is_text(column):
        return None
    if len(separator) == 1 and separator.isascii():
        return split_bytes(column, separator)
    return None if _utf8(separator) is None else pc.split_pattern(column, separator)


def _contains(text: str | bytes, row: Any) -> bool:
    return text in row


def _column_contains(text: str | bytes, column: Any) -> pa.Array | None:
    if isinstance(text, bytes):
        return rows_with(column, text) if _is_binary(column) else None
    pattern = _utf8(text)
    return rows_with(column, pattern) if pattern is not None and _is_text(column) else None


def _affix(kernel: Callable[..., pa.Array], text: str, column: Any) -> pa.Array | None:
    return kernel(column, text) if _is_text(column) and _utf8(text) is not None else None


def _length(column: Any) -> pa.Array | None:
    if _is_text(column):
        return pc.utf8_length(column).cast(pa.int64())
    if _is_binary(column):
        return pc.binary_length(column).cast(pa.int64())
    if isinstance(column, pa.ListArray | pa.LargeListArray) and not column.null_count:
        return pc.list_value_length(column).cast(pa.int64())
    return None


def _ascii(kernel: Callable[[pa.Array], pa.Array], column: Any) -> pa.Array | None:
    """Outside ASCII, Arrow maps one character to one, while Python knows ``ß``, the final sigma and the dotted I."""
    return kernel(column) if _is_text(column) and is_ascii(column) else None


def _strip(characters: str, column: Any) -> pa.Array | None:
    if not _is_text(column) or _utf8(characters) is None:
        return None
    return pc.utf8_trim(column, characters=characters) if characters else column


def _field(name: str | int, column: Any) -> Column | None:
    if isinstance(column, Pairs):
        if name in (0, -2):
            return column.keys
        return column.values if name in (1, -1) else None
    if not isinstance(column, pa.StructArray) or column.null_count or not isinstance(name, str):
        return None
    return column.field(name) if len(column.type.get_all_field_indices(name)) == 1 else None


def _comparison(
    name: str, row: Callable[[Any, Any], Any], kernel: Callable[..., pa.Array], value: Any
) -> ColumnFunction:
    return ColumnFunction(f"{name}({value!r})", partial(_compare, row, value), partial(_column_compare, kernel, value))


def _compare(compare: Callable[[Any, Any], Any], value: Any, row: Any) -> Any:
    return compare(row, value)


def _column_compare(kernel: Callable[..., pa.Array], value: Any, column: Any) -> pa.Array | None:
    """Only between equal types: across types, Arrow would round one side, where Python compares exactly."""
    if not isinstance(column, pa.Array) or column.null_count:
        return None
    kind = type(value)
    if (
        (kind is int and column.type == pa.int64() and value in INT64)
        or (kind is float and column.type == pa.float64())
        or (kind is str and _is_text(column) and _utf8(value) is not None)
        or (kind is bytes and _is_binary(column))
    ):
        return kernel(column, pa.scalar(value, column.type))
    return None


def _utf8(text: str) -> bytes | None:
    """The text's UTF-8; None if it holds a lone surrogate, which no Arrow string can."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return None
