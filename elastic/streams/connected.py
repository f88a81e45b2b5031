"""Several keyed streams as the inputs of one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elastic.graph import Graph
from elastic.nodes import applied
from elastic.operators.base import Operator
from elastic.plan import OnError
from elastic.surface import surface

if TYPE_CHECKING:
    from elastic.streams.keyed import KeyedStream
    from elastic.streams.plain import Stream


@surface
class ConnectedStreams:
    """Several keyed streams, as the inputs of one operator."""

    def __init__(self, graph: Graph, streams: Sequence[KeyedStream]) -> None:
        self._graph, self._streams = graph, tuple(streams)

    def __repr__(self) -> str:
        return f"<ConnectedStreams: {', '.join(map(repr, self._streams))}>"

    def apply(self, operator: Operator, *, on_error: OnError = "fail", name: str | None = None) -> Stream:
        """What an operator of your own yields, whose class names as many ``inputs``; see ``KeyedStream.apply``.

        Raises:
            QueryError: The operator has other inputs, or is none.
        """
        paths = [stream._read() for stream in self._streams]
        return self._streams[0]._applied(applied(self._graph, paths, operator, on_error, name))
