"""The dataset of a window that is kept up: what enters it is merged in, what leaves it is taken out.

As all state it is advanced in place, and versions of it are cut: all of it, or what was written since the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dstream.datasets import ROWS, SNAPSHOT, Dataset
from dstream.logic import Content, Given, LogicContext
from dstream.merges import WindowValues
from dstream.pairs import Merging, one
from elastic.batch import Batch, Column, Groups, Indices, Pairs
from elastic.operators.integers import grown
from elastic.operators.slots import KeySlots, SlotOrder
from elastic.state.processing import StateTable


@dataclass(frozen=True)
class Sliding:
    """A window's merged values per key, kept up: what enters it is merged in, what leaves it is taken out.

    The first input is of the intervals that enter and of the one that leaves: (length, 0) intervals back. A key stays
    as long as some interval of the window has it, so what is given equals what merging the whole window gives.
    """

    merging: Merging
    inverse: Callable[[Any, Any], Any]

    def __call__(self, context: LogicContext) -> Dataset:
        return _Sliding(self, context)


SPARE_SLOTS = 1000
"""So many slots, and as many as there are keys, may be of keys that have left the window."""


class _Sliding(Dataset):
    """Keys have slots; a slot that no interval of the window has any more is given up once they are many."""

    def __init__(self, made_by: Sliding, context: LogicContext) -> None:
        self._made_by, self._key_groups = made_by, context.runtime.key_groups
        self._clear()

    def _clear(self) -> None:
        self._slots = KeySlots()
        self._order = SlotOrder(self._slots)
        self._values = WindowValues(self._made_by.merging, self._made_by.inverse)
        self._groups = np.empty(0, np.uint16)  # by slot, with room to grow
        self._counts = np.empty(0, np.int64)  # the same: how many intervals of the window have the key
        self._written = np.empty(0, bool)  # the same: since a version was cut
        self._is_new = True  # slots have been numbered anew since then

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        leaving, entering = given.inputs[0]
        for batch in _batches(leaving):
            self._leave(batch, given.through)
        for batch in _batches(entering):
            self._enter(batch, given.through)
        present = np.flatnonzero(self._counts[: len(self._slots)])
        if len(self._slots) > 2 * len(present) + SPARE_SLOTS:
            self.restore(self._table(present))
            present = np.arange(len(present))
        if not len(present):
            return {ROWS: [], SNAPSHOT: []}
        slots = self._order.of(present, self._groups)
        keys = self._slots.take(slots)
        column = Pairs(one(keys), one(self._values.at(keys, slots)))
        return {ROWS: column, SNAPSHOT: column}

    def _leave(self, batch: Batch, tick: int) -> None:
        assert batch.keys is not None
        assert batch.values is not None
        slots = self._slots.of(batch.keys)
        self._counts[slots] -= 1
        self._written[slots] = True
        self._values.leave(slots, batch.keys, batch.values, tick)
        self._values.clear(slots[self._counts[slots] == 0])

    def _enter(self, batch: Batch, tick: int) -> None:
        assert batch.keys is not None
        assert batch.values is not None
        slots = self._slots_of(batch.keys, batch.groups)
        self._counts[slots] += 1
        self._written[slots] = True
        self._values.enter(slots, batch.keys, batch.values, tick)

    def _slots_of(self, keys: Column, groups: Groups) -> Indices:
        slots = self._slots.of(keys)
        size = len(self._slots)
        self._groups, self._counts = grown(self._groups, size), grown(self._counts, size)
        self._written = grown(self._written, size)
        self._values.grow(size)
        self._groups[slots] = groups
        return slots

    def full(self) -> StateTable:
        self._cut()
        return self._table(np.flatnonzero(self._counts[: len(self._slots)]))

    def delta(self) -> StateTable | None:
        if self._is_new:
            return None
        written = np.flatnonzero(self._written[: len(self._slots)])
        self._cut()
        table, gone = self._table(written[self._counts[written] > 0]), written[self._counts[written] == 0]
        if not len(gone):
            return table
        return StateTable(table.groups, table.keys, table.fields, self._groups[gone], self._slots.take(gone))

    def _cut(self) -> None:
        self._written[:], self._is_new = False, False

    def _table(self, slots: Indices) -> StateTable:
        keys = self._slots.take(slots)
        fields = {"value": self._values.table(keys, slots), "count": pa.array(self._counts[slots])}
        return StateTable(self._groups[slots], keys, fields)

    def restore(self, table: StateTable) -> None:
        self._clear()
        slots = self._slots_of(table.keys, table.groups)
        self._counts[slots] = np.asarray(table.fields["count"])
        self._values.put(slots, table.fields["value"])

    def __len__(self) -> int:
        return int(np.count_nonzero(self._counts[: len(self._slots)]))


def _batches(contents: Sequence[Content]) -> list[Batch]:
    return [batch for content in contents for _, batch in content if len(batch)]
