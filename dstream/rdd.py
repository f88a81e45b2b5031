"""Datasets that are all there: static data to join a stream with, and the same program over history.

An RDD is computed in this process, by the same stages that a stream's intervals are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from dstream.datasets import Bounded
from dstream.graph import StreamGraph
from dstream.local import LocalRun, read_all
from dstream.plan import Input, Kind, Reach
from dstream.streams.by_key import ByKeySteps
from dstream.streams.joins import JoinSteps
from dstream.streams.rows import RowSteps
from dstream.streams.stages import At, all_in_one, checked_merging, counted, source_at
from elastic.batch import rows
from elastic.callables import add_query_room, caller, shortened
from elastic.connectors import sources
from elastic.connectors.base import Sink, SinkContext, Source, Writer
from elastic.errors import QueryError
from elastic.keys import KEY_GROUPS, KeyInterval
from elastic.plan import Settings

add_query_room(__file__)

PARTITIONS = 4


@dataclass(eq=False)
class Batch:
    """Where RDDs belong that can be joined with one another: one graph of stages, and one interval."""

    graph: StreamGraph = field(default_factory=lambda: StreamGraph("batch"))
    interval_ms: int = 1000
    key_groups: int = KEY_GROUPS
    outputs: Any = None


@dataclass(frozen=True)
class _Collect(Sink):
    """Stands at the end of what is computed here; nothing is ever written to it."""

    name = "collect"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        raise NotImplementedError


class RDD(RowSteps["RDD"], ByKeySteps["RDD"], JoinSteps["RDD"], Bounded):
    """An immutable dataset in partitions: the methods of a stream that need no time, and actions that give results."""

    def _new(self, at: At) -> RDD:
        return RDD(self._context, at)

    def _mine(self, call: str, other: Any) -> At:
        """Where the other's rows come from; if it belongs to another batch, they are those that it has now."""
        if not isinstance(other, RDD):
            raise QueryError(f"{caller()}: {call}() of an RDD takes an RDD, not {shortened(other)}")
        if other._context is self._context:
            return other._at
        return source_at(self._context, sources.from_list(other.collect()), "rdd")

    # -- actions -------------------------------------------------------------------------------------------------------

    def collect(self) -> list[Any]:
        """All rows: partition after partition, those that were shuffled in canonical order of their keys."""
        graph = StreamGraph("batch")
        mine = graph.adopt([self._at.draft], self._context.graph)
        at = replace(self._at, draft=mine[self._at.draft.id])
        graph.add("collect", Kind.SINK, _Collect(), [Input(*at.feed(keyed=False), Reach.KEYS)])
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

    def _merged(self, call: str, function: Any) -> list[Any]:
        """The one row that all rows are merged to, if there are any."""
        return self._new(all_in_one(self._context, self._at, checked_merging(call, function))).collect()


def _one(_: Any) -> int:
    return 1


def rdd_of(source: Source, batch: Batch | None = None) -> RDD:
    """The RDD of all that a bounded source has."""
    batch = batch or Batch()
    return RDD(batch, source_at(batch, source, source.name))


def parallelize(rows: Iterable[Any], batch: Batch | None = None) -> RDD:
    """The RDD of rows in memory."""
    return rdd_of(sources.from_list(rows), batch)
