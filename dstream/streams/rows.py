"""Row by row, and partition by partition: narrow steps, pipelined in the tasks before them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dstream.flow import Kind as PieceKind
from dstream.streams.base import S, Steps
from elastic.callables import add_query_room, check_function, describe
from elastic.surface import surface

add_query_room(__file__)


@surface
class RowSteps(Steps[S]):
    """Steps without a shuffle."""

    def map(self, function: Callable[[Any], Any]) -> S:
        """One row per row: what the function returns."""
        return self._step("map", function)

    def filter(self, function: Callable[[Any], Any]) -> S:
        """The rows for which the function returns something true."""
        return self._step("filter", function, keeps_keys=True)

    def flat_map(self, function: Callable[[Any], Any]) -> S:
        """Any number of rows per row: all that the function returns or yields, in order."""
        return self._step("flat_map", function, one_row=False)

    def map_values(self, function: Callable[[Any], Any]) -> S:
        """Pairs with the same keys, and what the function returns for each value."""
        return self._step("map_values", function, keeps_keys=True)

    def flat_map_values(self, function: Callable[[Any], Any]) -> S:
        """For each pair any number of pairs with the same key, one for each value that the function gives."""
        return self._step("flat_map_values", function, keeps_keys=True, one_row=False)

    def map_partitions(self, function: Callable[[Any], Any]) -> S:
        """All that the function gives when it is called with an iterator over a whole partition."""
        return self._step("map_partitions", function, one_row=False)

    def map_partitions_with_index(self, function: Callable[[int, Any], Any]) -> S:
        """The same; the function is called with the partition's number before it."""
        return self._step("map_partitions_with_index", function, one_row=False, arguments=2)

    def glom(self) -> S:
        """One row per partition: the list of its rows."""
        self._context.graph.refuse_started("glom")
        return self._new(self._at.then("map_partitions", "glom()", _glom))

    def _step(
        self, kind: PieceKind, function: Any, *, keeps_keys: bool = False, one_row: bool = True, arguments: int = 1
    ) -> S:
        self._context.graph.refuse_started(kind)
        check_function(kind, function, one_row=one_row, arguments=arguments)
        return self._new(self._at.then(kind, f"{kind}({describe(function)})", function, keeps_keys=keeps_keys))


def _glom(rows: Iterable[Any]) -> list[list[Any]]:
    return [list(rows)]
