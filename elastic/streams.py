"""Streams with and without keys, and what users write on them; each mistake is refused at the line that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from elastic import nodes
from elastic.callables import caller, check_function, check_shippable, describe, did_you_mean, shortened
from elastic.connectors.base import Sink
from elastic.errors import QueryError
from elastic.functions import identity
from elastic.graph import Graph, Node, Path, check_on_error
from elastic.operators.aggregates import Kind
from elastic.operators.base import Operator
from elastic.operators.join import How, TableJoin
from elastic.operators.timestamps import Unit
from elastic.operators.window_results import How as WindowHow
from elastic.operators.window_results import WindowFunction
from elastic.plan import ERRORS, Combine, Folding, OnError, Step, StepKind
from elastic.windowed_streams import Windowed, check_window_function
from elastic.windows import WindowSpec


class _Named(NamedTuple):
    """A named output: how its rows come, what it is called, and who waits in the graph for it to be read."""

    paths: tuple[Path, ...]
    origin: str
    waits: int | None = None


def named_outputs(graph: Graph, node: Node) -> dict[str, _Named]:
    """The named outputs of an operator."""
    names: Sequence[str] = getattr(node.logic, "outputs", ())
    return {name: _Named((graph.path(node, name),), f"output {name!r} of {node}") for name in names}


class _Streams:
    """What streams with and without keys have in common: the paths that their rows take.

    Args:
        graph: Of the query.
        paths: The ways by which rows come here.
        origin: What the stream is called in errors.
        outputs: What else comes from where this stream does, by name; None where nothing can.
    """

    def __init__(
        self, graph: Graph, paths: Sequence[Path], origin: str, outputs: Mapping[str, _Named] | None = None
    ) -> None:
        self._graph, self._paths, self._origin, self._outputs = graph, tuple(paths), origin, outputs
        self._id = graph.next_id()
        graph.opened(self._id, origin)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._origin}>"

    def output(self, name: str) -> Stream:
        """A named output of the operator or step that gives this stream.

        Those that an operator's class declares; and ``errors``, where ``on_error="divert"`` is asked for. The main
        output need not be read then.

        Raises:
            QueryError: There is no such output.
        """
        if self._outputs is None:
            raise QueryError(
                f"{caller()}: output() follows an operator, as in .apply(…).output({name!r}), or what is written with "
                f"on_error='divert'; this stream is {self._origin}"
            )
        if (found := self._outputs.get(name)) is None:
            known = ", ".join(map(repr, self._outputs))
            hint = f"it has {known}" if known else f"an operator's class declares them: outputs = ({name!r},)"
            raise QueryError(f"{caller()}: {self._origin} has no output {shortened(name)}; {hint}")
        self._read()
        if found.waits is not None:
            self._graph.read(found.waits)
        return Stream(self._graph, found.paths, found.origin)

    def _applied(self, node: Node) -> Stream:
        """What an operator emits that may divert records."""
        outputs = named_outputs(self._graph, node)
        if node.on_error == "divert":
            outputs |= self._diverted(str(node), [Path(node.name, output=ERRORS)])
        return Stream(self._graph, [self._graph.path(node)], str(node), outputs)

    def _diverted(self, where: str, paths: Sequence[Path]) -> dict[str, _Named]:
        """The output that records are diverted to, which must be read."""
        origin, waits = f"output {ERRORS!r} of {where}, which diverts", self._graph.next_id()
        self._graph.opened(waits, origin)
        return {ERRORS: _Named(tuple(paths), origin, waits)}

    def _stepped(self, paths: Sequence[Path], step: Step) -> list[Path]:
        """The paths with one more step.

        An identity per path, not per step: on two paths the same step has different rows before it.
        """
        return [replace(p, steps=(*p.steps, replace(step, identity=self._graph.next_id()))) for p in paths]

    def _outputs_of(self, step: Step, paths: Sequence[Path], where: str) -> dict[str, _Named] | None:
        """The outputs of a step, given the paths that end with it."""
        if step.on_error != "divert":
            return None
        failed = Step("failed", f"errors of {step.name}", identity(), 0)
        plain = [Path(p.producer, p.steps, output=p.output) for p in paths]
        return self._diverted(where, self._stepped(plain, failed))

    def _read(self) -> tuple[Path, ...]:
        """The paths, for something that goes on from here."""
        self._graph.read(self._id)
        return self._paths

    def _of(self, node: Node) -> Stream:
        """What the operator emits on its main output."""
        return Stream(
            self._graph,
            [self._graph.path(node)],
            str(node),
            named_outputs(self._graph, node),
        )

    @staticmethod
    def _checked(verb: str, kind: StepKind, function: Callable[[Any], Any], on_error: OnError = "fail") -> Step:
        """A step that the user calls ``verb``, if the function can serve in it."""
        check_function(verb, function, one_row=not kind.startswith("flat_map"))
        check_on_error(verb, on_error)
        return Step(kind, f"{verb}({describe(function)})", function, 0, on_error)

    def _of_one_query(self, verb: str, others: Sequence[_Streams]) -> None:
        """Return if the others are of this stream's kind and query."""
        kind = type(self).__name__
        for other in others:
            broadcast = verb == "union" and isinstance(self, KeyedStream) and isinstance(other, BroadcastStream)
            if type(other) is not type(self) and not broadcast:
                raise QueryError(f"{caller()}: {verb}() of a {kind} takes others of its kind, not {shortened(other)}")
            if other._graph is not self._graph:
                names = f"{self._graph.query!r} and {other._graph.query!r}"
                raise QueryError(f"{caller()}: {verb}() of streams of two queries, {names}; build both from one query")

    def _united(self, others: Sequence[_Streams]) -> tuple[list[Path], str]:
        """The paths of this stream and of the others, and what they are called together."""
        self._of_one_query("union", others)
        return [path for stream in (self, *others) for path in stream._read()], f"union ({caller()})"


