"""Streams without keys: steps, and what begins or ends them; each mistake is refused at the line that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from elastic import nodes
from elastic.arguments import check_on_error
from elastic.callables import caller, check_function, check_shippable, describe, did_you_mean, shortened
from elastic.connectors.base import Sink
from elastic.errors import QueryError
from elastic.functions import identity
from elastic.operators.lookup import How
from elastic.operators.timestamps import Unit
from elastic.plan import Combine, OnError, Step, StepKind
from elastic.streams.base import BaseStream
from elastic.streams.broadcast import BroadcastStream
from elastic.streams.sunk import Sunk
from elastic.surface import surface

if TYPE_CHECKING:
    from elastic.streams.keyed import KeyedStream


@surface
class Stream(BaseStream):
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

    def lookup(
        self,
        table: Mapping[Any, Any],
        key: Callable[[Any], Any],
        function: Callable[[Any, Any], Any] | None = None,
        *,
        how: How = "inner",
        on_error: OnError = "fail",
    ) -> Stream:
        """Every row with what a dict has for its key: ``function(row, found)``, or ``(row, found)`` without it.

        The table is shipped with the query and stays what it is; ``sources.table`` reads one from a file. Rows that it
        has nothing for are left out by ``inner``, and get None with ``left``.
        """
        return self._made(self._lookup_step(table, key, function, how, on_error))

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

    def branch(self, *, on_error: OnError = "fail", **predicates: Callable[[Any], Any] | None) -> dict[str, Stream]:
        """Streams by name; each row goes to the first whose function returns something true for it.

        A stream that is given None takes what is left, and comes last. Without one, what is left is dropped. With
        ``on_error`` other than ``fail``, a row on which a function raises goes to none of them; each branch has those
        of its own function on its output ``errors``.

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
            step = self._checked(f"branch({name})", "split", function, on_error)
            taken = self._stepped(left, step)
            branches[name] = Stream(self._graph, taken, origin, self._outputs_of(step, taken, origin))
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
        self,
        by: Callable[[Any], Any] | None = None,
        *,
        ttl: str | None = None,
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """The first of all equal rows, when it comes; with ``by``, of all rows for which it gives the same.

        Every different one is remembered, for as long as ``ttl`` (such as ``"1h"``) says, or for ever without it.
        """
        if by is not None:
            check_function("distinct", by)
        check_on_error("distinct", on_error)
        combine: Combine = "keys" if by is None else "first"
        if on_error == "fail":
            paths = [replace(p, keyed=True, key=by, key_name="distinct") for p in self._read()]
            return self._of(nodes.distinct(self._graph, paths, combine=combine, ttl=ttl, name=name))
        made = self._made(Step("key", nodes.called("distinct", by), by or identity(), 0, on_error))
        paths = [replace(p, keyed=True, key=None, key_name="distinct", has_keys=True) for p in made._read()]
        return self._of(nodes.distinct(self._graph, paths, combine=combine, ttl=ttl, name=name), made._outputs)

    def top_k(
        self,
        k: int,
        by: Callable[[Any], Any] | None = None,
        *,
        emit: str = "1s",
        on_error: OnError = "fail",
        name: str | None = None,
    ) -> Stream:
        """Of ``(key, value)`` rows, the ``k`` keys whose latest row ranks highest: by its value, or by ``by(row)``.

        Gives ``(place, key, value)``, places from 1, for each place that has another row than at the last emission.
        """
        check_on_error("top_k", on_error)
        if on_error == "fail":
            return self._of(nodes.top(self._graph, self._read(), k, by, pairs=True, emit=emit, name=name))
        made = self._made(Step("map", nodes.called("top_k", by), nodes.ranked(by, pairs=True), 0, on_error))
        return self._of(nodes.top(self._graph, made._read(), k, by, pairs=True, emit=emit, name=name), made._outputs)

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
            return self.with_keys(self._graph, keyed, where)
        step = Step("key", name, function or identity(), 0, on_error)
        paths = self._stepped(self._read(), step)
        keyed = [replace(p, keyed=True, key=None, key_name=name, has_keys=True) for p in paths]
        return self.with_keys(self._graph, keyed, where, self._outputs_of(step, paths, where))

    def sink(self, sink: Sink, *, on_error: OnError = "fail", name: str | None = None) -> Sunk:
        """Every row goes to the sink; those that one key emitted, in order.

        Rows that the sink cannot hold end the job, or are left out; with ``on_error="divert"`` they are on the output
        ``errors`` of what is returned.

        Raises:
            QueryError: Not a sink, or the name is taken; or it cannot tell which rows it can hold.
        """
        if not isinstance(sink, Sink):
            raise QueryError(
                f"{caller()}: sink() takes one of elastic.sinks, such as sinks.stdout(), not {shortened(sink)}"
            )
        check_shippable(f"sink {sink.name!r}", sink)
        check_on_error("sink", on_error)
        if on_error != "fail" and not sink.checks:
            raise QueryError(
                f"{caller()}: sink(on_error={on_error!r}): the sink {sink.name!r} does not say which rows it can hold; "
                "leave on_error out, and do what may fail in a step before"
            )
        node = self._graph.add("sink", sink, verb="sink", name=name, default=sink.name)
        if on_error == "fail":
            self._graph.connect(node, self._read())
            return Sunk(self._graph, str(node))
        step = Step("map", node.name, nodes.checked_by(sink), 0, on_error)
        paths = self._stepped(self._read(), step)
        self._graph.connect(node, paths)
        return Sunk(self._graph, str(node), self._outputs_of(step, paths, str(node)))

    def _step(self, kind: StepKind, function: Callable[[Any], Any], on_error: OnError) -> Stream:
        return self._made(self._checked(kind, kind, function, on_error))

    def _made(self, step: Step) -> Stream:
        """The rows after a step."""
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


BaseStream.without_keys = Stream
