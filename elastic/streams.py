"""Streams with and without keys, and what users write on them; each mistake is refused at the line that makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from elastic import nodes
from elastic.callables import caller, check_function, check_shippable, describe, did_you_mean, shortened
from elastic.connectors.base import Sink
from elastic.errors import QueryError
from elastic.functions import identity
from elastic.graph import Graph, Node, Path, check_outputs
from elastic.operators.aggregates import Kind
from elastic.operators.base import Operator
from elastic.plan import MAIN, Combine, Folding, Step, StepKind


class _Streams:
    """What streams with and without keys have in common: the paths that their rows take.

    Args:
        graph: Of the query.
        paths: The ways by which rows come here.
        origin: What the stream is called in errors.
        node: The operator whose main output this is; None of a stream that is further on.
    """

    def __init__(self, graph: Graph, paths: Sequence[Path], origin: str, node: Node | None = None) -> None:
        self._graph, self._paths, self._origin, self._node = graph, tuple(paths), origin, node
        self._id = graph.next_id()
        graph.opened(self._id, origin)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._origin}>"

    def _read(self) -> tuple[Path, ...]:
        """The paths, for something that goes on from here."""
        self._graph.read(self._id)
        return self._paths

    def _of(self, node: Node) -> Stream:
        """What the operator emits on its main output."""
        return Stream(self._graph, [Path(node.name)], str(node), node)

    def _checked(self, verb: str, kind: StepKind, function: Callable[[Any], Any]) -> Step:
        """A step that the user calls ``verb``, if the function can serve in it."""
        check_function(verb, function, one_row=not kind.startswith("flat_map"))
        return Step(kind, f"{verb}({describe(function)})", function, self._graph.next_id())

    def _united(self, others: Sequence[_Streams]) -> tuple[list[Path], str]:
        """The paths of this stream and of the others, and what they are called together."""
        kind = type(self).__name__
        for other in others:
            if type(other) is not type(self):
                raise QueryError(f"{caller()}: union() of a {kind} takes others of its kind, not {shortened(other)}")
            if other._graph is not self._graph:
                names = f"{self._graph.query!r} and {other._graph.query!r}"
                raise QueryError(f"{caller()}: union() of streams of two queries, {names}; build both from one query")
        return [path for stream in (self, *others) for path in stream._read()], f"union ({caller()})"


class Stream(_Streams):
    """Rows without keys. Every method gives a new stream, and one stream may be read several times."""

    def map(self, function: Callable[[Any], Any]) -> Stream:
        """One row per row: what the function returns."""
        return self._step("map", function)

    def filter(self, function: Callable[[Any], Any]) -> Stream:
        """The rows for which the function returns something true."""
        return self._step("filter", function)

    def flat_map(self, function: Callable[[Any], Any]) -> Stream:
        """Any number of rows per row: all that the function returns or yields, in order."""
        return self._step("flat_map", function)

    def map_values(self, function: Callable[[Any], Any]) -> Stream:
        """Of ``(key, value)`` rows, such as aggregates give: the same keys, each with what the function returns."""
        return self._step("map_values", function)

    def flat_map_values(self, function: Callable[[Any], Any]) -> Stream:
        """Of ``(key, value)`` rows: the key with each value that the function returns or yields, in order."""
        return self._step("flat_map_values", function)

    def union(self, *others: Stream) -> Stream:
        """The rows of all the streams."""
        return Stream(self._graph, *self._united(others))

    def rebalance(self, *, name: str | None = None) -> Stream:
        """The same rows, spread evenly over one instance per worker, on which the steps after it run.

        For steps that are costly, behind a source with few partitions or a key that some instances have most rows of.
        """
        return self._of(nodes.rebalanced(self._graph, self._read(), name))

    def branch(self, **predicates: Callable[[Any], Any] | None) -> dict[str, Stream]:
        """Streams by name; each row goes to the first whose function returns something true for it.

        A stream that is given None takes what is left, and comes last. Without one, what is left is dropped.

        Raises:
            QueryError: There is no predicate, one is no function, or a None comes before others.
        """
        if not predicates:
            raise QueryError(
                f"{caller()}: branch() takes predicates by name, such as branch(large=is_large, rest=None)"
            )
        *_, last = predicates
        branches: dict[str, Stream] = {}
        left = self._read()
        for name, function in predicates.items():
            origin = f"branch {name} ({caller()})"
            if function is None:
                if name != last:
                    raise QueryError(f"{caller()}: {name}=None takes all that is left, so it must come last")
                branches[name] = Stream(self._graph, left, origin)
                continue
            taken = self._stepped(left, self._checked(f"branch({name})", "split", function))
            branches[name] = Stream(self._graph, taken, origin)
            left = tuple(self._stepped(taken, Step("rest", f"after {name}", identity(), 0)))
        return branches

    def output(self, name: str) -> Stream:
        """A named output of the operator that gives this stream: one that its class declares.

        Nothing need read the main output then.

        Raises:
            QueryError: The stream does not come straight from an operator, or that has no such output.
        """
        node = self._node
        if node is None:
            raise QueryError(
                f"{caller()}: output() follows the operator itself, as in .apply(…).output({name!r}); "
                f"this stream is {self._origin}"
            )
        if name not in (MAIN, *node.outputs):
            known = ", ".join(map(repr, node.outputs))
            hint = f"it has {known}" if known else f"its class declares none; write outputs = ({name!r},) there"
            raise QueryError(f"{caller()}: operator {node} has no output {shortened(name)}; {hint}")
        self._read()
        return Stream(self._graph, [Path(node.name, output=name)], f"output {name!r} of {node}")

    def distinct(
        self, by: Callable[[Any], Any] | None = None, *, ttl: str | None = None, name: str | None = None
    ) -> Stream:
        """The first of all equal rows, when it comes; with ``by``, of all rows for which it gives the same.

        Every different one is remembered, for as long as ``ttl`` (such as ``"1h"``) says, or for ever without it.
        """
        if by is not None:
            check_function("distinct", by)
        paths = [replace(p, keyed=True, key=by, key_name="distinct") for p in self._read()]
        combine: Combine = "keys" if by is None else "first"
        return self._of(nodes.distinct(self._graph, paths, combine=combine, ttl=ttl, name=name))

    def top_k(
        self, k: int, by: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None
    ) -> Stream:
        """Of ``(key, value)`` rows, the ``k`` keys whose latest row ranks highest: by its value, or by ``by(row)``.

        Gives ``(place, key, value)``, places from 1, for each place that has another row than at the last emission.
        """
        return self._of(nodes.top(self._graph, self._read(), k, by, pairs=True, emit=emit, name=name))

    def key_by(self, function: Callable[[Any], Any] | None = None) -> KeyedStream:
        """The same rows, each with the key that the function gives for it; without a function, the row is its own key.

        Keys are None, bool, int, float, str, bytes and tuples of them; keys that Python calls equal are one key.
        """
        name = "key_by"
        if function is not None:
            check_function("key_by", function)
            name = f"key_by({describe(function)})"
        paths = [replace(path, keyed=True, key=function, key_name=name) for path in self._read()]
        return KeyedStream(self._graph, paths, f"{name} ({caller()})")

    def sink(self, sink: Sink, *, name: str | None = None) -> None:
        """Every row goes to the sink; those that one key emitted, in order.

        Raises:
            QueryError: Not a sink, or the name is taken.
        """
        if not isinstance(sink, Sink):
            raise QueryError(
                f"{caller()}: sink() takes one of elastic.sinks, such as sinks.stdout(), not {shortened(sink)}"
            )
        check_shippable(f"sink {sink.name!r}", sink)
        node = self._graph.add("sink", sink, verb="sink", name=name, default=sink.name)
        self._graph.connect(node, self._read())

    def _step(self, kind: StepKind, function: Callable[[Any], Any]) -> Stream:
        step = self._checked(kind, kind, function)
        return Stream(self._graph, self._stepped(self._read(), step), f"{step.name} ({caller()})")

    def _stepped(self, paths: Sequence[Path], step: Step) -> list[Path]:
        """The paths with one more step.

        An identity per path, not per step: on two paths the same step has different rows before it.
        """
        return [replace(p, steps=(*p.steps, replace(step, identity=self._graph.next_id()))) for p in paths]

    if not TYPE_CHECKING:  # a type checker is to know only what there is

        def __getattr__(self, name: str) -> NoReturn:
            if name in ("count", "sum", "mean", "min", "max", "reduce", "aggregate", "apply"):
                raise QueryError(
                    f"{caller()}: {name}() works per key, and this stream has none; "
                    f"write .key_by().{name}(…), or .key_by(function).{name}(…)"
                )
            raise AttributeError(f"a Stream has no {name}{did_you_mean(name, dir(self))}")


class KeyedStream(_Streams):
    """Rows with keys: to be aggregated, or given to an operator of your own.

    Aggregates give ``(key, value)`` tuples: for each key that changed, one per period of ``emit`` (such as ``"1s"``),
    per tick (``"tick"``) or at the end of the input only (``"end"``); and at the end what has changed since.
    """

    def map_values(self, function: Callable[[Any], Any]) -> KeyedStream:
        """One row per row, with the same key: what the function returns."""
        return self._value_step("map_values", "map", function)

    def filter(self, function: Callable[[Any], Any]) -> KeyedStream:
        """The rows for which the function returns something true, with their keys."""
        return self._value_step("filter", "filter", function)

    def flat_map_values(self, function: Callable[[Any], Any]) -> KeyedStream:
        """Any number of rows per row, with the same key: all that the function returns or yields, in order."""
        return self._value_step("flat_map_values", "flat_map", function)

    def count(self, *, emit: str = "1s", name: str | None = None) -> Stream:
        """Number of rows per key."""
        return self._aggregate("count", None, None, emit, name)

    def sum(self, value: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None) -> Stream:
        """Sum per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("sum", None, value, emit, name)

    def min(self, value: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None) -> Stream:
        """Smallest per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("min", None, value, emit, name)

    def max(self, value: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None) -> Stream:
        """Largest per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("max", None, value, emit, name)

    def mean(self, value: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None) -> Stream:
        """Mean per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("mean", None, value, emit, name)

    def reduce(
        self,
        function: Callable[[Any, Any], Any],
        value: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        name: str | None = None,
    ) -> Stream:
        """Per key ``function(so far, next)`` over what ``value`` gives for each row; without it, over the rows."""
        check_function("reduce", function, called="two values", arguments=2)
        return self._aggregate("reduce", function, value, emit, name)

    def aggregate(
        self,
        init: Callable[[], Any],
        add: Callable[[Any, Any], Any],
        *,
        merge: Callable[[Any, Any], Any] | None = None,
        result: Callable[[Any], Any] | None = None,
        emit: str = "1s",
        name: str | None = None,
    ) -> Stream:
        """Per key ``add(accumulator, row)`` over its rows, from ``init()`` on; emitted is ``result(accumulator)``.

        With ``merge(accumulator, accumulator)``, rows are added up before they cross to another worker. So give it only
        if the accumulator is the same in whatever order and groups rows are added: not for sums of floats, say.
        """
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
        return self._aggregate("aggregate", Folding(init, add, merge, result), None, emit, name)

    def distinct(
        self, value: Callable[[Any], Any] | None = None, *, ttl: str | None = None, name: str | None = None
    ) -> Stream:
        """``(key, value)`` for each different value of a key, when it first comes; the row itself without ``value``.

        Every different one is remembered, for as long as ``ttl`` (such as ``"1h"``) says, or for ever without it.
        """
        if value is not None:
            check_function("distinct", value)
        return self._of(nodes.distinct(self._graph, self._read(), combine="pairs", ttl=ttl, name=name, value=value))

    def top_k(
        self, k: int, by: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None
    ) -> Stream:
        """The ``k`` keys whose latest row ranks highest, by ``by(row)``; without it, by the row itself.

        Gives ``(place, key, row)``, places from 1, for each place that has another row than at the last emission.
        """
        return self._of(nodes.top(self._graph, self._read(), k, by, pairs=False, emit=emit, name=name))

    def apply(self, operator: Operator, *, name: str | None = None) -> Stream:
        """What an operator of your own yields; it is named after its class.

        Raises:
            QueryError: Not an instance of a class derived from ``Operator``, or one that processes nothing.
        """
        if isinstance(operator, type):
            raise QueryError(f"{caller()}: apply() takes an instance; write apply({operator.__name__}())")
        kind = type(operator)
        if not isinstance(operator, Operator):
            raise QueryError(f"{caller()}: apply() takes an Operator, but {kind.__name__} is not derived from it")
        if all(getattr(kind, m, None) is getattr(Operator, m, None) for m in ("process", "process_columns")):
            raise QueryError(f"{caller()}: {kind.__name__} defines neither process() nor process_columns()")
        check_shippable(f"operator {kind.__name__}", operator)
        check_outputs(kind.__name__, operator.outputs)
        nodes.check_states(operator)
        node = self._graph.add("keyed", operator, verb="apply", name=name, default=kind.__name__)
        self._graph.connect(node, self._read())
        return self._of(node)

    def union(self, *others: KeyedStream) -> KeyedStream:
        """The rows of all the streams, each with its own key: the inputs 0, 1 … that ``ctx.input`` tells."""
        return KeyedStream(self._graph, *self._united(others))

    def _value_step(self, verb: str, kind: StepKind, function: Callable[[Any], Any]) -> KeyedStream:
        step = self._checked(verb, kind, function)
        paths = [replace(path, value_steps=(*path.value_steps, step)) for path in self._read()]
        return KeyedStream(self._graph, paths, f"{step.name} ({caller()})")

    def _aggregate(
        self,
        verb: Kind,
        function: Callable[[Any, Any], Any] | Folding | None,
        value: Callable[[Any], Any] | None,
        emit: str,
        name: str | None,
    ) -> Stream:
        return self._of(nodes.aggregated(self._graph, self._read(), verb, function, value, emit, name))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name in ("map", "flat_map"):
                raise QueryError(
                    f"{caller()}: {name}() would lose the key; write .{name}_values(…), which keeps it, "
                    f"or .{name}(…) before key_by()"
                )
            if name == "sink":
                raise QueryError(
                    f"{caller()}: sink() takes rows without keys; write it before key_by(), or after an aggregate, "
                    "as in .key_by(…).count().sink(…)"
                )
            if name == "rebalance":
                raise QueryError(f"{caller()}: rebalance() spreads rows whatever their keys; write it before key_by()")
            if name == "key_by":
                raise QueryError(f"{caller()}: the stream has a key already, from {self._origin}")
            raise AttributeError(f"a KeyedStream has no {name}{did_you_mean(name, dir(self))}")
