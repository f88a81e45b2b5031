"""Several datasets: their rows together, or key by key."""

from __future__ import annotations

from typing import Any

from dstream.datasets import Bounded, How, Joined, Union, by_key
from dstream.flow import as_pairs
from dstream.plan import Input, Kind, Reach
from dstream.streams.base import S, Steps
from dstream.streams.stages import At, plain, wide
from elastic.callables import add_query_room, caller, check_shippable
from elastic.errors import QueryError
from elastic.surface import surface

add_query_room(__file__)


@surface
class JoinSteps(Steps[S]):
    """Steps that read other datasets too."""

    def union(self, *others: S) -> S:
        """The rows of all."""
        ats = [self._at, *(self._mine("union", other) for other in others)]
        if len({at.every for at in ats}) > 1:
            raise QueryError(f"{caller()}: union() of streams with different slides; give their windows the same slide")
        inputs = [Input(*at.feed(keyed=False), Reach.KEYS) for at in ats]
        return self._new(At(self._context.graph.add("union", Kind.TASK, plain(Union()), inputs), every=self._at.every))

    def cogroup(self, other: S) -> S:
        """Pairs of each key of either with two lists: its values here and there."""
        return self._join("cogroup", other)

    def join(self, other: S | Bounded) -> S:
        """For each key of both, each pair of a value here and a value there; a stream takes an RDD too."""
        return self._join("inner", other)

    def left_outer_join(self, other: S | Bounded) -> S:
        """The same; a key that the other lacks has None in the place of its value."""
        return self._join("left", other)

    def right_outer_join(self, other: S) -> S:
        """The same; a key that this one lacks has None."""
        return self._join("right", other)

    def full_outer_join(self, other: S) -> S:
        """The same; a key that either lacks has None."""
        return self._join("full", other)

    def _join(self, how: How, other: Any) -> S:
        call = how if how == "cogroup" else "join"
        right = self._mine(call, other)
        joined = Joined(how, self._context.key_groups)
        return self._new(wide(self._context, call, joined, [(self._at, None), (right, None)]))


def joined_with(how: How, context: Any, at: At, static: Bounded) -> At:
    """A stream's rows with those of a dataset that is the same in every interval."""
    values = by_key(as_pairs(static.collect(), 0, "join"))
    check_shippable("the RDD", values)
    return wide(context, "join", Joined(how, context.key_groups, values), [(at, None)])
