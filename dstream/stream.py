"""What users write: streams of datasets, one for each interval, and what is made of them.

Every method gives a new stream, or ends one; a mistake is refused at the line that makes it. Streams of pairs are
streams whose rows are ``(key, value)`` tuples; methods that need pairs say so when a row is none.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from dstream.datasets import ROWS, SNAPSHOT, Bounded, Grouped, How, Joined, Merged, Union, by_key
from dstream.flow import Channel, Merging, Piece, as_pairs
from dstream.flow import Kind as PieceKind
from dstream.graph import ONE, Draft, StreamGraph
from dstream.plan import Input, Kind, Reach
from dstream.state import Running, Sliding, Tracking, Updating
from elastic.callables import add_query_room, caller, check_function, check_shippable, describe, shortened
from elastic.connectors import sinks
from elastic.connectors.base import Sink, Source
from elastic.errors import QueryError
from elastic.units import UnitError, parse_duration_ms

add_query_room(__file__)

_EXACT: Mapping[Any, Any] = {operator.add: "sum", min: "min", max: "max"}


class Builds(Protocol):
    """Where streams belong: a streaming context, or a batch of RDDs."""

    @property
    def graph(self) -> StreamGraph:
        """The stages so far."""

    @property
    def interval_ms(self) -> int:
        """Length of an interval."""

    @property
    def key_groups(self) -> int:
        """Units in which key space is cut."""

    @property
    def outputs(self) -> Outputs:
        """The functions that are called with datasets."""


class Outputs(Protocol):
    """Calls users' functions with datasets."""

    def add(self, stream: DStream, function: Any, name: str | None) -> None:
        """Have the function called with each interval's rows."""


@dataclass(frozen=True, eq=False)
class At:
    """Where a stream's rows come from.

    Attributes:
        view: Which of the stage's datasets.
        pieces: Narrow steps after it.
        by_key: Its partitions are by key group, and the pieces have left keys alone.
        every: It has rows in intervals only that are multiples of this.
    """

    draft: Draft
    view: str = ROWS
    pieces: tuple[Piece, ...] = ()
    by_key: bool = False
    every: int = 1


