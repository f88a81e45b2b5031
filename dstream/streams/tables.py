"""An RDD among streams: data that every interval has, as it is read in that interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dstream.datasets import SNAPSHOT, How, Joined, by_key
from dstream.flow import Channel
from dstream.graph import Draft
from dstream.pairs import as_pairs
from dstream.plan import Kind
from dstream.refreshed import Refreshed, read_whole
from dstream.state import Updating
from dstream.streams.base import Bounded, S, at_of, graph_of
from dstream.streams.joins import JoinSteps
from dstream.streams.stages import At, Builds, second, source_at, stateful, wide, with_none
from elastic.callables import add_query_room, check_shippable
from elastic.connectors.base import Source
from elastic.connectors.from_list import FromList

add_query_room(__file__)


_MIRRORED: Mapping[How, How] = MappingProxyType(
    {"inner": "inner", "left": "right", "right": "left", "full": "full", "cogroup": "cogroup"}
)


def _other_way_round(both: tuple[Any, Any]) -> tuple[Any, Any]:
    return both[1], both[0]


class TableSteps(JoinSteps[S]):
    """Steps of what is there in intervals together with RDDs.

    Those of data that is read anew are what they are in each interval. Others are computed once, when the step is
    written; joins, in which only keys of this side count, have all workers hold them.
    """

    _reads: bool = True
    """Whether data is read while steps are written."""

    def _join(self, how: How, other: Any) -> S:
        if not isinstance(other, Bounded) or how not in {"inner", "left"} or is_refreshed(other):
            return super()._join(how, other)
        values = by_key(as_pairs(other.collect(), 0, "join")) if self._reads else {}
        check_shippable("the RDD", values)
        held = Joined(how, self._context.key_groups, values)
        return self._new(wide(self._context, "join", held, [(self._at, None)]))

    def _table(self, rdd: Bounded[Any]) -> At:
        """Where an RDD's rows are, in the intervals in which this has rows."""
        return replace(table_at(self._context, rdd, reads=self._reads), every=self._at.every)


def joined_from(how: How, rdd: Bounded[Any], other: TableSteps[Any]) -> Any:
    """An RDD joined with what is there in every interval: a join of that, and the sides of its pairs change places."""
    both = other._join(_MIRRORED[how], rdd)  # noqa: SLF001 (of the same class)
    return both.map_values(_other_way_round)


def is_refreshed(rdd: Bounded[Any]) -> bool:
    """Whether an RDD comes from data that is read anew in every interval."""
    return any(isinstance(d.logic, Refreshed) for d in _lineage(rdd) if d.kind is Kind.SOURCE)


def table_at(context: Builds, rdd: Bounded[Any], *, reads: bool) -> At:
    """Where an RDD's rows are in every interval of a stream's context, which has all of its stages from then on.

    Args:
        context: Of the stream.
        rdd: What is to be had.
        reads: Its data is read now too, for intervals that end before it can be read in them. Else there is none then.

    Raises:
        SourceError: It cannot be read.
    """
    if not is_refreshed(rdd):
        return _table(context, FromList(rdd.collect() if reads else [], None), "rows", reads=reads)
    at = at_of(rdd)
    tables = {d.id: _table(context, d.logic, d.name, reads=reads) for d in _lineage(rdd) if d.kind is Kind.SOURCE}

    def behind(id: int, channel: Channel) -> Channel:
        table = tables.get(id)
        return channel if table is None else replace(channel, view=table.view, pieces=(*table.pieces, *channel.pieces))

    drafts = {id: table.draft for id, table in tables.items()}
    found = replace(at, draft=context.graph.adopt([at.draft], graph_of(rdd), drafts, behind)[at.draft.id])
    table = tables.get(at.draft.id)
    return found if table is None else replace(found, view=table.view, pieces=(*table.pieces, *at.pieces))


def _lineage(rdd: Bounded[Any]) -> Sequence[Draft]:
    return graph_of(rdd).leading_to([at_of(rdd).draft])


def _table(context: Builds, source: Source, name: str, *, reads: bool) -> At:
    """The rows that a source has in every interval: those of the newest reading."""
    refreshed = source if isinstance(source, Refreshed) else Refreshed(source, name)
    begin = ((None, read_whole(refreshed.source) if reads else []),)
    reading = source_at(context, refreshed, name).then("map", "reading", with_none)
    newest = stateful(context, f"{name}-newest", Updating("newest reading", _newest, begin), reading)
    return replace(newest, view=SNAPSHOT, by_key=False).then("flat_map", "rows", second)


def _newest(readings: list[list[Any]], before: list[Any] | None) -> list[Any] | None:
    return readings[-1] if readings else before
