"""What the verbs of streams become: operators of the query graph, and the edges that lead to them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, get_args

from elastic.batch import Pairs
from elastic.callables import caller, check_function, check_shippable, describe, shortened
from elastic.errors import QueryError
from elastic.functions import ColumnFunction
from elastic.graph import Graph, Node, Path, check_emit, check_names, check_on_error, check_outputs
from elastic.operators.aggregates import Aggregate, Kind
from elastic.operators.base import Operator
from elastic.operators.bound_states import declared_states
from elastic.operators.distinct import Distinct
from elastic.operators.join import STREAM, TABLE, How, TableJoin
from elastic.operators.spread import Rebalance
from elastic.operators.timestamps import US_PER, Timestamps, Unit
from elastic.operators.top import ALL_TOGETHER, Leaders, Top
from elastic.plan import Combine, EventTime, Folding, OnError, Step
from elastic.units import UnitError, parse_duration_ms


def aggregated(
    graph: Graph,
    paths: Sequence[Path],
    verb: Kind,
    function: Callable[[Any, Any], Any] | Folding | None,
    value: Callable[[Any], Any] | None,
    emit: str,
    name: str | None,
) -> Node:
    """An aggregate of keyed paths."""
    if value is not None:
        check_function(verb, value)
    check_emit(verb, emit)
    node = graph.add("keyed", Aggregate(verb, 0, function), verb=verb, name=name, default=verb, emit=emit)
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


def rebalanced(graph: Graph, paths: Sequence[Path], name: str | None) -> Node:
    """The rows of paths without keys, spread evenly over instances."""
    node = graph.add("keyed", Rebalance(), verb="rebalance", name=name, default="rebalance")
    graph.connect(node, paths, route="spread")
    return node


def check_broadcast(operator: Operator, paths: Sequence[Path]) -> None:
    """Return if the operator handles rows of a broadcast stream where it gets some, and only there.

    Raises:
        QueryError: It does not.
    """
    kind = type(operator)
    handles = kind.process_broadcast is not Operator.process_broadcast
    gets = any(path.route == "broadcast" for path in paths)
    if gets and not handles:
        raise QueryError(
            f"{caller()}: rows of a broadcast stream come to {kind.__name__}, which does not define "
            "process_broadcast(self, value, shared, ctx); what it keeps in the dict shared, process reads in ctx.shared"
        )
    if handles and not gets:
        raise QueryError(
            f"{caller()}: {kind.__name__} defines process_broadcast(), and no broadcast stream comes to it; write "
            f".union(stream.broadcast()).apply({kind.__name__}(…))"
        )
    if inspect.isgeneratorfunction(kind.process_broadcast):
        raise QueryError(
            f"{caller()}: {kind.__name__}.process_broadcast yields, and every instance would emit the same; keep what "
            "it finds in shared, and yield in process"
        )


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


def applied(
    graph: Graph,
    inputs: Sequence[Sequence[Path]],
    operator: Operator,
    on_error: OnError,
    name: str | None,
) -> Node:
    """A user's operator on one keyed input or several, each of one path or more.

    Of a single input, the paths are numbered for ``ctx.input``.
    """
    if isinstance(operator, type):
        raise QueryError(f"{caller()}: apply() takes an instance; write apply({operator.__name__}())")
    kind = type(operator)
    if not isinstance(operator, Operator):
        raise QueryError(f"{caller()}: apply() takes an Operator, but {kind.__name__} is not derived from it")
    check_inputs(operator, len(inputs))
    check_shippable(f"operator {kind.__name__}", operator)
    check_outputs(kind.__name__, operator.outputs)
    check_states(operator, event_time=any(path.event_time is not None for paths in inputs for path in paths))
    check_on_error("apply", on_error)
    check_broadcast(operator, [path for paths in inputs for path in paths])
    node = graph.add("keyed", operator, verb="apply", name=name, default=kind.__name__, on_error=on_error)
    paths = [path for paths in inputs for path in paths]
    numbers = [number for number, paths in enumerate(inputs) for _ in paths]
    if len(inputs) > 1:  # a broadcast stream that was united with one of them is an input of its own
        own = count(len(inputs))
        numbers = [next(own) if p.route == "broadcast" else n for p, n in zip(paths, numbers, strict=True)]
    graph.connect(node, paths, inputs=numbers if len(inputs) > 1 else None)
    return node


def check_inputs(operator: Operator, connected: int) -> None:
    """Return if the operator has a method for each of so many inputs.

    Raises:
        QueryError: It declares others, or has no method for one, or one for an input that it does not declare.
    """
    kind, declared = type(operator), operator.inputs
    check_names(kind.__name__, "inputs", declared)
    if declared and len(declared) != connected:
        raise QueryError(
            f"{caller()}: {kind.__name__} has the inputs {', '.join(map(repr, declared))}, and is given "
            f"{connected or 1} of them; write .connect(…).apply({kind.__name__}()), with the streams in that order"
        )
    common = [m for m in ("process", "process_columns") if getattr(kind, m) is not getattr(Operator, m)]
    if not common and not declared:
        raise QueryError(f"{caller()}: {kind.__name__} defines neither process() nor process_columns()")
    for name in declared:
        if not common and not hasattr(kind, f"process_{name}"):
            raise QueryError(f"{caller()}: {kind.__name__} has the input {name!r}, but defines no process_{name}()")
    for method in (m for m in dir(kind) if m.startswith("process_") and not hasattr(Operator, m)):
        if declared and method.removeprefix("process_") not in declared:
            known = ", ".join(map(repr, declared))
            raise QueryError(f"{caller()}: {kind.__name__} defines {method}(), but its inputs are {known}")


def joined(graph: Graph, table: Sequence[Path], stream: Sequence[Path], join: TableJoin, name: str | None) -> Node:
    """The rows of keyed paths, each with what a table has for its key."""
    if join.function is not None:
        check_function("join", join.function, called="a row and what the table has for its key", arguments=2)
    if join.how not in get_args(How):
        raise QueryError(f"{caller()}: join(how={join.how!r}): write 'inner' or 'left'")
    check_on_error("join", join.on_error)
    node = graph.add("keyed", join, verb="join", name=name, default="join", on_error=join.on_error)
    graph.connect(node, [*table, *stream], inputs=[TABLE] * len(table) + [STREAM] * len(stream))
    return node


def check_states(operator: Operator, *, event_time: bool) -> None:
    """Return if the operator can have the states and timers that its class names.

    Raises:
        QueryError: It takes columns, which belong to many keys at once; or it names event time, which its rows lack.
    """
    name, states = type(operator).__name__, declared_states(operator)
    if type(operator).process_columns is not Operator.process_columns:
        wrong = next(iter(states), "on_timer" if type(operator).on_timer is not Operator.on_timer else None)
        if wrong is not None:
            raise QueryError(
                f"{caller()}: {name}.{wrong} belongs to one key, and process_columns is given many; override process"
            )
    for state, declared in states.items():
        if declared.clock == "event" and not event_time:
            raise QueryError(f"{caller()}: {name}.{state} lives by event time, and the rows have none")


def timed(
    graph: Graph,
    paths: Sequence[Path],
    time: Callable[[Any], Any],
    slack: str | None,
    idle: str | None,
    unit: Unit,
    on_error: OnError,
) -> list[Path]:
    """The paths, their rows with event times."""
    check_function("event_time", time)
    if unit not in US_PER:
        raise QueryError(f"{caller()}: event_time(unit={unit!r}): write one of {', '.join(map(repr, US_PER))}")
    check_on_error("event_time", on_error)
    slack_ms = duration_ms("event_time", "slack", slack, "5s") if slack is not None else 0
    idle_ms = duration_ms("event_time", "idle", idle, "30s") if idle is not None else None
    if idle_ms == 0:
        raise QueryError(f"{caller()}: event_time(idle={idle!r}): nobody would be waited for; write idle='30s'")
    found = []
    for path in paths:
        producer, spec = graph.nodes[path.producer], path.event_time
        is_origin = producer.kind == "source"
        if is_origin:
            spec = EventTime(slack_ms, idle_ms)
        elif spec is None:
            raise QueryError(
                f"{caller()}: event_time() begins behind a source, and {producer} has rows without any; "
                "write .event_time(…) right behind the source"
            )
        elif slack is not None or idle is not None:
            raise QueryError(
                f"{caller()}: slack and idle belong to the event_time() behind the source; behind {producer} "
                "event time goes on as it was"
            )
        reading = Timestamps(time, unit, is_origin)
        step = Step("event_time", f"event_time({describe(time)})", reading, graph.next_id(), on_error)
        found.append(replace(path, steps=(*path.steps, step), event_time=spec, has_times=True))
    return found


def duration_ms(call: str, name: str, text: Any, example: str) -> int:
    """Milliseconds of a duration that the user gave as an argument.

    Raises:
        QueryError: It is none.
    """
    try:
        return parse_duration_ms(text)
    except UnitError as error:
        raise QueryError(f"{caller()}: {call}({name}={text!r}): {error}; write {name}={example!r}") from None
