"""What is left of a stream that ends in a sink."""

from __future__ import annotations

from collections.abc import Mapping

from elastic.graph import Graph
from elastic.streams.base import BaseStream, NamedOutput
from elastic.surface import surface


@surface
class Sunk(BaseStream):
    """A stream that has ended in a sink. With ``on_error="divert"`` it has the output ``errors``, and nothing else."""

    def __init__(self, graph: Graph, origin: str, outputs: Mapping[str, NamedOutput] | None = None) -> None:
        super().__init__(graph, [], origin, outputs)
        self._read()  # nothing goes on from here
