"""Rows whose key was not seen before: a table of keys, each with the tick at which it was emitted last.

Nothing is emitted that depends on more than the key's own rows, so a cut shows in no result. With a time to live, a key
counts as new again once it is that old; what is too old is thrown away when it is more than what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from elastic.batch import Batch, Column, Indices, columnar, concat, joined, take
from elastic.keys import groups_of, sort_order
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.integers import grown
from elastic.operators.slots import KeySlots
from elastic.state.processing import StateTable, dict_keys

_FEW = 1024
"""So many keys are not worth throwing away."""


@dataclass(frozen=True, slots=True)
class Distinct:
    """``distinct`` of a query; ``make`` gives the processor of one instance.

    Attributes:
        ttl_ms: A key is new again so long after it was emitted; None for never.
        functions: Of the user's, that the operator itself calls: none.
    """

    ttl_ms: int | None = None
    functions: tuple[Any, ...] = ()

    def make(self, context: ProcessorContext) -> DistinctProcessor:
        """The processor of one instance, without any key."""
        ttl_ticks = None if self.ttl_ms is None else -(-self.ttl_ms // context.tick_ms)
        return DistinctProcessor(context.key_groups, ttl_ticks)


class DistinctProcessor(Processor):
    """One instance: emits the first row of each key that it has not, or no longer, seen."""

    def __init__(self, key_groups: int, ttl_ticks: int | None) -> None:
        self._key_groups, self._ttl_ticks = key_groups, ttl_ticks
        self._slots = KeySlots()
        self._emitted = np.empty(0, np.int64)  # by slot, with room to grow: tick
        self._latest = self._saved = -1
        self._gone: list[Column] = []  # keys thrown away since the last checkpoint

    def __len__(self) -> int:
        return len(self._slots)

    def process(self, tick: TickInput) -> list[Output]:
        """Emit the rows of the keys that are new, in canonical order."""
        found = [f for batch in joined([b for _, b in tick.slices]) if (f := self._new(batch, tick.tick)) is not None]
        if not found:
            return []
        slots = np.concatenate([s for s, _ in found])
        rows = concat([r for _, r in found])
        self._latest = tick.tick
        keys = self._slots.take(slots)
        groups = groups_of(keys, self._key_groups)
        order = sort_order(groups, keys)
        output = Output(groups[order], take(rows, order), take(keys, order))
        self._throw_away(tick.tick)
        return [output]

    def _new(self, batch: Batch, tick: int) -> tuple[Indices, Column] | None:
        """Slots of the new keys, each once, and their first rows."""
        assert batch.keys is not None
        slots = self._slots.of(batch.keys)
        self._emitted = grown(self._emitted, len(self._slots), _NEVER)
        fresh = np.flatnonzero(self._emitted[slots] <= self._forgotten(tick))
        if not len(fresh):
            return None
        new, first = np.unique(slots[fresh], return_index=True)
        self._emitted[new] = tick
        rows = batch.keys if batch.values is None else batch.values
        return new, take(rows, fresh[first])

    def _forgotten(self, tick: int) -> int:
        """What was emitted at this tick or before counts as never seen."""
        return _NEVER if self._ttl_ticks is None else tick - self._ttl_ticks

    def _throw_away(self, tick: int) -> None:
        """Forget the keys that are too old, if they are more than the others."""
        if self._ttl_ticks is None or len(self) < _FEW:
            return
        emitted = self._emitted[: len(self)]
        old = np.flatnonzero(emitted <= self._forgotten(tick))
        if len(old) <= len(self) // 2:
            return
        self._gone.append(self._slots.take(old))
        kept = np.flatnonzero(emitted > self._forgotten(tick))
        keys, ticks = self._slots.take(kept), emitted[kept]
        self._slots = KeySlots()
        self._put(keys, ticks)

    def _put(self, keys: Column, ticks: Any) -> None:
        slots = self._slots.of(keys)
        self._emitted = grown(np.empty(0, np.int64), len(self._slots), _NEVER)
        self._emitted[slots] = ticks

    def delta(self) -> StateTable:
        """Keys that were emitted since the last checkpoint, and those that were thrown away."""
        table = self._table(np.flatnonzero(self._emitted[: len(self)] > self._saved))
        if not self._gone:
            return table
        gone = concat(self._gone)
        self._gone = []
        gone = take(gone, np.flatnonzero(~self._slots.knows(gone)))  # others have come again
        keys = columnar(list(dict.fromkeys(dict_keys(gone))))
        return StateTable(table.groups, table.keys, table.fields, groups_of(keys, self._key_groups), keys)

    def full(self) -> StateTable:
        """All keys."""
        self.clean()
        return self._table(np.arange(len(self)))

    def clean(self) -> None:
        """Which keys were thrown away is forgotten."""
        self._gone = []

    def _table(self, slots: Indices) -> StateTable:
        self._saved = self._latest
        keys = self._slots.take(slots)
        return StateTable(groups_of(keys, self._key_groups), keys, {"emitted": pa.array(self._emitted[slots])})

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        self._put(table.keys, np.asarray(table.fields["emitted"], np.int64))
        self._latest = self._saved = int(self._emitted[: len(self)].max(initial=-1))


_NEVER = -(2**62)
"""The tick at which a key was emitted that never was."""
