"""Datasets that are all there: static data to join a stream with, an interval's rows, the same program over history.

An RDD is a description until an action asks for it. A small one is then computed in this process, by the same stages
that a stream's intervals are; a large one by the workers of its context, as a job of one interval.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

from dstream.datasets import How
from dstream.graph import StreamGraph
from dstream.local import Budget, LocalRun, TooLargeError, read_all, write
from dstream.plan import Input, Kind, Reach
from dstream.refreshed import Refreshed, is_transforming
from dstream.streams.base import Bounded
from dstream.streams.by_key import ByKeySteps
from dstream.streams.joins import JoinSteps
from dstream.streams.rows import RowSteps
from dstream.streams.stages import At, all_in_one, checked_merging, counted, source_at
from dstream.streams.tables import TableSteps, is_refreshed, joined_from
from elastic.batch import Batch, rows
from elastic.callables import add_query_room, caller, check_function, check_shippable, shortened
from elastic.connectors import sources
from elastic.connectors.base import Sink, SinkContext, Source, Writer
from elastic.connectors.from_list import FromList, ListPartition
from elastic.errors import QueryError
from elastic.keys import KEY_GROUPS, KeyInterval
from elastic.plan import Settings
from elastic.surface import surface

add_query_room(__file__)

PARTITIONS = 4

LOCAL_BYTES = 16 << 20
"""More input than this is given to workers: starting them takes a second, in which one core does about so much."""


class Workers(Protocol):
    """Where RDDs are computed that are too large for this process."""

    def rows(self, graph: StreamGraph) -> list[Any]:
        """What the graph's only output gets."""

    def save(self, graph: StreamGraph) -> None:
        """What the graph's only output gets is in its target."""


@dataclass(eq=False)
class History:
    """Where an RDD belongs: a graph of stages, and one interval.

    Attributes:
        workers: Who computes what is large; this process if None.
    """

    workers: Workers | None = None
    graph: StreamGraph = field(default_factory=lambda: StreamGraph("rdd"))
    interval_ms: int = 1000
    key_groups: int = KEY_GROUPS
    outputs: Any = None


@dataclass(frozen=True)
class _Collect(Sink):
    """Stands at the end of what is computed here; nothing is ever written to it."""

    name = "collect"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        raise NotImplementedError


@surface
class RDD(RowSteps["RDD"], ByKeySteps["RDD"], JoinSteps["RDD"], Bounded["RDD"]):
    """An immutable dataset in partitions: the methods of a stream that need no time, and actions that give results."""

    _context: History

    def _new(self, at: At) -> RDD:
        return RDD(self._context, at)

    def _mine(self, call: str, other: Any) -> At:
        """Where the other's rows come from; if it belongs elsewhere, its stages are taken over."""
        if not isinstance(other, RDD):
            raise QueryError(f"{caller()}: {call}() of an RDD takes an RDD, not {shortened(other)}")
        if other._context is self._context:
            return other._at
        return _adopted(self._context.graph, other)

    def _join(self, how: How, other: Any) -> Any:
        """With a stream, or with an interval's RDD: what is there in every interval of that."""
        return joined_from(how, self, other) if isinstance(other, TableSteps) else super()._join(how, other)

    # -- actions -------------------------------------------------------------------------------------------------------

    def collect(self) -> list[Any]:
        """All rows: partition after partition, those that were shuffled in canonical order of their keys.

        Raises:
            SourceError: The input cannot be read.
            UserCodeError: A function raised.
            JobFailedError: The same, where workers compute it.
        """
        graph = self._ending(_Collect())
        try:
            return [row for _, batch in _computed(graph, self._context) for row in rows(batch.values or [])]
        except TooLargeError:
            assert self._context.workers is not None, "nothing is too large for a process that is alone"
            return self._context.workers.rows(graph)

    def take(self, count: int) -> list[Any]:
        """The first rows, in the order of ``collect``."""
        first = self._at.then("map_partitions", "take()", partial(_first, count))
        return self._new(first).collect()[:count]

    def first(self) -> Any:
        """The first row.

        Raises:
            ValueError: There is none.
        """
        found = self.take(1)
        if not found:
            raise ValueError("first() of an RDD without rows")
        return found[0]

    def is_empty(self) -> bool:
        """Whether there are no rows."""
        return not self.take(1)

    def foreach(self, function: Callable[[Any], Any]) -> None:
        """Calls the function with each row, in the order of ``collect``, in this process."""
        for row in self.collect():
            function(row)

    def foreach_partition(self, function: Callable[[Iterator[Any]], Any]) -> None:
        """Calls the function with an iterator over each partition, one after the other, in this process."""
        for found in self.glom().collect():
            function(iter(found))

    def top(self, count: int, key: Callable[[Any], Any] | None = None) -> list[Any]:
        """The largest rows, largest first; ``key`` gives what they are compared by."""
        if key is not None:
            check_function("top", key)
        largest = self._at.then("map_partitions", "top()", partial(_largest, count, key))
        return heapq.nlargest(count, self._new(largest).collect(), key=key)

    def count(self) -> int:
        """How many rows there are."""
        return int(self._new(counted(self._context, self._at)).collect()[0])

    def reduce(self, function: Callable[[Any, Any], Any]) -> Any:
        """All rows merged.

        Raises:
            ValueError: There are none.
        """
        found = self._merged("reduce", function)
        if not found:
            raise ValueError("reduce() of an RDD without rows")
        return found[0]

    def sum(self) -> Any:
        """The sum of all rows; 0 where there are none."""
        found = self._merged("sum", operator.add)
        return found[0] if found else 0

    def count_by_key(self) -> dict[Any, int]:
        """How many pairs each key has."""
        return dict(self.map_values(_one).reduce_by_key(operator.add).collect())

    def save(self, sink: Sink) -> None:
        """All rows go to a sink of ``elastic.sinks``; they are there when this returns.

        Raises:
            QueryError: Not a sink.
            SinkError: The target cannot be used.
        """
        if not isinstance(sink, Sink):
            raise QueryError(
                f"{caller()}: save() takes one of elastic.sinks, such as sinks.json_lines('out'), not {shortened(sink)}"
            )
        check_shippable(f"sink {sink.name!r}", sink)
        graph = self._ending(sink)
        try:
            found = _computed(graph, self._context)
        except TooLargeError:
            assert self._context.workers is not None, "nothing is too large for a process that is alone"
            self._context.workers.save(graph)
        else:
            write(sink, found, self._context.key_groups)

    def _merged(self, call: str, function: Any) -> list[Any]:
        """The one row that all rows are merged to, if there are any."""
        return self._new(all_in_one(self._context, self._at, checked_merging(call, function))).collect()

    def _ending(self, sink: Sink) -> StreamGraph:
        """What leads to this dataset, and nothing else.

        Raises:
            QueryError: A function of ``transform`` asks for the rows of data that is read anew in every interval.
        """
        if is_transforming() and is_refreshed(self):
            raise QueryError(
                f"{caller()}: a function of transform() has no rows of data that is read anew in every interval: it "
                "writes the steps; join the two, or call the action outside of transform(), once"
            )
        graph = StreamGraph("rdd")
        at = _adopted(graph, self)
        graph.add(sink.name, Kind.SINK, sink, [Input(*at.feed(keyed=False), Reach.KEYS)])
        return graph


