"""What streams and RDDs have in common: rows that are still to be computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from dstream.graph import StreamGraph
from dstream.streams.spelling import Spelling
from dstream.streams.stages import At, Builds
from elastic.surface import surface

S = TypeVar("S")


@surface
class Steps(Spelling, ABC, Generic[S]):
    """A stream, or an RDD: ``S`` is what its methods give.

    Attributes:
        _at: Where its rows come from.
    """

    def __init__(self, context: Builds, at: At) -> None:
        self._context, self._at = context, at

    def __repr__(self) -> str:
        steps = "".join(f".{piece.name}" for piece in self._at.pieces)
        return f"<{type(self).__name__} {self._at.draft.name}{steps}>"

    @abstractmethod
    def _new(self, at: At) -> S:
        """What has the rows from there."""

    @abstractmethod
    def _mine(self, call: str, other: Any) -> At:
        """Where the rows of another one come from, in the same graph.

        Raises:
            QueryError: It is no such thing, or belongs elsewhere.
        """


class Bounded(Steps[S]):
    """A dataset that is all there: an RDD."""

    @abstractmethod
    def collect(self) -> list[Any]:
        """All rows."""


def at_of(steps: Steps[Any]) -> At:
    """Where the rows of a stream or an RDD come from."""
    return steps._at  # noqa: SLF001 (of the same class)


def graph_of(steps: Steps[Any]) -> StreamGraph:
    """The stages among which those of a stream or an RDD are."""
    return steps._context.graph  # noqa: SLF001 (of the same class)
