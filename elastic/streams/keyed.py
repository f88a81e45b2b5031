"""Streams with keys: aggregates, joins, and operators of the user's own; each mistake is refused at its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from elastic import nodes
from elastic.arguments import check_on_error
from elastic.callables import caller, check_function, did_you_mean
from elastic.errors import QueryError
from elastic.functions import identity
from elastic.graph import Path
from elastic.operators.aggregates import Kind
from elastic.operators.base import Operator
from elastic.operators.join import How, TableJoin
from elastic.plan import Folding, OnError, Step, StepKind
from elastic.streams.base import BaseStream
from elastic.streams.broadcast import BroadcastStream
from elastic.streams.connected import ConnectedStreams
from elastic.streams.windowed import WindowedStream
from elastic.surface import surface
from elastic.windows import WindowSpec

if TYPE_CHECKING:
    from elastic.streams.plain import Stream

_LOSES = "{0}() would lose the key; write .{0}_values(…), which keeps it, or .{0}(…) before key_by()"

MISPLACED = {
    "lookup": "lookup() gives rows without keys; write it before key_by()",
    "map": _LOSES.format("map"),
    "flat_map": _LOSES.format("flat_map"),
    "sink": (
        "sink() takes rows without keys; write it before key_by(), or after an aggregate, "
        "as in .key_by(…).count().sink(…)"
    ),
    "branch": "branch() gives streams without keys; write it before key_by()",
    "rebalance": "rebalance() spreads rows whatever their keys; write it before key_by()",
    "key_by": "the stream has a key already, from {origin}",
}
"""What a stream without keys has and this one has not, and what to write."""


@surface
class KeyedStream(BaseStream):
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

    def sum(
        self,
        value: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Sum per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("sum", None, value, emit, name, on_error)

    def min(
        self,
        value: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Smallest per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("min", None, value, emit, name, on_error)

    def max(
        self,
        value: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Largest per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("max", None, value, emit, name, on_error)

    def mean(
        self,
        value: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Mean per key of what ``value`` gives for each row; without it, of the rows."""
        return self._aggregate("mean", None, value, emit, name, on_error)

    def reduce(
        self,
        function: Callable[[Any, Any], Any],
        value: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Per key ``function(so far, next)`` over what ``value`` gives for each row; without it, over the rows."""
        check_function("reduce", function, called="two values", arguments=2)
        return self._aggregate("reduce", function, value, emit, name, on_error)

    def aggregate(
        self,
        init: Callable[[], Any],
        add: Callable[[Any, Any], Any],
        *,
        merge: Callable[[Any, Any], Any] | None = None,
        result: Callable[[Any], Any] | None = None,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Per key ``add(accumulator, row)`` over its rows, from ``init()`` on; emitted is ``result(accumulator)``.

        With ``merge(accumulator, accumulator)``, rows are added up before they cross to another worker. So give it only
        if the accumulator is the same in whatever order and groups rows are added: not for sums of floats, say.
        With ``on_error`` other than ``fail`` they cross as they are, so that one on which a function fails can be told.
        """
        return self._aggregate("aggregate", nodes.folding(init, add, merge, result), None, emit, name, on_error)

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
        windowed = nodes.Windowed(self._graph, self._paths, windows, lateness, time)
        return WindowedStream(self._graph, self._read_for("window"), f"window({windows}) ({caller()})", windowed)

    def distinct(
        self,
        value: Callable[[Any], Any] | None = None,
        *,
        ttl: str | None = None,
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """``(key, value)`` for each different value of a key, when it first comes; the row itself without ``value``.

        Every different one is remembered, for as long as ``ttl`` (such as ``"1h"``) says, or for ever without it.
        """
        if value is not None:
            check_function("distinct", value)
        check_on_error("distinct", on_error)
        if on_error != "fail":
            step = Step("map", nodes.called("distinct", value), nodes.keyable(value), 0, on_error)
            made = self._value_stepped("distinct", step)
            node = nodes.distinct(self._graph, made._read(), combine="pairs", ttl=ttl, name=name)
            return self._of(node, made._outputs)
        paths = self._read_for("distinct")
        return self._of(nodes.distinct(self._graph, paths, combine="pairs", ttl=ttl, name=name, value=value))

    def top_k(
        self,
        k: int,
        by: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """The ``k`` keys whose latest row ranks highest, by ``by(row)``; without it, by the row itself.

        Gives ``(place, key, row)``, places from 1, for each place that has another row than at the last emission.
        """
        check_on_error("top_k", on_error)
        if on_error == "fail":
            return self._of(nodes.top(self._graph, self._read_for("top_k"), k, by, pairs=False, emit=emit, name=name))
        step = Step("map", nodes.called("top_k", by), nodes.ranked(by, pairs=False), 0, on_error)
        made = self._value_stepped("top_k", step)
        node = nodes.top(self._graph, made._read(), k, by, pairs=False, emit=emit, name=name)
        return self._of(node, made._outputs)

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
        self._check_kin("connect", others)
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
        self._check_kin("join", (table,))
        join = TableJoin(function, how, on_error)
        return self._applied(nodes.joined(self._graph, table._read_for("join"), self._read_for("join"), join, name))

    def union(self, *others: KeyedStream | BroadcastStream) -> KeyedStream:
        """The rows of all the streams, each with its own key: the inputs 0, 1 … that ``ctx.input`` tells.

        Rows of a broadcast stream go to every instance of the operator that ``apply`` is given.
        """
        return KeyedStream(self._graph, *self._united(others, KeyedStream, BroadcastStream))

    def _read_for(self, verb: str) -> tuple[Path, ...]:
        """The paths, for a verb that has no use for rows of a broadcast stream."""
        if any(path.route == "broadcast" for path in self._paths):
            raise QueryError(
                f"{caller()}: {verb}() has no use for the rows of broadcast(); only apply() hands them on, to "
                f"process_broadcast: write .{verb}(…) before the union, or an operator of your own"
            )
        return self._read()

    def _value_step(self, verb: str, kind: StepKind, function: Callable[[Any], Any], on_error: OnError) -> KeyedStream:
        return self._value_stepped(verb, self._checked(verb, kind, function, on_error))

    def _value_stepped(self, verb: str, step: Step) -> KeyedStream:
        """The rows after a step that keeps their keys."""
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
        on_error: OnError = "fail",
    ) -> Stream:
        paths = self._read_for(verb)
        return self._applied(nodes.aggregated(self._graph, paths, verb, function, value, emit, name, on_error))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name in MISPLACED:
                raise QueryError(f"{caller()}: {MISPLACED[name].format(origin=self._origin)}")
            raise AttributeError(f"a KeyedStream has no {name}{did_you_mean(name, dir(self))}")


BaseStream.with_keys = KeyedStream
