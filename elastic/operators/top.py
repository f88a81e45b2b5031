"""``top_k`` in two levels: the first of each key group, by its instances; the first of all, by one instance.

The first level works per key group and not per instance, since how key groups are cut into instances must show in no
result. At each tick of emission it sends the leaders of those groups in which they may have changed, and the second
level emits the places whose row is another one now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from elastic.batch import Column, Groups, Indices, Pairs, columnar, concat, joined, rows, take
from elastic.functions import ColumnFunction
from elastic.keys import encode_key, key_group
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.failure import row_at, user_error
from elastic.operators.integers import grown
from elastic.operators.ranking import Entry, Ranks, first
from elastic.operators.slots import KeySlots
from elastic.operators.snapshot import copied, freeze, thaw
from elastic.operators.steps import mapped, one_column
from elastic.state.processing import StateTable, dict_keys


@dataclass(frozen=True, slots=True)
class Leaders:
    """The first level of ``top_k``; ``make`` gives the processor of one instance.

    Attributes:
        k: How many of each key group.
        by: From a row to its rank; None where the row is its own rank.
        pairs: ``by`` takes ``(key, row)``.
        emit_ticks: Ticks between emissions; 1 for every tick, 0 for the end only.
    """

    k: int
    by: Callable[[Any], Any] | None
    pairs: bool
    emit_ticks: int = 0

    @property
    def functions(self) -> tuple[Any, ...]:
        """Functions that the operator calls, the user's among them."""
        return (self.by,)

    def make(self, context: ProcessorContext) -> LeadersProcessor:
        """The processor of one instance, without any key."""
        return LeadersProcessor(self, context)