def _adopted(graph: StreamGraph, rdd: RDD) -> At:
    """Where an RDD's rows are in another graph, which has all of its stages from then on."""
    draft = rdd._at.draft
    return replace(rdd._at, draft=graph.adopt([draft], rdd._context.graph)[draft.id])


def _computed(graph: StreamGraph, history: History) -> list[tuple[int, Batch]]:
    """What the only output gets, computed here.

    Raises:
        TooLargeError: There are workers for so much.
    """
    settings = Settings(key_groups=history.key_groups)
    plan = graph.plan(PARTITIONS, settings, interval_ticks=1, checkpoint_intervals=1, tasks=PARTITIONS, batch=True)
    budget = Budget(None if history.workers is None else LOCAL_BYTES)
    run = LocalRun(plan, lambda stage, partition, _: read_all(plan, stage, partition, budget))
    run.interval(1, 0, 1, final=True)
    (found,) = run.sinks.values()
    return found


def _one(_: Any) -> int:
    return 1


def _first(count: int, found: Iterator[Any]) -> list[Any]:
    return list(islice(found, count))


def _largest(count: int, key: Any, found: Iterable[Any]) -> list[Any]:
    return heapq.nlargest(count, found, key=key)


def rdd_of(source: Source, workers: Workers | None = None) -> RDD:
    """The RDD of all that a bounded source has."""
    history = History(workers)
    return RDD(history, source_at(history, source, source.name))


def parallelize(found: Iterable[Any], workers: Workers | None = None, partitions: int | None = None) -> RDD:
    """The RDD of rows in memory, in so many partitions if that is said."""
    return rdd_of(sources.from_list(found) if partitions is None else Slices(list(found), partitions), workers)


class Slices(FromList):
    """Rows in memory in as many partitions as their writer says."""

    def __init__(self, found: list[Any], count: int) -> None:
        super().__init__(found, None)
        self._count = count

    def partitions(self, count: int) -> Sequence[ListPartition]:
        """Runs of equal length: as many as were asked for, and not ``count``."""
        return super().partitions(self._count)


def lines_of(paths: Any, workers: Workers | None = None) -> RDD:
    """The RDD of the lines of text files; if a function of ``transform`` asks for it, as they are in each interval."""
    source = sources.text_files(paths)
    return rdd_of(Refreshed(source, repr(paths)) if is_transforming() else source, workers)