class DStream:
    """A dataset for each interval.

    Source: D-Streams §3.3 and Spark Streaming's DStream; the reference says where the two differ from this.
    """

    def __init__(self, context: Builds, at: At) -> None:
        self._context, self._at = context, at

    def __repr__(self) -> str:
        steps = "".join(f".{piece.name}" for piece in self._at.pieces)
        return f"<DStream {self._at.draft.name}{steps}>"

    @property
    def context(self) -> Builds:
        """Where the stream belongs."""
        return self._context

    # -- rows one by one -----------------------------------------------------------------------------------------------

    def map(self, function: Callable[[Any], Any]) -> DStream:
        """One row per row: what the function returns."""
        return self._piece("map", function)

    def filter(self, function: Callable[[Any], Any]) -> DStream:
        """The rows for which the function returns something true."""
        return self._piece("filter", function, keeps_keys=True)

    def flat_map(self, function: Callable[[Any], Any]) -> DStream:
        """Any number of rows per row: all that the function returns or yields, in order."""
        return self._piece("flat_map", function, one_row=False)

    def map_values(self, function: Callable[[Any], Any]) -> DStream:
        """Pairs with the same keys, and what the function returns for each value."""
        return self._piece("map_values", function, keeps_keys=True)

    def flat_map_values(self, function: Callable[[Any], Any]) -> DStream:
        """For each pair any number of pairs with the same key, one for each value that the function gives."""
        return self._piece("flat_map_values", function, keeps_keys=True, one_row=False)

    def map_partitions(self, function: Callable[[Any], Any]) -> DStream:
        """All that the function gives when it is called with an iterator over a whole partition."""
        return self._piece("map_partitions", function, one_row=False)

    def map_partitions_with_index(self, function: Callable[[int, Any], Any]) -> DStream:
        """The same; the function is called with the partition's number before it."""
        return self._piece("map_partitions_with_index", function, one_row=False, arguments=2)

    def glom(self) -> DStream:
        """One row per partition: the list of its rows."""
        return self._ours("map_partitions", "glom()", _glom)

    # -- one row, or one per key ---------------------------------------------------------------------------------------

    def count(self) -> DStream:
        """One row per interval: how many rows there are; 0 where there are none."""
        counted = self._ours("count", "count()", len)
        return counted._all_in_one(Merging("count", operator.add, "sum"))

    def count_by_value(self) -> DStream:
        """Pairs of each different row and how often it is there."""
        paired = self._ours("with_one", "count_by_value()", None)
        return paired._reduced(Merging("count_by_value", operator.add, "sum"))

    def reduce(self, function: Callable[[Any, Any], Any]) -> DStream:
        """One row per interval: all rows merged by an associative function; none where there are none."""
        merging = self._merging("reduce", function)
        return self._all_in_one(merging)

    def reduce_by_key(self, function: Callable[[Any, Any], Any], *, name: str | None = None) -> DStream:
        """One pair per key: its values merged by an associative function, before the shuffle as far as possible."""
        return self._reduced(self._merging("reduce_by_key", function), name)

    def group_by_key(self) -> DStream:
        """One pair per key: the list of its values."""
        return self._wide("group_by_key", Grouped(self._groups), [(self, None)])

    def combine_by_key(
        self, create: Callable[[Any], Any], merge_value: Callable[[Any, Any], Any],
        merge_combiners: Callable[[Any, Any], Any],
    ) -> DStream:  # fmt: skip
        """One pair per key: ``create`` of its first value, the others merged in; partial results merged in the end."""
        check_function("combine_by_key", create)
        check_function("combine_by_key", merge_value, called="two values", arguments=2)
        check_function("combine_by_key", merge_combiners, called="two values", arguments=2)
        combined = self._ours("map_partitions", "combine_by_key()", partial(_combine, create, merge_value))
        return combined._reduced(Merging("combine_by_key", merge_combiners))

    # -- partitions, several streams -----------------------------------------------------------------------------------

    def partition_by_key(self) -> DStream:
        """The same pairs, all of one key in one partition; what follows by key needs no further shuffle."""
        return self._wide("partition_by_key", Union(), [(self, None)])

    def repartition(self) -> DStream:
        """The same rows, spread evenly over all tasks."""
        spread = self._ours("map_partitions_with_index", "repartition()", _numbered)
        return spread.partition_by_key()._ours("map", "repartition()", _second)

    def union(self, *others: DStream) -> DStream:
        """The rows of all the streams."""
        streams = (self, *(self._mine("union", other) for other in others))
        if len({stream._at.every for stream in streams}) > 1:
            raise QueryError(f"{caller()}: union() of streams with different slides; give their windows the same slide")
        inputs = [Input(*stream._feed(keyed=False), Reach.KEYS) for stream in streams]
        draft = self._graph.add("union", Kind.TASK, _plain(Union()), inputs)
        return DStream(self._context, At(draft, every=self._at.every))

    def cogroup(self, other: DStream) -> DStream:
        """Pairs of each key of either stream with two lists: its values here and there."""
        return self._join("cogroup", other)

    def join(self, other: DStream | Bounded) -> DStream:
        """For each key of both, each pair of a value here and a value there; ``other`` may be an RDD."""
        return self._join("inner", other)

    def left_outer_join(self, other: DStream | Bounded) -> DStream:
        """The same; a key that the other lacks has None in the place of its value."""
        return self._join("left", other)

    def right_outer_join(self, other: DStream) -> DStream:
        """The same; a key that this one lacks has None."""
        return self._join("right", other)

    def full_outer_join(self, other: DStream) -> DStream:
        """The same; a key that either lacks has None."""
        return self._join("full", other)

    def transform(self, function: Callable[[DStream], DStream]) -> DStream:
        """What the function makes of this stream. It is called once, now: what it writes holds for every interval."""
        made = function(self)
        if not isinstance(made, DStream):
            raise QueryError(f"{caller()}: transform() got {shortened(made)} from its function; return a stream")
        return made

    def transform_with(self, function: Callable[[DStream, DStream], DStream], other: DStream) -> DStream:
        """The same with two streams."""
        return self.transform(lambda stream: function(stream, self._mine("transform_with", other)))

    def cache(self) -> DStream:
        """The same rows, computed once for all that read them from here."""
        inputs = [Input(*self._feed(keyed=self._at.by_key), Reach.SAME)]
        draft = self._graph.add("cache", Kind.TASK, _plain(Union()), inputs, like=self._at.draft.id)
        return DStream(self._context, At(draft, by_key=self._at.by_key, every=self._at.every))

    persist = cache

    # -- windows -------------------------------------------------------------------------------------------------------

    def window(self, length: str, slide: str | None = None) -> DStream:
        """In every interval that a slide ends with, the rows of the last intervals, of ``length`` together."""
        intervals, every = self._window("window", length, slide)
        return self._windowed("window", intervals, every)

    def count_by_window(self, length: str, slide: str | None = None) -> DStream:
        """How many rows a window has."""
        intervals, every = self._window("count_by_window", length, slide)
        return self.count()._windowed("count_by_window", intervals, every).reduce(operator.add)

    def count_by_value_and_window(self, length: str, slide: str | None = None) -> DStream:
        """Pairs of each different row of a window and how often it is there."""
        paired = self._ours("with_one", "count_by_value_and_window()", None)
        return paired.reduce_by_key_and_window(operator.add, length, slide, inverse=operator.sub)

    def reduce_by_window(
        self, function: Callable[[Any, Any], Any], length: str, slide: str | None = None, *,
        inverse: Callable[[Any, Any], Any] | None = None,
    ) -> DStream:  # fmt: skip
        """One row: all rows of a window merged. With ``inverse``, see ``reduce_by_key_and_window``."""
        keyed = self.reduce(function)._ours("map", "reduce_by_window()", _with_none)
        merged = keyed.reduce_by_key_and_window(function, length, slide, inverse=inverse)
        return merged._ours("map", "reduce_by_window()", _second)

    def reduce_by_key_and_window(
        self, function: Callable[[Any, Any], Any], length: str, slide: str | None = None, *,
        inverse: Callable[[Any, Any], Any] | None = None, name: str | None = None,
    ) -> DStream:  # fmt: skip
        """One pair per key of a window: its values merged. Each interval's are merged once, for all windows it is in.

        Args:
            function: An associative function of two values.
            length: Of a window: a whole number of intervals.
            slide: Time from one window to the next: a whole number of intervals; one of them if None.
            inverse: ``inverse(merged, value)`` takes a value out again. With it a window costs what enters and leaves
                it, without it all of its intervals.
            name: Of the operator, in the report.

        Raises:
            QueryError: Length or slide is not a whole number of intervals, or a function cannot serve.
        """
        intervals, every = self._window("reduce_by_key_and_window", length, slide)
        merging = self._merging("reduce_by_key_and_window", function)
        each = self._reduced(merging)
        if inverse is None:
            at = each._windowed("reduce_by_key_and_window", intervals, every, keyed=True)
            return at._narrow("reduce_by_key_and_window", Merged(merging, self._groups), name=name)
        check_function("reduce_by_key_and_window", inverse, called="two values", arguments=2)
        stage, channel = each._feed(keyed=True)
        entering = Input(stage, channel, Reach.SAME, (intervals, 0))
        draft = self._graph.add(
            "reduce_by_key_and_window", Kind.STATE, Sliding(merging, inverse), [entering], every=every, given=name
        )
        return DStream(self._context, At(draft, by_key=True, every=every))

    def group_by_key_and_window(self, length: str, slide: str | None = None) -> DStream:
        """One pair per key of a window: the list of its values, oldest first."""
        intervals, every = self._window("group_by_key_and_window", length, slide)
        moved = self.partition_by_key()
        at = moved._windowed("group_by_key_and_window", intervals, every, keyed=True)
        return at._narrow("group_by_key_and_window", Grouped(self._groups))

    def delayed(self, time: str) -> DStream:
        """The rows that the stream had so long ago; join a stream with it to see its own past."""
        intervals = self._intervals("delayed", "time", time)
        keyed = self._at.by_key
        inputs = [Input(*self._feed(keyed=keyed), Reach.SAME, (intervals,))]
        draft = self._graph.add("delayed", Kind.TASK, _plain(Union()), inputs, like=self._at.draft.id)
        return DStream(self._context, At(draft, by_key=keyed, every=self._at.every))

    # -- state ---------------------------------------------------------------------------------------------------------

    def running_reduce(self, function: Callable[[Any, Any], Any], *, name: str | None = None) -> StateStream:
        """Pairs of each key that the interval has and all of its values so far, merged."""
        merging = self._merging("running_reduce", function)
        return self._stateful("running_reduce", Running(merging), merging, name)

    def update_state_by_key(
        self, update: Callable[[list[Any], Any], Any], initial: Iterable[tuple[Any, Any]] = (), *,
        name: str | None = None,
    ) -> DStream:  # fmt: skip
        """Pairs of every key and its state, after each interval.

        ``update(values, state)`` is called for every key, in every interval: with the interval's values, maybe none,
        and the state so far, None at first. It returns the new state, or None to drop the key.

        Args:
            update: The function; it must not change a state in place.
            initial: Pairs that there are at the start.
            name: Of the operator, in the report.
        """
        check_function("update_state_by_key", update, called="values and state", arguments=2)
        pairs = tuple(initial)
        as_pairs(list(pairs), 0, "initial")
        check_shippable("initial", pairs)
        label = f"update_state_by_key({describe(update)})"
        return self._stateful("update_state_by_key", Updating(label, update, pairs), None, name).snapshots()

    def track(
        self, initialize: Callable[[Any, Any], Any], update: Callable[[Any, Any, Any], Any],
        timeout: str | None = None, *, name: str | None = None,
    ) -> StateStream:  # fmt: skip
        """Pairs of each key that the interval has and its state.

        Args:
            initialize: ``initialize(key, event)`` gives the state of a key that has none.
            update: ``update(key, state, event)`` gives the next one; called for keys of the interval only. None, from
                either, drops the key.
            timeout: A key without an event for so long is dropped; never if None.
            name: Of the operator, in the report.

        Source: D-Streams §3.3, ``track``. As ``mapWithState`` of Spark, it gives what changed; ``snapshots()`` of it
        are the paper's states.
        """
        check_function("track", initialize, called="key and event", arguments=2)
        check_function("track", update, called="key, state and event", arguments=3)
        intervals = None if timeout is None else self._intervals("track", "timeout", timeout)
        label = f"track({describe(update)})"
        return self._stateful("track", Tracking(label, initialize, update, intervals), None, name)

    # -- outputs -------------------------------------------------------------------------------------------------------

    def save(self, sink: Sink, *, name: str | None = None) -> None:
        """Every row goes to the sink, in order of intervals, exactly once.

        Raises:
            QueryError: Not a sink, or the name is taken.
        """
        if not isinstance(sink, Sink):
            raise QueryError(
                f"{caller()}: save() takes one of elastic.sinks, such as sinks.stdout(), not {shortened(sink)}"
            )
        check_shippable(f"sink {sink.name!r}", sink)
        self._graph.add(sink.name, Kind.SINK, sink, [Input(*self._feed(keyed=False), Reach.KEYS)], given=name)

    def save_as_text_files(self, directory: str, *, name: str | None = None) -> None:
        """Every row becomes a JSON line in files of the directory, a part of some intervals each, exactly once."""
        self.save(sinks.json_lines(directory), name=name)

    def pprint(self) -> None:
        """The command prints every row on a line, once it is committed."""
        self.save(sinks.stdout())

    def foreach_rdd(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        """Calls the function in this process with each interval's rows as an RDD, in order, each interval once.

        It is called as ``function(rdd)``, or as ``function(time, rdd)`` if it takes two arguments; the time is that of
        the interval's end, Unix time in seconds. What it raises ends the job, and is raised by ``await_termination``.
        """
        self._context.outputs.add(self, function, name)

    # -- how it is done ------------------------------------------------------------------------------------------------

    @property
    def _graph(self) -> StreamGraph:
        return self._context.graph

    @property
    def _groups(self) -> int:
        return self._context.key_groups

    def _piece(
        self, kind: PieceKind, function: Any, *, keeps_keys: bool = False, one_row: bool = True, arguments: int = 1
    ) -> DStream:
        check_function(kind, function, one_row=one_row, arguments=arguments)
        return self._ours(kind, f"{kind}({describe(function)})", function, keeps_keys=keeps_keys)

    def _ours(self, kind: PieceKind, name: str, function: Any, *, keeps_keys: bool = False) -> DStream:
        piece = Piece(kind, name, function)
        by_key = self._at.by_key and keeps_keys
        return DStream(self._context, replace(self._at, pieces=(*self._at.pieces, piece), by_key=by_key))

    def _merging(self, call: str, function: Any) -> Merging:
        check_function(call, function, called="two values", arguments=2)
        return Merging(f"{call}({describe(function)})", function, _exact(function))

    def _feed(self, *, keyed: bool, merging: Merging | None = None) -> tuple[int, int]:
        """The stage and channel that a reader of this stream reads."""
        at = self._at
        return at.draft.id, at.draft.channel(Channel(at.view, at.pieces, keyed, merging))

    def _reduced(self, merging: Merging, name: str | None = None) -> DStream:
        return self._wide(merging.name.partition("(")[0], Merged(merging, self._groups), [(self, merging)], name)

    def _wide(
        self, call: str, dataset: Any, inputs: Sequence[tuple[DStream, Merging | None]], name: str | None = None
    ) -> DStream:
        """A stage by key: a shuffle, unless the rows are by key already."""
        found = [stream._by_key_input(merging) for stream, merging in inputs]
        every = max(stream._at.every for stream, _ in inputs)
        draft = self._graph.add(call, Kind.TASK, _plain(dataset), found, given=name)
        return DStream(self._context, At(draft, by_key=True, every=every))

    def _by_key_input(self, merging: Merging | None) -> Input:
        reach = Reach.SAME if self._at.by_key else Reach.KEYS
        return Input(*self._feed(keyed=True, merging=merging), reach)

    def _narrow(self, call: str, dataset: Any, *, name: str | None = None) -> DStream:
        """A stage by key over rows that are by key."""
        inputs = [Input(*self._feed(keyed=True), Reach.SAME)]
        draft = self._graph.add(call, Kind.TASK, _plain(dataset), inputs, like=self._at.draft.id, given=name)
        return DStream(self._context, At(draft, by_key=True, every=self._at.every))

    def _all_in_one(self, merging: Merging) -> DStream:
        """One row: all rows merged, first those of each partition."""
        keyed = self._ours("map", merging.name, _with_none)
        inputs = [Input(*keyed._feed(keyed=True, merging=merging), Reach.KEYS)]
        draft = self._graph.add(
            merging.name.partition("(")[0], Kind.TASK, _plain(Merged(merging, self._groups)), inputs, like=ONE
        )
        one = DStream(self._context, At(draft, every=self._at.every))
        return one._ours("map", merging.name, _second)

    def _join(self, how: How, other: Any) -> DStream:
        call = how if how == "cogroup" else "join"
        if isinstance(other, Bounded):
            static = by_key(as_pairs(other.collect(), 0, "join"))
            check_shippable("the RDD", static)
            return self._wide(call, Joined(how, self._groups, static), [(self, None)])
        right = self._mine(call, other)
        return self._wide(call, Joined(how, self._groups), [(self, None), (right, None)])

    def _mine(self, call: str, other: Any) -> DStream:
        if not isinstance(other, DStream):
            raise QueryError(f"{caller()}: {call}() takes a stream, not {shortened(other)}")
        if other._context is not self._context:
            raise QueryError(f"{caller()}: {call}() of streams of two contexts; build both from one")
        return other

    def _intervals(self, call: str, what: str, time: Any) -> int:
        """A duration as a number of intervals."""
        interval_ms = self._context.interval_ms
        try:
            time_ms = parse_duration_ms(time)
        except UnitError:
            raise QueryError(f"{caller()}: {call}({what}={time!r}) is no duration; write one such as '30s'") from None
        count, rest_ms = divmod(time_ms, interval_ms)
        if rest_ms or not count:
            near = max(1, round(time_ms / interval_ms)) * interval_ms
            raise QueryError(
                f"{caller()}: {call}({what}={time!r}) is not a whole number of intervals of {interval_ms}ms; "
                f"write {what}='{near}ms', or change the interval"
            )
        return count

    def _window(self, call: str, length: Any, slide: Any) -> tuple[int, int]:
        intervals = self._intervals(call, "length", length)
        every = self._at.every if slide is None else self._intervals(call, "slide", slide)
        if every % self._at.every or intervals % self._at.every:
            before = self._at.every * self._context.interval_ms
            raise QueryError(
                f"{caller()}: {call}() over a stream that has rows every {before}ms only; "
                f"make length and slide multiples of that"
            )
        return intervals, every

    def _windowed(self, call: str, intervals: int, every: int, *, keyed: bool = False) -> DStream:
        back = tuple(range(intervals - 1, -1, -1))
        inputs = [Input(*self._feed(keyed=keyed), Reach.SAME, back)]
        draft = self._graph.add(call, Kind.TASK, _plain(Union()), inputs, like=self._at.draft.id, every=every)
        return DStream(self._context, At(draft, by_key=self._at.by_key and keyed, every=every))

    def _stateful(self, call: str, dataset: Any, merging: Merging | None, name: str | None) -> StateStream:
        draft = self._graph.add(call, Kind.STATE, dataset, [self._by_key_input(merging)], given=name)
        return StateStream(self._context, At(draft, by_key=True))


class StateStream(DStream):
    """What changed of the keys' state in an interval: pairs of a key and its state."""

    def snapshots(self) -> DStream:
        """All keys with their state, after each interval."""
        return DStream(self._context, replace(self._at, view=SNAPSHOT))


def _plain(dataset: Any) -> Callable[[Any], Any]:
    """Makes the dataset of any partition: one without state is the same for all."""
    return partial(_same, dataset)


def _same(dataset: Any, _: Any) -> Any:
    return dataset


def _exact(function: Any) -> Any:
    try:
        return _EXACT.get(function)
    except TypeError:  # not hashable
        return None


def _glom(rows: Iterable[Any]) -> list[list[Any]]:
    return [list(rows)]


def _with_none(row: Any) -> tuple[None, Any]:
    return None, row


def _second(pair: tuple[Any, Any]) -> Any:
    return pair[1]


def _numbered(partition: int, rows: Iterable[Any]) -> list[tuple[tuple[int, int], Any]]:
    return [((partition, n), row) for n, row in enumerate(rows)]


def _combine(create: Callable[..., Any], merge_value: Callable[..., Any], rows: Iterable[Any]) -> list[tuple[Any, Any]]:
    so_far: dict[Any, Any] = {}
    for key, value in rows:
        so_far[key] = merge_value(so_far[key], value) if key in so_far else create(value)
    return list(so_far.items())


def source_stream(context: Builds, source: Source, name: str, *, given: str | None = None) -> DStream:
    """The stream of a source's records."""
    read = context.graph.add(name, Kind.SOURCE, source, given=given)
    inputs = [Input(read.id, 0, Reach.SAME)]
    draft = context.graph.add(f"{read.name}-rows", Kind.TASK, _plain(Union()), inputs, like=read.id)
    return DStream(context, At(draft))