class Stream(_Streams):
    """Rows without keys. Every method gives a new stream, and one stream may be read several times."""

    def map(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> Stream:
        """One row per row: what the function returns."""
        return self._step("map", function, on_error)

    def filter(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> Stream:
        """The rows for which the function returns something true."""
        return self._step("filter", function, on_error)

    def flat_map(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> Stream:
        """Any number of rows per row: all that the function returns or yields, in order."""
        return self._step("flat_map", function, on_error)

    def map_values(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> Stream:
        """Of ``(key, value)`` rows, such as aggregates give: the same keys, each with what the function returns."""
        return self._step("map_values", function, on_error)

    def flat_map_values(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> Stream:
        """Of ``(key, value)`` rows: the key with each value that the function returns or yields, in order."""
        return self._step("flat_map_values", function, on_error)

    def union(self, *others: Stream) -> Stream:
        """The rows of all the streams."""
        return Stream(self._graph, *self._united(others))

    def rebalance(self, *, name: str | None = None) -> Stream:
        """The same rows, spread evenly over one instance per worker, on which the steps after it run.

        For steps that are costly, behind a source with few partitions or a key that some instances have most rows of.
        """
        return self._of(nodes.rebalanced(self._graph, self._read(), name))

    def broadcast(self) -> BroadcastStream:
        """The rows for every instance of an operator: ``keyed.union(stream.broadcast()).apply(operator)``.

        The operator's ``process_broadcast`` is called with them; what it keeps, all keys can read.
        """
        paths = [replace(path, route="broadcast") for path in self._read()]
        return BroadcastStream(self._graph, paths, f"broadcast ({caller()})")

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

    def event_time(
        self,
        time: Callable[[Any], Any],
        *,
        slack: str | None = None,
        idle: str | None = None,
        unit: Unit = "s",
        on_error: OnError = "fail",
    ) -> Stream:
        """The same rows, each with the time at which it happened, which ``time`` reads from it.

        Behind a source, the rows also say how far event time has come; behind an operator it goes on as it was.

        Args:
            time: From a row to a number, a datetime, or ISO 8601 text; without a zone it is taken for UTC.
            slack: So much earlier than the latest row of its source partition a row may come without being late.
            idle: A source partition without rows for so long is not waited for; without it, every one is.
            unit: What numbers count since 1970: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``.
            on_error: What becomes of a row whose time cannot be read.

        Raises:
            QueryError: No function, no duration, or an operator's rows that have no event time to go on with.
        """
        paths = nodes.timed(self._graph, self._read(), time, slack, idle, unit, on_error)
        where = f"event_time({describe(time)}) ({caller()})"
        return Stream(self._graph, paths, where, self._outputs_of(paths[0].steps[-1], paths, where))

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

    def key_by(self, function: Callable[[Any], Any] | None = None, *, on_error: OnError = "fail") -> KeyedStream:
        """The same rows, each with the key that the function gives for it; without a function, the row is its own key.

        Keys are None, bool, int, float, str, bytes and tuples of them; keys that Python calls equal are one key.
        """
        name = "key_by"
        if function is not None:
            check_function("key_by", function)
            name = f"key_by({describe(function)})"
        check_on_error("key_by", on_error)
        where = f"{name} ({caller()})"
        if on_error == "fail":
            keyed = [replace(p, keyed=True, key=function, key_name=name, has_keys=False) for p in self._read()]
            return KeyedStream(self._graph, keyed, where)
        step = Step("key", name, function or identity(), 0, on_error)
        paths = self._stepped(self._read(), step)
        keyed = [replace(p, keyed=True, key=None, key_name=name, has_keys=True) for p in paths]
        return KeyedStream(self._graph, keyed, where, self._outputs_of(step, paths, where))

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

    def _step(self, kind: StepKind, function: Callable[[Any], Any], on_error: OnError) -> Stream:
        step = self._checked(kind, kind, function, on_error)
        paths, where = self._stepped(self._read(), step), f"{step.name} ({caller()})"
        return Stream(self._graph, paths, where, self._outputs_of(step, paths, where))

    if not TYPE_CHECKING:  # a type checker is to know only what there is

        def __getattr__(self, name: str) -> NoReturn:
            if name in ("count", "sum", "mean", "min", "max", "reduce", "aggregate", "apply", "window"):
                raise QueryError(
                    f"{caller()}: {name}() works per key, and this stream has none; "
                    f"write .key_by().{name}(…), or .key_by(function).{name}(…)"
                )
            raise AttributeError(f"a Stream has no {name}{did_you_mean(name, dir(self))}")


class BroadcastStream(_Streams):
    """Rows that go to every instance of the operator that they are united with a keyed stream for."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"a BroadcastStream has no {name!r}", name=name, obj=self)
            raise QueryError(
                f"{caller()}: {name}() does not follow broadcast(), which ends a stream; write .{name}(…) before it, "
                "and then keyed.union(stream.broadcast()).apply(operator)"
            )


class KeyedStream(_Streams):
    """Rows with keys: to be aggregated, or given to an operator of your own.

    Aggregates give ``(key, value)`` tuples: for each key that changed, one per period of ``emit`` (such as ``"1s"``),
    per tick (``"tick"``) or at the end of the input only (``"end"``); and at the end what has changed since.
    """

    def map_values(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> KeyedStream:
        """One row per row, with the same key: what the function returns."""
        return self._value_step("map_values", "map", function, on_error)

    def filter(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> KeyedStream:
        """The rows for which the function returns something true, with their keys."""
        return self._value_step("filter", "filter", function, on_error)

    def flat_map_values(self, function: Callable[[Any], Any], *, on_error: OnError = "fail") -> KeyedStream:
        """Any number of rows per row, with the same key: all that the function returns or yields, in order."""
        return self._value_step("flat_map_values", "flat_map", function, on_error)

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
        return self._aggregate("aggregate", nodes.folding(init, add, merge, result), None, emit, name)

    def window(
        self,
        windows: WindowSpec,
        *,
        lateness: str = "0s",
        time: Literal["event", "processing"] | None = None,
    ) -> WindowedStream:
        """The rows cut into windows of time, each key's for itself: one of ``elastic.windows``.

        Args:
            windows: Which windows.
            lateness: How long after its end a window still takes rows; what they change is emitted again.
            time: Whose time: the rows' if they have event time, else that of the ticks; or what is said here.

        Raises:
            QueryError: No windows, no duration, or event time where the rows have none.
        """
        windowed = Windowed(self._graph, self._paths, windows, lateness, time)
        return WindowedStream(self._graph, self._read_for("window"), f"window({windows}) ({caller()})", windowed)

    def distinct(
        self, value: Callable[[Any], Any] | None = None, *, ttl: str | None = None, name: str | None = None
    ) -> Stream:
        """``(key, value)`` for each different value of a key, when it first comes; the row itself without ``value``.

        Every different one is remembered, for as long as ``ttl`` (such as ``"1h"``) says, or for ever without it.
        """
        if value is not None:
            check_function("distinct", value)
        paths = self._read_for("distinct")
        return self._of(nodes.distinct(self._graph, paths, combine="pairs", ttl=ttl, name=name, value=value))

    def top_k(
        self, k: int, by: Callable[[Any], Any] | None = None, *, emit: str = "1s", name: str | None = None
    ) -> Stream:
        """The ``k`` keys whose latest row ranks highest, by ``by(row)``; without it, by the row itself.

        Gives ``(place, key, row)``, places from 1, for each place that has another row than at the last emission.
        """
        return self._of(nodes.top(self._graph, self._read_for("top_k"), k, by, pairs=False, emit=emit, name=name))

    def apply(self, operator: Operator, *, on_error: OnError = "fail", name: str | None = None) -> Stream:
        """What an operator of your own yields; it is named after its class.

        Of a record on which it raises nothing is left, in the state or on any output, unless ``on_error`` is ``fail``.

        Raises:
            QueryError: Not an instance of a class derived from ``Operator``, or one that processes nothing.
        """
        return self._applied(nodes.applied(self._graph, [self._read()], operator, on_error, name))

    def connect(self, *others: KeyedStream) -> ConnectedStreams:
        """This stream and others as the inputs 0, 1 … of one operator: ``a.connect(b).apply(…)``.

        Rows with the same key meet, whatever they come on. Within a tick, those of the first input come first.
        """
        self._of_one_query("connect", others)
        if not others:
            raise QueryError(f"{caller()}: connect() takes the other streams, as in orders.connect(customers)")
        return ConnectedStreams(self._graph, (self, *others))

    def join(
        self,
        table: KeyedStream,
        function: Callable[[Any, Any], Any] | None = None,
        *,
        how: How = "inner",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Every row with the newest row of the same key in another stream: ``(key, function(row, newest))``.

        Without a function ``(key, (row, newest))``. The other stream is a table: of each key its newest row counts, and
        None deletes it. Rows that the table has nothing for are left out by ``inner``, and get None with ``left``.
        Rows of the table go first within a tick; earlier rows are not joined again when the table changes.

        Raises:
            QueryError: Not a keyed stream of the same query, or the function cannot serve.
        """
        self._of_one_query("join", (table,))
        join = TableJoin(function, how, on_error)
        return self._applied(nodes.joined(self._graph, table._read_for("join"), self._read_for("join"), join, name))

    def union(self, *others: KeyedStream | BroadcastStream) -> KeyedStream:
        """The rows of all the streams, each with its own key: the inputs 0, 1 … that ``ctx.input`` tells.

        Rows of a broadcast stream go to every instance of the operator that ``apply`` is given.
        """
        return KeyedStream(self._graph, *self._united(others))

    def _read_for(self, verb: str) -> tuple[Path, ...]:
        """The paths, for a verb that has no use for rows of a broadcast stream."""
        if any(path.route == "broadcast" for path in self._paths):
            raise QueryError(
                f"{caller()}: {verb}() has no use for the rows of broadcast(); only apply() hands them on, to "
                f"process_broadcast: write .{verb}(…) before the union, or an operator of your own"
            )
        return self._read()

    def _value_step(self, verb: str, kind: StepKind, function: Callable[[Any], Any], on_error: OnError) -> KeyedStream:
        step = self._checked(verb, kind, function, on_error)
        paths = self._stepped([self._with_keys(p) for p in self._read_for(verb)], step)
        where = f"{step.name} ({caller()})"
        return KeyedStream(self._graph, paths, where, self._outputs_of(step, paths, where))

    def _with_keys(self, path: Path) -> Path:
        """The same path, with the step that gives its rows their keys; so the steps after it can keep them."""
        if path.has_keys:
            return path
        key = Step("key", path.key_name, path.key or identity(), self._graph.next_id())
        return replace(path, steps=(*path.steps, key), key=None, has_keys=True)

    def _aggregate(
        self,
        verb: Kind,
        function: Callable[[Any, Any], Any] | Folding | None,
        value: Callable[[Any], Any] | None,
        emit: str,
        name: str | None,
    ) -> Stream:
        return self._of(nodes.aggregated(self._graph, self._read_for(verb), verb, function, value, emit, name))

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
            if name == "branch":
                raise QueryError(f"{caller()}: branch() gives streams without keys; write it before key_by()")
            if name == "rebalance":
                raise QueryError(f"{caller()}: rebalance() spreads rows whatever their keys; write it before key_by()")
            if name == "key_by":
                raise QueryError(f"{caller()}: the stream has a key already, from {self._origin}")
            raise AttributeError(f"a KeyedStream has no {name}{did_you_mean(name, dir(self))}")


class ConnectedStreams:
    """Several keyed streams, as the inputs of one operator."""

    def __init__(self, graph: Graph, streams: Sequence[KeyedStream]) -> None:
        self._graph, self._streams = graph, tuple(streams)

    def __repr__(self) -> str:
        return f"<ConnectedStreams: {', '.join(map(repr, self._streams))}>"

    def apply(self, operator: Operator, *, on_error: OnError = "fail", name: str | None = None) -> Stream:
        """What an operator of your own yields, whose class names as many ``inputs``; see ``KeyedStream.apply``.

        Raises:
            QueryError: The operator has other inputs, or is none.
        """
        paths = [stream._read() for stream in self._streams]
        return self._streams[0]._applied(nodes.applied(self._graph, paths, operator, on_error, name))


class WindowedStream(_Streams):
    """The rows of a keyed stream in windows, to be aggregated in each of them.

    Results are dicts with the fields ``key``, ``start``, ``end`` (Unix time, seconds) and ``value``, emitted when the
    window ends. Rows that came too late are on the output ``late``.
    """

    def __init__(self, graph: Graph, paths: Sequence[Path], origin: str, windowed: Windowed) -> None:
        super().__init__(graph, paths, origin)
        self._windowed = windowed

    def count(self, *, name: str | None = None) -> Stream:
        """Number of rows per key and window."""
        return self._made("count", None, None, name)

    def sum(self, value: Callable[[Any], Any] | None = None, *, name: str | None = None) -> Stream:
        """Sum per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("sum", None, value, name)

    def mean(self, value: Callable[[Any], Any] | None = None, *, name: str | None = None) -> Stream:
        """Mean per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("mean", None, value, name)

    def min(self, value: Callable[[Any], Any] | None = None, *, name: str | None = None) -> Stream:
        """Smallest per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("min", None, value, name)

    def max(self, value: Callable[[Any], Any] | None = None, *, name: str | None = None) -> Stream:
        """Largest per key and window of what ``value`` gives for each row; without it, of the rows."""
        return self._made("max", None, value, name)

    def reduce(
        self,
        function: Callable[[Any, Any], Any],
        value: Callable[[Any], Any] | None = None,
        *,
        name: str | None = None,
    ) -> Stream:
        """Per key and window ``function(so far, next)`` over what ``value`` gives for each row; without it, the rows.

        In sliding and session windows it is also given what it has made of two parts of a window.
        """
        check_function("reduce", function, called="two values", arguments=2)
        return self._made("reduce", function, value, name)

    def aggregate(
        self,
        init: Callable[[], Any],
        add: Callable[[Any, Any], Any],
        *,
        merge: Callable[[Any, Any], Any] | None = None,
        result: Callable[[Any], Any] | None = None,
        name: str | None = None,
    ) -> Stream:
        """Per key and window ``add(accumulator, row)``, from ``init()`` on; emitted is ``result(accumulator)``.

        Sliding and session windows need ``merge(accumulator, accumulator)``, which is given parts in order of time.
        """
        return self._made("aggregate", nodes.folding(init, add, merge, result), None, name)

    def apply(self, function: WindowFunction, *, name: str | None = None) -> Stream:
        """The rows that ``function(key, values, window)`` returns or yields for each key and window.

        ``values`` are the rows in the order in which they came; ``window.start`` and ``window.end`` are Unix times.
        """
        return self._made("gather", check_window_function(function), None, name, default="apply")

    def join(
        self,
        other: KeyedStream,
        function: Callable[[Any, Any], Any] | None = None,
        *,
        how: WindowHow = "inner",
        name: str | None = None,
    ) -> Stream:
        """Every pair of a row of this stream and one of the other, of the same key and window.

        The value is ``function(row, other row)``, or the tuple of both. With ``how`` ``"left"``, ``"right"`` or
        ``"outer"``, a row of that side (or of both) that has no partner is paired with None.
        """
        if not isinstance(other, KeyedStream):
            raise QueryError(
                f"{caller()}: join() takes a KeyedStream, such as stream.key_by(…), not {shortened(other)}"
            )
        if other._graph is not self._graph:
            raise QueryError(f"{caller()}: join() of streams of two queries; build both from one query")
        self._read()
        return self._of(self._windowed.joined(other._read(), function, how, name))

    def _made(
        self,
        kind: Kind | Literal["gather"],
        function: Callable[..., Any] | Folding | None,
        value: Callable[[Any], Any] | None,
        name: str | None,
        *,
        default: str | None = None,
    ) -> Stream:
        self._read()
        return self._of(self._windowed.node(kind, function, value, name, default=default or kind))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(f"a WindowedStream has no {name!r}", name=name, obj=self)
            if hasattr(Stream, name):
                raise QueryError(
                    f"{caller()}: {name}() does not follow window(); say first what is to be made of each window, "
                    f"as in .window(…).count().{name}(…)"
                )
            raise AttributeError(f"a WindowedStream has no {name}{did_you_mean(name, dir(self))}")
