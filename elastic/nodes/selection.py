"""Operators that let some rows pass: those with a new key, those that rank highest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from elastic.arguments import check_emit
from elastic.batch import Column, Pairs
from elastic.callables import caller, check_function, describe, shortened
from elastic.errors import QueryError
from elastic.functions import ColumnFunction, apply_column, identity, row_form
from elastic.graph import Graph, Node, Path
from elastic.keys import key_group
from elastic.operators.distinct import Distinct
from elastic.operators.top import ALL_TOGETHER, Leaders, Top
from elastic.plan import Combine
from elastic.units import UnitError, parse_duration_ms


def distinct(
    graph: Graph,
    paths: Sequence[Path],
    *,
    combine: Combine,
    ttl: str | None,
    name: str | None,
    value: Callable[[Any], Any] | None = None,
) -> Node:
    """The rows of keyed paths whose key is new; ``combine`` says what the key is and what becomes of the rows."""
    ttl_ms = None
    if ttl is not None:
        try:
            ttl_ms = parse_duration_ms(ttl)
        except UnitError:
            ttl_ms = 0
        if ttl_ms == 0:
            raise QueryError(f"{caller()}: distinct(ttl={ttl!r}) is no time; write ttl='1h', or leave it out")
    node = graph.add("keyed", Distinct(ttl_ms), verb="distinct", name=name, default="distinct")
    graph.connect(node, paths, combine=combine, value=value)
    return node


def top(
    graph: Graph,
    paths: Sequence[Path],
    k: int,
    by: Callable[[Any], Any] | None,
    *,
    pairs: bool,
    emit: str,
    name: str | None,
) -> Node:
    """The ``k`` keys of keyed paths whose latest row ranks highest; with ``pairs``, rows are ``(key, row)``."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        hint = "; the function goes after the number, as in top_k(10, by=…)" if callable(k) else ""
        raise QueryError(f"{caller()}: top_k({shortened(k)}) is no number of rows; write top_k(10){hint}")
    if by is not None:
        check_function("top_k", by)
    check_emit("top_k", emit)
    node = graph.add("keyed", Top(k), verb="top_k", name=name, default="top_k", single=True)
    leaders = Leaders(k, by, pairs)
    level = graph.add("keyed", leaders, verb="top_k", name=None, default=f"{node.name}-leaders", emit=emit, before=node)
    if pairs:
        paths = [replace(path, keyed=True, key=PAIR_KEY, key_name="top_k") for path in paths]
    graph.connect(level, paths, combine="last", value=PAIR_VALUE if pairs else None)
    graph.connect(node, [Path(level.name, keyed=True, key=ALL_TOGETHER, key_name="top_k")])
    return node


def called(verb: str, function: Callable[[Any], Any] | None) -> str:
    """The name of a step that a verb puts before its operator, by which its failures are told."""
    return verb if function is None else f"{verb}({describe(function)})"


def keyable(function: Callable[[Any], Any] | None) -> ColumnFunction:
    """What a function gives for a row; raises on a row for which it gives what cannot be a key."""
    given = function or identity()
    by_row = row_form(given)

    def row(row: Any) -> Any:
        value = by_row(row)
        key_group(value)
        return value

    def column(column: Column) -> Column | None:
        values = _tried(given, column)
        return values if isinstance(values, pa.Array) and _is_plain(values) else None

    return ColumnFunction(called("distinct", function), row, column)


def ranked(by: Callable[[Any], Any] | None, *, pairs: bool) -> ColumnFunction:
    """The row itself; raises on a row whose rank cannot be told, or be compared with its own kind."""
    given = by or (PAIR_VALUE if pairs else identity())
    by_row = row_form(given)

    def row(row: Any) -> Any:
        if pairs:
            _pair(row)
        rank = by_row(row)
        if rank is None:
            raise TypeError("a row cannot rank by None")
        rank < rank  # noqa: B015, PLR0124 (raises where there is no order)
        return row

    def column(column: Column) -> Column | None:
        if pairs and not isinstance(column, Pairs):
            return None
        ranks = _tried(given, column)
        return column if isinstance(ranks, pa.Array) and _is_plain(ranks) else None

    return ColumnFunction(called("top_k", by), row, column)


def _tried(function: Callable[[Any], Any], column: Column) -> Column | None:
    """The function's result for the whole column; None where rows have to be looked at one by one."""
    try:
        return apply_column(function, column)
    except Exception:  # noqa: BLE001 (whichever row it is, it raises by itself)
        return None


def _is_plain(column: pa.Array) -> bool:
    """Whether all values are numbers or text."""
    kind = column.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_string(kind)
    return plain and not column.null_count


def _pair(row: Any) -> tuple[Any, Any]:
    if type(row) is not tuple or len(row) != 2:
        raise TypeError(
            f"top_k ranks (key, value) rows, as aggregates give them, and this one is {shortened(row)}; "
            "for other rows write .key_by(function).top_k(…, by=function)"
        )
    return row


PAIR_KEY = ColumnFunction(
    "key of a pair", lambda row: _pair(row)[0], lambda column: column.keys if isinstance(column, Pairs) else None
)
PAIR_VALUE = ColumnFunction(
    "value of a pair", lambda row: _pair(row)[1], lambda column: column.values if isinstance(column, Pairs) else None
)
