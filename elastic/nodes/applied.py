"""Operators that are given whole inputs, one or several: a user's own, and the join with a table."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import count
from typing import get_args

from elastic.arguments import check_names, check_on_error, check_outputs
from elastic.callables import caller, check_function, check_shippable
from elastic.errors import QueryError
from elastic.graph import Graph, Node, Path
from elastic.operators.base import Operator
from elastic.operators.bound_states import declared_states
from elastic.operators.join import STREAM, TABLE, How, TableJoin
from elastic.plan import OnError


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
