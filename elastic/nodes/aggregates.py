"""Aggregates of keyed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from elastic.arguments import check_emit, check_on_error
from elastic.callables import caller, check_function, shortened
from elastic.errors import QueryError
from elastic.graph import Graph, Node, Path
from elastic.operators.aggregates import Aggregate, Kind
from elastic.plan import Combine, Folding, OnError


def aggregated(
    graph: Graph,
    paths: Sequence[Path],
    verb: Kind,
    function: Callable[[Any, Any], Any] | Folding | None,
    value: Callable[[Any], Any] | None,
    emit: str,
    name: str | None,
    on_error: OnError = "fail",
) -> Node:
    """An aggregate of keyed paths."""
    if value is not None:
        check_function(verb, value)
    check_emit(verb, emit)
    check_on_error(verb, on_error)
    aggregate = Aggregate(verb, 0, function)
    node = graph.add("keyed", aggregate, verb=verb, name=name, default=verb, emit=emit, on_error=on_error)
    graph.connect(node, paths, value=value, combine=_combine(verb, function))
    return node


def _combine(verb: Kind, function: Callable[[Any, Any], Any] | Folding | None) -> Combine | None:
    """How an aggregate can be begun before the shuffle."""
    match verb:
        case "reduce":
            return None
        case "aggregate":
            return function if isinstance(function, Folding) and function.merge is not None else None
    return verb


def folding(
    init: Callable[[], Any],
    add: Callable[[Any, Any], Any],
    merge: Callable[[Any, Any], Any] | None,
    result: Callable[[Any], Any] | None,
) -> Folding:
    """The functions of a user's ``aggregate``, checked."""
    if not callable(init):
        raise QueryError(
            f"{caller()}: init makes a new accumulator for each key, so it is a function: "
            f"write aggregate(lambda: {shortened(init)}, …)"
        )
    check_function("aggregate: init", init, called="nothing", arguments=0)
    check_function("aggregate: add", add, called="an accumulator and a row", arguments=2)
    if merge is not None:
        check_function("aggregate: merge", merge, called="two accumulators", arguments=2)
    if result is not None:
        check_function("aggregate: result", result, called="an accumulator")
    return Folding(init, add, merge, result)
