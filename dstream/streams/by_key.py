"""One row per key, and where the rows of a key lie."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from dstream.datasets import Grouped, Union
from dstream.pairs import Merging
from dstream.streams.base import S, Steps
from dstream.streams.stages import checked_merging, first, gathered, moved, reduced, second, wide
from elastic.callables import add_query_room, caller, check_function, describe, shortened
from elastic.errors import QueryError
from elastic.surface import surface

add_query_room(__file__)


@surface
class ByKeySteps(Steps[S]):
    """Steps whose rows are merged or moved: most of them behind a shuffle."""

    def count_by_value(self) -> S:
        """Pairs of each different row and how often it is there."""
        paired = self._at.then("with_one", "count_by_value()", None)
        return self._new(reduced(self._context, paired, Merging("count_by_value", operator.add, "sum")))

    def reduce_by_key(self, function: Callable[[Any, Any], Any], *, name: str | None = None) -> S:
        """One pair per key: its values merged by an associative function, before the shuffle as far as possible."""
        return self._new(reduced(self._context, self._at, checked_merging("reduce_by_key", function), name=name))

    def group_by_key(self) -> S:
        """One pair per key: the list of its values."""
        return self._new(wide(self._context, "group_by_key", Grouped(self._context.key_groups), [(self._at, None)]))

    def combine_by_key(
        self, create: Callable[[Any], Any], merge_value: Callable[[Any, Any], Any],
        merge_combiners: Callable[[Any, Any], Any],
    ) -> S:  # fmt: skip
        """One pair per key: ``create`` of its first value, the others merged in; partial results merged in the end."""
        check_function("combine_by_key", create)
        check_function("combine_by_key", merge_value, called="two values", arguments=2)
        check_function("combine_by_key", merge_combiners, called="two values", arguments=2)
        combined = self._at.then("map_partitions", "combine_by_key()", partial(_combine, create, merge_value))
        return self._new(reduced(self._context, combined, Merging("combine_by_key", merge_combiners)))

    def distinct(self) -> S:
        """Each different row once."""
        paired = self._at.then("with_one", "distinct()", None)
        found = reduced(self._context, paired, Merging("distinct", operator.add, "sum"))
        return self._new(found.then("map", "distinct()", first))

    def sort_by(self, key: Callable[[Any], Any], ascending: bool = True) -> S:  # noqa: FBT001, FBT002 (as in Spark)
        """The same rows in the order of what the function gives for each; all of them in one partition.

        Args:
            key: What rows are compared by; rows of which it gives the same keep their order.
            ascending: The smallest is the first.
        """
        check_function("sort_by", key)
        return self._sorted(f"sort_by({describe(key)})", key, ascending=ascending)

    def sort_by_key(self, ascending: bool = True) -> S:  # noqa: FBT001, FBT002 (as in Spark)
        """The same pairs in the order of their keys; all of them in one partition."""
        return self._sorted("sort_by_key()", first, ascending=ascending)

    def _sorted(self, name: str, key: Callable[[Any], Any], *, ascending: bool) -> S:
        at = gathered(self._context, name.partition("(")[0], self._at)
        return self._new(at.then("flat_map", name, partial(_in_order, key, ascending)))

    def partition_by(self, partitions: int | None = None) -> S:
        """The same pairs, all of one key in one partition; what follows by key needs no further shuffle.

        Args:
            partitions: How many there are, and how many tasks each step by key after this one has; as many as of all
                others if None. At most as many as key groups.

        Raises:
            QueryError: ``partitions`` is no positive number.
        """
        tasks = checked_partitions("partition_by", partitions)
        return self._new(wide(self._context, "partition_by", Union(), [(self._at, None)], tasks=tasks))

    def repartition(self, partitions: int | None = None) -> S:
        """The same rows, spread evenly over so many partitions; over all tasks if None.

        Raises:
            QueryError: ``partitions`` is no positive number.
        """
        tasks = checked_partitions("repartition", partitions)
        numbered = self._at.then("map_partitions_with_index", "repartition()", _numbered)
        spread = wide(self._context, "repartition", Union(), [(numbered, None)], tasks=tasks)
        return self._new(spread.then("map", "repartition()", second))

    def cache(self) -> S:
        """The same rows, computed once for all that read them from here."""
        at = self._at
        return self._new(moved(self._context, "cache", at, keyed=at.by_key, every=at.every))

    persist = cache


def checked_partitions(call: str, partitions: Any) -> int | None:
    """A number of partitions; None if none was said.

    Raises:
        QueryError: It is no positive number.
    """
    if partitions is None or (type(partitions) is int and partitions > 0):
        return partitions
    raise QueryError(
        f"{caller()}: {call}({shortened(partitions)}) takes how many partitions there are to be: 1 or more"
    )


def _numbered(partition: int, rows: Iterable[Any]) -> list[tuple[tuple[int, int], Any]]:
    return [((partition, n), row) for n, row in enumerate(rows)]


def _in_order(key: Callable[[Any], Any], ascending: Any, group: tuple[None, list[Any]]) -> list[Any]:
    return sorted(group[1], key=key, reverse=not ascending)


def _combine(create: Callable[..., Any], merge_value: Callable[..., Any], rows: Iterable[Any]) -> list[tuple[Any, Any]]:
    so_far: dict[Any, Any] = {}
    for key, value in rows:
        so_far[key] = merge_value(so_far[key], value) if key in so_far else create(value)
    return list(so_far.items())
