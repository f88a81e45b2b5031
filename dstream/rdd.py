"""Datasets that are all there: static data to join a stream with, and the same program over history.

An RDD is computed in this process, by the same stages that a stream's intervals are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from dstream.datasets import Bounded
from dstream.graph import StreamGraph
from dstream.local import LocalRun, read_all
from dstream.stream import DStream, source_stream
from elastic.batch import rows
from elastic.callables import add_query_room, caller, shortened
from elastic.connectors import sources
from elastic.connectors.base import Sink, SinkContext, Source, Writer
from elastic.errors import QueryError
from elastic.keys import KEY_GROUPS, KeyInterval
from elastic.plan import Settings

add_query_room(__file__)

PARTITIONS = 4

_NARROWED = (
    "map", "filter", "flat_map", "map_values", "flat_map_values", "map_partitions", "map_partitions_with_index", "glom",
    "count_by_value", "reduce_by_key", "group_by_key", "combine_by_key", "partition_by_key", "repartition", "cache",
    "persist",
)  # fmt: skip


class _NoOutputs:
    def add(self, stream: DStream, function: Any, name: str | None) -> NoReturn:
        raise QueryError(f"{caller()}: an RDD is all there; call the function with it, or with rdd.collect()")


@dataclass(eq=False)
class Batch:
    """Where RDDs belong that can be joined with one another: one graph of stages, and one interval."""

    graph: StreamGraph = field(default_factory=lambda: StreamGraph("batch"))
    interval_ms: int = 1000
    key_groups: int = KEY_GROUPS
    outputs: Any = field(default_factory=_NoOutputs)


@dataclass(frozen=True)
class _Collect(Sink):
    """Stands at the end of what is computed here; nothing is ever written to it."""

    name = "collect"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        raise NotImplementedError


class RDD(Bounded):
    """An immutable dataset in partitions: the methods of a stream that need no time, and actions that give results."""

    def __init__(self, stream: DStream) -> None:
        self._stream = stream

    def __repr__(self) -> str:
        return repr(self._stream).replace("DStream", "RDD")

    def __getattr__(self, name: str) -> Callable[..., RDD]:
        if name not in _NARROWED:
            raise AttributeError(f"an RDD has no {name!r}", name=name, obj=self)
        method = getattr(self._stream, name)

        def transformed(*arguments: Any, **options: Any) -> RDD:
            return RDD(method(*arguments, **options))

        return transformed

    def union(self, *others: RDD) -> RDD:
        """The rows of all the RDDs."""
        return RDD(self._stream.union(*(self._moved("union", other) for other in others)))

    def cogroup(self, other: RDD) -> RDD:
        """Pairs of each key of either with two lists: its values here and there."""
        return RDD(self._stream.cogroup(self._moved("cogroup", other)))

    def join(self, other: RDD) -> RDD:
        """For each key of both, each pair of a value here and a value there."""
        return RDD(self._stream.join(self._moved("join", other)))

    def left_outer_join(self, other: RDD) -> RDD:
        """The same; a key that the other lacks has None in the place of its value."""
        return RDD(self._stream.left_outer_join(self._moved("left_outer_join", other)))

    def right_outer_join(self, other: RDD) -> RDD:
        """The same; a key that this one lacks has None."""
        return RDD(self._stream.right_outer_join(self._moved("right_outer_join", other)))

    def full_outer_join(self, other: RDD) -> RDD:
        """The same; a key that either lacks has None."""
        return RDD(self._stream.full_outer_join(self._moved("full_outer_join", other)))

    def _moved(self, call: str, other: Any) -> DStream:
        """The other RDD as a stream of this one's graph: its rows, if it belongs to another."""
        if not isinstance(other, RDD):
            raise QueryError(f"{caller()}: {call}() of an RDD takes an RDD, not {shortened(other)}")
        if other._stream._context is self._stream._context:
            return other._stream
        return source_stream(self._stream._context, sources.from_list(other.collect()), "rdd")

    # -- actions -------------------------------------------------------------------------------------------------------

    def collect(self) -> list[Any]:
        """All rows: partition after partition, those that were shuffled in canonical order of their keys."""
        context = self._stream._context
        graph = StreamGraph("batch")
        graph.drafts = list(context.graph.drafts)
        feeding = DStream(_In(graph, context), self._stream._at)
        feeding.save(_Collect())
        plan = graph.plan(
            PARTITIONS, Settings(), interval_ticks=1, checkpoint_intervals=1, tasks=PARTITIONS, batch=True
        )
        run = LocalRun(plan, lambda stage, partition, _: read_all(plan, stage, partition))
        run.interval(1, 0, 1, final=True)
        (found,) = run.sinks.values()
        return [row for _, batch in found for row in rows(batch.values or [])]

    def take(self, count: int) -> list[Any]:
        """The first rows."""
        return self.collect()[:count]

    def top(self, count: int, key: Callable[[Any], Any] | None = None) -> list[Any]:
        """The largest rows, largest first."""
        return sorted(self.collect(), key=key, reverse=True)[:count]

    def count(self) -> int:
        """How many rows there are."""
        return int(RDD(self._stream.count()).collect()[0])

    def reduce(self, function: Callable[[Any, Any], Any]) -> Any:
        """All rows merged.

        Raises:
            ValueError: There are none.
        """
        found = RDD(self._stream.reduce(function)).collect()
        if not found:
            raise ValueError("reduce() of an RDD without rows")
        return found[0]

    def sum(self) -> Any:
        """The sum of all rows; 0 where there are none."""
        found = RDD(self._stream.reduce(operator.add)).collect()
        return found[0] if found else 0

    def count_by_key(self) -> dict[Any, int]:
        """How many pairs each key has."""
        counted = self._stream.map_values(_one).reduce_by_key(operator.add)
        return dict(RDD(counted).collect())


@dataclass(eq=False)
class _In:
    """The same graph with something at its end."""

    graph: StreamGraph
    context: Any

    @property
    def interval_ms(self) -> int:
        return int(self.context.interval_ms)

    @property
    def key_groups(self) -> int:
        return int(self.context.key_groups)

    @property
    def outputs(self) -> Any:
        return self.context.outputs


def _one(_: Any) -> int:
    return 1


def rdd_of(source: Source, batch: Batch | None = None) -> RDD:
    """The RDD of all that a bounded source has."""
    return RDD(source_stream(batch or Batch(), source, source.name))


def parallelize(rows: Iterable[Any], batch: Batch | None = None) -> RDD:
    """The RDD of rows in memory."""
    return rdd_of(sources.from_list(rows), batch)