class LeadersProcessor(Processor):
    """One instance of the first level: each key's latest row, and the tick at which it came.

    A group is sent if a key of it changed in the period and now leads, or fell: no other change can show.
    """

    def __init__(self, logic: Leaders, context: ProcessorContext) -> None:
        self._logic, self._context = logic, context
        self._slots = KeySlots()
        self._rows: list[Any] = []  # by slot
        self._ranks = Ranks()
        self._groups = np.empty(0, np.uint16)  # by slot, with room to grow; as are the next two
        self._changed = np.empty(0, np.int64)  # tick of the latest row
        self._fell = np.empty(0, np.int64)  # tick at which the rank last became a lower one
        self._latest = self._saved = -1
        self._leading: dict[int, Indices] = {}  # slots by group, as of the last emission: saves looking at all keys

    def __len__(self) -> int:
        return len(self._slots)

    def process(self, tick: TickInput) -> list[Output]:
        """Take the rows; emit what may have changed if it is the tick for it."""
        if tick.slices:
            self._add(tick)
        every = self._logic.emit_ticks
        if not tick.final and (every == 0 or tick.tick % every):
            return []
        return self._emitted((tick.tick - 1) // every * every if every else -1, tick.tick)

    def due_after(self, tick: int) -> int | None:
        """The next tick of emission if some key changed since the last one."""
        every = self._logic.emit_ticks
        if every == 0 or self._latest <= tick // every * every:
            return None
        return (tick // every + 1) * every

    def _add(self, tick: TickInput) -> None:
        """Keep the last row of each key; the whole tick at once, since a rank may rise and fall within it."""
        batches = joined([batch for _, batch in tick.slices])
        slots = np.concatenate([self._slots_of(b.keys, b.groups) for b in batches if b.keys is not None])
        last = np.empty(len(self._slots), np.int64)
        last[slots] = np.arange(len(slots))
        slots = np.unique(slots)
        column = take(concat([b.values for b in batches if b.values is not None]), last[slots])
        self._put(slots, column, tick.tick)
        self._changed[slots] = self._latest = tick.tick

    def _slots_of(self, keys: Column, groups: Groups) -> Indices:
        slots = self._slots.of(keys)
        size = len(self._slots)
        self._groups, self._changed = grown(self._groups, size), grown(self._changed, size, -1)
        self._fell = grown(self._fell, size, -1)
        self._groups[slots] = groups
        return slots

    def _put(self, slots: Indices, column: Column, tick: int) -> None:
        by, size, keys = self._logic.by, len(self._slots), self._slots.take(slots)
        ranks = column
        if by is not None:
            given = Pairs(one_column(keys), one_column(column)) if self._logic.pairs else column
            ranks = mapped(self._context.operator, by, given, tick)
        self._rows += [None] * (size - len(self._rows))
        for slot, row in zip(slots.tolist(), rows(column), strict=True):
            self._rows[slot] = row
        try:
            self._fell[self._ranks.put(slots, ranks, size)] = tick
        except TypeError as error:
            ranked = rows(ranks)
            at = next((n for n, rank in enumerate(ranked) if rank is None), 0)
            raise user_error(
                self._context.operator, tick, ranked[at], _unranked(error), key=row_at(keys, at)
            ) from error

    def _emitted(self, after: int, tick: int) -> list[Output]:
        size = len(self)
        changed = np.flatnonzero(self._changed[:size] > after)
        if not len(changed):
            return []
        fell = changed[self._fell[changed] > after]
        leading = self._lead(changed, fell, tick)
        now_leading = np.isin(changed, leading)
        groups = np.unique(np.concatenate([self._groups[changed[now_leading]], self._groups[fell]]))
        return [self._sent(groups)] if len(groups) else []

    def _lead(self, changed: Indices, fell: Indices, tick: int) -> Indices:
        """The leaders of groups in which a key changed; where none of the old ones fell, only these can be others."""
        touched = np.unique(self._groups[changed]).tolist()
        known = [self._leading[g] for g in touched if g in self._leading]
        fallen = fell[np.isin(fell, np.concatenate(known))] if known else fell
        anew = {g for g in touched if g not in self._leading} | set(self._groups[fallen].tolist())
        look_at_all = np.zeros(self._context.key_groups, bool)
        look_at_all[list(anew)] = True
        parts = [np.flatnonzero(look_at_all[self._groups[: len(self)]]), changed[~look_at_all[self._groups[changed]]]]
        parts += [self._leading[g] for g in touched if g not in anew]
        slots = np.unique(np.concatenate(parts))
        try:
            leading = self._ranks.leaders(slots, self._groups[slots], self._slots.take, self._logic.k)
        except TypeError as error:
            row, key = self._rows[int(changed[-1])], row_at(self._slots.take(changed[-1:]), 0)
            raise user_error(self._context.operator, tick, row, _unranked(error), key=key) from error
        of_group = self._groups[leading]
        for group in touched:
            self._leading[group] = leading[of_group == group]
        return leading

    def _sent(self, groups: Groups) -> Output:
        """A row for each group: its number, and its leaders, highest first."""
        values: list[Any] = []
        for group in groups.tolist():
            slots = self._leading[group]
            keys, ranks = rows(self._slots.take(slots)), rows(self._ranks.at(slots))
            given = copied(self._context.operator, keys, [self._rows[slot] for slot in slots.tolist()])
            ticks = self._changed[slots].tolist()
            entries = (
                Entry(rank, encode_key(key), key, row, changed)
                for rank, key, row, changed in zip(ranks, keys, given, ticks, strict=True)
            )
            values.append((group, tuple(map(tuple, first(entries, self._logic.k)))))
        return Output(groups.astype(np.uint16), values, [group for group, _ in values])

    def delta(self) -> StateTable:
        """Keys whose latest row came since the last checkpoint."""
        return self._table(np.flatnonzero(self._changed[: len(self)] > self._saved))

    def full(self) -> StateTable:
        """All keys."""
        return self._table(np.arange(len(self)))

    def _table(self, slots: Indices) -> StateTable:
        self._saved = self._latest
        keys = self._slots.take(slots)
        kept = freeze(self._context.operator, rows(keys), [self._rows[slot] for slot in slots.tolist()])
        fields: dict[str, Column] = {"changed": pa.array(self._changed[slots]), "fell": pa.array(self._fell[slots])}
        return StateTable(self._groups[slots], keys, {**fields, "row": kept, "rank": self._ranks.at(slots)})

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        slots = self._slots_of(table.keys, table.groups)
        self._rows = [None] * len(self._slots)
        for slot, row in zip(slots.tolist(), thaw(table.fields["row"]), strict=True):
            self._rows[slot] = row
        self._ranks.put(slots, table.fields["rank"], len(self._slots))
        self._changed[slots] = np.asarray(table.fields["changed"], np.int64)
        self._fell[slots] = np.asarray(table.fields["fell"], np.int64)
        self._latest = self._saved = int(self._changed[: len(self)].max(initial=-1))


ALL_TOGETHER = ColumnFunction("all together", lambda _: None, lambda column: pa.nulls(len(column)))
"""One key for all rows: the second level has one instance."""


@dataclass(frozen=True, slots=True)
class Top:
    """The second level of ``top_k``; ``make`` gives the processor of its one instance."""

    k: int
    functions: tuple[Any, ...] = ()

    def make(self, context: ProcessorContext) -> TopProcessor:
        """The processor, without any entry."""
        return TopProcessor(self.k, context)


class TopProcessor(Processor):
    """The leaders of every key group, and what was emitted last for each place."""

    def __init__(self, k: int, context: ProcessorContext) -> None:
        self._k, self._context = k, context
        self._group = key_group(None, context.key_groups)
        self._leaders: dict[int, tuple[Entry, ...]] = {}
        self._shown: list[tuple[bytes, int]] = []  # by place: key and tick of its row
        self._written: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._leaders)

    def process(self, tick: TickInput) -> list[Output]:
        """Take the leaders of groups; emit ``(place, key, row)`` for each place that has another row now."""
        for _, batch in tick.slices:
            for group, leaders in rows(_of(batch.values)):
                self._leaders[group] = tuple(Entry(*entry) for entry in leaders)
                self._written[group] = None
        if not tick.slices:
            return []
        every = [entry for leaders in self._leaders.values() for entry in leaders]
        try:
            now = first(every, self._k)
        except TypeError as error:
            ranks = [entry.rank for entry in every[:5]]
            raise user_error(self._context.operator, tick.tick, ranks, _unranked(error)) from error
        before, self._shown = self._shown, [(entry.code, entry.changed) for entry in now]
        places = [n for n, shown in enumerate(self._shown) if n >= len(before) or before[n] != shown]
        if not places:
            return []
        self._written[_SHOWN] = None
        values = [(n + 1, now[n].key, now[n].row) for n in places]
        values = copied(self._context.operator, [now[n].key for n in places], values)
        groups = np.full(len(places), self._group, np.uint16)
        return [Output(groups, values, columnar([now[n].key for n in places]))]

    def delta(self) -> StateTable:
        """Groups whose leaders were sent since the last checkpoint."""
        return self._table(list(self._written))

    def full(self) -> StateTable:
        """All groups."""
        return self._table([*self._leaders, _SHOWN])

    def _table(self, keys: list[int]) -> StateTable:
        self._written.clear()
        values = [tuple(map(tuple, self._leaders.get(key, self._shown))) for key in keys]
        groups = np.full(len(keys), self._group, np.uint16)
        return StateTable(groups, columnar(keys), {"entries": freeze(self._context.operator, keys, values)})

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        for key, entries in zip(dict_keys(table.keys), thaw(table.fields["entries"]), strict=True):
            if key == _SHOWN:
                self._shown = [(code, changed) for code, changed in entries]
            else:
                self._leaders[key] = tuple(Entry(*entry) for entry in entries)


_SHOWN = -1
"""Stands in the state where key groups stand, for what was emitted last."""


def _unranked(error: TypeError) -> TypeError:
    return TypeError(f"{error}; give top_k a function of what can be compared, such as top_k(10, by=field('price'))")


def _of(column: Column | None) -> Column:
    assert column is not None
    return column
