"""Rows as named columns: how a sink whose target has fields reads tuples, dicts and single values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from elastic.batch import Column, Pairs, rows
from elastic.errors import SinkError


@dataclass(frozen=True, slots=True)
class Fields:
    """Rows cut into one list of values per name."""

    names: tuple[str, ...]
    columns: list[list[Any]]


@dataclass(frozen=True, slots=True)
class TypedFields:
    """Rows cut into one column per name, typed where they have one type."""

    names: tuple[str, ...]
    columns: list[list[Any] | pa.Array]


def fields(column: Column, names: tuple[str, ...] | None) -> Fields:
    """The rows as named lists of Python objects, cut as ``typed_fields`` cuts them.

    Raises:
        SinkError: A row has other fields than the names, or than the rows before it.
    """
    cut = typed_fields(column, names)
    return Fields(cut.names, [rows(values) for values in cut.columns])


def typed_fields(column: Column, names: tuple[str, ...] | None) -> TypedFields:
    """The rows as named columns; those that are typed stay so.

    Pairs and tuples are taken by position (``key`` and ``value`` unless named), dicts by name, anything else is a row
    of one field (``value`` unless named).

    Raises:
        SinkError: A row has other fields than the names, or than the rows before it.
    """
    if isinstance(column, Pairs):
        return TypedFields(_positional(names, 2, ("key", "value")), [column.keys, column.values])
    if isinstance(column, pa.Array) and pa.types.is_struct(column.type) and not column.null_count:
        by_name = dict(zip((f.name for f in column.type), column.flatten(), strict=True))
        if names is None or set(names) == set(by_name):
            names = names or tuple(by_name)
            return TypedFields(names, [by_name[name] for name in names])
    plain = isinstance(column, pa.Array) and not pa.types.is_struct(column.type)
    if plain and (names is None or len(names) == 1):
        return TypedFields(names or ("value",), [column])
    values = rows(column)
    kinds = set(map(_kind, values))
    if len(kinds) > 1:
        _refuse_mixture(values)
    kind = kinds.pop() if kinds else None
    if kind is dict:
        return _from_dicts(values, names)
    if kind is tuple:
        return _from_tuples(values, names)
    return TypedFields(_positional(names, 1, ("value",)), [values])


def _kind(row: Any) -> type | None:
    return dict if isinstance(row, dict) else tuple if isinstance(row, tuple) else None


def _positional(names: tuple[str, ...] | None, width: int, default: tuple[str, ...]) -> tuple[str, ...]:
    """The names of rows of ``width`` fields."""
    if names is None and len(default) == width:
        return default
    if names is None or len(names) != width:
        expected = "no columns" if names is None else f"the columns {', '.join(names)}"
        raise SinkError(
            f"the rows have {_count(width)}, but the sink was given {expected}; "
            f"name one column per field with columns=[...]"
        )
    return names


def _from_dicts(values: Sequence[dict[str, Any]], names: tuple[str, ...] | None) -> TypedFields:
    names = names or tuple(values[0])
    columns: list[list[Any] | pa.Array]
    try:
        columns = [[row[name] for row in values] for name in names]
    except KeyError:
        columns = []
    if not columns or max(map(len, values)) > len(names):
        odd = next(row for row in values if set(row) != set(names))
        raise SinkError(
            f"the row {shortened(odd)} has the fields {', '.join(map(str, odd))}, "
            f"expected {', '.join(map(str, names))}; give every row the same fields, or choose some with .map(...)"
        )
    return TypedFields(names, columns)


def _from_tuples(values: Sequence[tuple[Any, ...]], names: tuple[str, ...] | None) -> TypedFields:
    width = len(values[0])
    if odd := next((row for row in values if len(row) != width), None):
        raise SinkError(
            f"the row {shortened(odd)} has {_count(len(odd))}, the rows before it {_count(width)}; "
            f"give every row the same fields"
        )
    return TypedFields(_positional(names, width, ("key", "value")), [list(c) for c in zip(*values, strict=True)])


def _refuse_mixture(values: Sequence[Any]) -> None:
    odd = next(row for row in values if _kind(row) is not _kind(values[0]))
    raise SinkError(
        f"the row {shortened(odd)} is a {type(odd).__name__}, the rows before it are {type(values[0]).__name__}s; "
        f"give every row the same form with .map(...)"
    )


def _count(width: int) -> str:
    return "1 field" if width == 1 else f"{width} fields"


def shortened(row: Any) -> str:
    """``repr`` of a row, at most 120 characters."""
    text = repr(row)
    return text if len(text) <= 120 else f"{text[:117]}..."
