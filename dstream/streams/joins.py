"""Several datasets: their rows together, or key by key."""

from __future__ import annotations

from typing import Any

from dstream.datasets import How, Joined, Union
from dstream.plan import Input, Kind, Reach
from dstream.streams.base import Bounded, S, Steps
from dstream.streams.stages import At, plain, slide_of, wide
from elastic.callables import add_query_room
from elastic.surface import surface

add_query_room(__file__)


@surface
class JoinSteps(Steps[S]):
    """Steps that read other datasets too."""

    def union(self, *others: S | Bounded[Any]) -> S:
        """The rows of all."""
        ats = [self._at, *(self._mine("union", other) for other in others)]
        every = slide_of("union", ats)
        inputs = [Input(*at.feed(keyed=False), Reach.KEYS) for at in ats]
        draft = self._context.graph.add("union", Kind.TASK, plain(Union()), inputs, every=every)
        return self._new(At(draft, every=every))

    def cogroup(self, other: S | Bounded[Any]) -> S:
        """Pairs of each key of either with two lists: its values here and there."""
        return self._join("cogroup", other)

    def join(self, other: S | Bounded[Any]) -> S:
        """For each key of both, each pair of a value here and a value there."""
        return self._join("inner", other)

    def left_outer_join(self, other: S | Bounded[Any]) -> S:
        """The same; a key that the other lacks has None in the place of its value."""
        return self._join("left", other)

    def right_outer_join(self, other: S | Bounded[Any]) -> S:
        """The same; a key that this one lacks has None."""
        return self._join("right", other)

    def full_outer_join(self, other: S | Bounded[Any]) -> S:
        """The same; a key that either lacks has None."""
        return self._join("full", other)

    def subtract_by_key(self, other: S | Bounded[Any]) -> S:
        """The pairs whose keys the other has not."""
        both = self._join("cogroup", other)
        return both.flat_map(_unmatched)  # type: ignore[attr-defined, no-any-return]

    def _join(self, how: How, other: Any) -> S:
        call = how if how == "cogroup" else "join"
        right = self._mine(call, other)
        joined = Joined(how, self._context.key_groups)
        return self._new(wide(self._context, call, joined, [(self._at, None), (right, None)]))


def _unmatched(group: tuple[Any, tuple[list[Any], list[Any]]]) -> list[tuple[Any, Any]]:
    key, (mine, others) = group
    return [] if others else [(key, value) for value in mine]
