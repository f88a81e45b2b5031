"""Which rows rank highest: the order that both levels of ``top_k`` agree on, and ranks by slot.

Higher ranks come first. Of equal ranks the key that comes first by its encoding does, so that ties are decided by
nothing but the rows. NaN ranks as negative infinity does.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column, Groups, Indices, columnar, rows
from elastic.keys import value_order
from elastic.operators.accumulator import MISSING, values_at
from elastic.operators.integers import as_numbers, grown


class Entry(NamedTuple):
    """A key that ranks among the first of its key group.

    Attributes:
        rank: By which it does.
        code: The key, encoded; see ``elastic.keys.encode_key``.
        row: The key's latest row.
        changed: The tick at which that came.
    """

    rank: Any
    code: bytes
    key: Any
    row: Any
    changed: int


def first(entries: Iterable[Entry], k: int) -> list[Entry]:
    """The ``k`` entries that rank highest, highest first.

    Raises:
        TypeError: Two ranks cannot be compared.
    """
    by_key = sorted(entries, key=attrgetter("code"))
    return sorted(by_key, key=attrgetter("rank"), reverse=True)[:k]


class Ranks:
    """A rank per slot: a column of int64 or of doubles while all ranks are one of these, else Python objects."""

    def __init__(self) -> None:
        self._values: npt.NDArray[Any] | list[Any] = []
        self._size = 0  # slots that may hold a rank; a column has room for more

    def put(self, slots: Indices, ranks: Column, size: int) -> Indices:
        """Set the ranks of different slots below ``size``; returns those of them whose rank was higher before.

        Raises:
            TypeError: A rank is None, or cannot be compared with the one before it.
        """
        numbers = as_numbers(ranks)
        if numbers is not None and numbers.dtype == np.float64:
            numbers = np.where(np.isnan(numbers), -np.inf, numbers)
        if numbers is not None and not len(self._values):
            self._values = np.empty(0, numbers.dtype)
        if numbers is not None and isinstance(self._values, np.ndarray) and self._values.dtype == numbers.dtype:
            lowest = -np.inf if numbers.dtype == np.float64 else np.iinfo(np.int64).min
            self._values = grown(self._values, size, lowest)
            fell = slots[numbers < self._values[slots]]
            self._values[slots] = numbers
            self._size = size
            return fell
        return self._put_objects(slots, rows(ranks), size)

    def _put_objects(self, slots: Indices, ranks: list[Any], size: int) -> Indices:
        if isinstance(self._values, np.ndarray):
            self._values = self._values[: self._size].tolist()
        self._values += [MISSING] * (size - len(self._values))
        fell = []
        for slot, rank in zip(slots.tolist(), ranks, strict=True):
            if rank is None:
                raise TypeError("a row cannot rank by None: leave such rows out with a filter")
            before = self._values[slot]
            self._values[slot] = now = rank if rank == rank else -np.inf  # noqa: PLR0124 (what NaN is)
            if before is not MISSING and now < before:
                fell.append(slot)
        return np.array(fell, np.int64)

    def at(self, slots: Indices) -> Column:
        """The ranks at the slots."""
        if isinstance(self._values, np.ndarray):
            return pa.array(self._values[slots])
        return columnar(values_at(self._values, slots))

    def leaders(self, slots: Indices, groups: Groups, keys: Any, k: int) -> Indices:
        """Those of the slots that rank highest in their key group, ``k`` of each; in any order.

        Args:
            slots: Different ones.
            groups: The key group of each.
            keys: Gives the keys at some slots.
            k: How many.

        Raises:
            TypeError: Two ranks cannot be compared.
        """
        if not isinstance(self._values, np.ndarray):
            return self._leading_objects(slots, groups, keys, k)
        ranks = self._values[slots]
        down = ~ranks if ranks.dtype == np.int64 else -ranks
        order = np.lexsort((down, groups))
        slots, groups, down = slots[order], groups[order], down[order]
        start = np.searchsorted(groups, groups)
        last = np.minimum(start + k, np.searchsorted(groups, groups, side="right")) - 1
        near = np.flatnonzero(down <= down[last])  # the first k of each group, and whoever ties with the k-th
        slots, groups, down = slots[near], groups[near], down[near]
        by_key = np.empty(len(slots), np.int64)
        by_key[value_order(keys(slots))] = np.arange(len(slots))
        order = np.lexsort((by_key, down, groups))
        slots, groups = slots[order], groups[order]
        leading: Indices = slots[np.arange(len(slots)) - np.searchsorted(groups, groups) < k]
        return leading

    def _leading_objects(self, slots: Indices, groups: Groups, keys: Any, k: int) -> Indices:
        by_key = slots[value_order(keys(slots))].tolist()
        group_of = dict(zip(slots.tolist(), groups.tolist(), strict=True))
        of_group: dict[int, list[int]] = {}
        for slot in by_key:
            of_group.setdefault(group_of[slot], []).append(slot)
        ranked = [sorted(own, key=self._values.__getitem__, reverse=True)[:k] for own in of_group.values()]
        return np.array([slot for own in ranked for slot in own], np.int64)
