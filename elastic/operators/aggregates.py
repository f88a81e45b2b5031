"""Keyed aggregates: count, sum, mean, min, max, reduce, aggregate; state as columns, one slot per key.

A key's rows reach it in canonical order slice by slice, since every slice is in that order and the slices follow the
upstream intervals. What order the rows of *different* keys come in is all that a merge would settle, and no aggregate
can see it: so none is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from elastic.batch import Batch, Column, Groups, Indices, Pairs, columnar, joined, rows, take
from elastic.operators.accumulator import Accumulator
from elastic.operators.accumulators import Counts, Extremes, Means, Sums
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.folding import Foldings, Reductions, accumulated
from elastic.operators.intake import AS_IT_IS, Intake, Taking
from elastic.operators.integers import grown
from elastic.operators.slots import KeySlots, SlotOrder
from elastic.plan import Folding
from elastic.state.processing import StateTable

EMPTY = -2
"""In place of the tick of a slot's last change: every row of its key has failed."""

Kind = Literal["count", "sum", "mean", "min", "max", "reduce", "aggregate"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A keyed aggregate of the query; ``make`` gives the processor of one instance.

    Attributes:
        kind: ``count`` takes no values; ``sum`` adds from 0 as Python does, integers exactly, and ``mean`` divides that
            by their number; ``min`` and ``max`` keep the first of equal values; ``reduce`` starts from a key's first
            value, ``aggregate`` from a new accumulator.
        emit_ticks: Ticks between emissions; 1 for every tick, 0 for the end only.
        function: Of ``reduce``: (value so far, new value) to the next value. It must change neither in place.
            Of ``aggregate``: its functions.
        taking: What is done to its rows before.
    """

    kind: Kind
    emit_ticks: int
    function: Callable[[Any, Any], Any] | Folding | None = None
    taking: Taking = AS_IT_IS

    @property
    def functions(self) -> tuple[Any, ...]:
        """Functions that the operator calls, the user's among them."""
        return (self.function, *self.taking.functions)

    def taking_rows(self, taking: Taking) -> Aggregate:
        """The same for rows that come whole."""
        return replace(self, taking=taking)

    def make(self, context: ProcessorContext) -> AggregateProcessor:
        """The processor of one instance, without any key."""
        intake = Intake(self.taking, context)
        values = accumulator(self.kind, self.function, context.operator, careful=intake.careful)
        return AggregateProcessor(values, self.emit_ticks, intake)


def accumulator(
    kind: Kind, function: Callable[[Any, Any], Any] | Folding | None, operator: str, *, careful: bool = False
) -> Accumulator:
    """An empty accumulator of an aggregate; ``function`` as ``Aggregate`` has it.

    If it is ``careful``, nothing is left of a row on which the user's function raises: the aggregate goes on then.
    """
    match kind:
        case "count":
            return Counts()
        case "sum":
            return Sums(operator)
        case "mean":
            return Means(operator)
        case "min" | "max":
            return Extremes(operator, kind)
    if isinstance(function, Folding):
        return Foldings(operator, function, careful=careful)
    assert function is not None
    return Reductions(operator, function)


class AggregateProcessor(Processor):
    """One instance of an aggregate.

    Ticks of emission are the multiples of ``emit_ticks`` and the final one. What is pending follows from the tick of
    each key's last change: it is emitted at τ if that is after the last multiple before τ. So nothing else is restored.
    Rows go through the intake on their way to the accumulator, if there is one.
    """

    def __init__(self, accumulator: Accumulator, emit_ticks: int, intake: Intake | None = None) -> None:
        self._emit_ticks = emit_ticks
        self._values, self._intake = accumulator, intake
        self._slots = KeySlots()
        self._groups = np.empty(0, np.uint16)  # by slot, with room to grow
        self._changed = np.empty(0, np.int64)  # by slot, with room to grow: tick of the last change
        self._order = SlotOrder(self._slots)
        self._latest = -1  # tick of the last change of any key
        self._saved = -1  # through this tick, changes are in a checkpoint

    def __len__(self) -> int:
        return len(self._slots)

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Aggregate the rows; emit what is pending if it is the tick for it."""
        for batch in joined([batch for _, batch in tick.slices]):
            self._add(batch, tick.tick)
        every, found = self._emit_ticks, list[Output]()
        if tick.final or (every and tick.tick % every == 0):
            found = self.changed((tick.tick - 1) // every * every if every else -1)
        if self._intake is None:
            return found
        return [*(self._resolved(output, self._intake, tick.tick) for output in found), *self._intake.take()]

    def _resolved(self, output: Output, intake: Intake, tick: int) -> Output:
        """What is emitted, without keys of which the user's function made no result."""
        assert isinstance(output.values, Pairs)
        keys, values = output.values.keys, output.values.values
        bad = intake.unresolved(values)
        if not bad:
            return output
        at = np.array(list(bad), np.int64)
        good = np.setdiff1d(np.arange(len(output.groups)), at)
        records = [accumulated(rows(values)[n]) for n in bad]
        intake.fail(Batch(output.groups[at], take(keys, at), records), [*bad.values()], tick)
        keys = take(keys, good)
        return Output(output.groups[good], Pairs(keys, columnar(rows(take(values, good)))), keys)

    def due_after(self, tick: int) -> int | None:
        """The next tick of emission if some key changed since the last one."""
        every = self._emit_ticks
        if every == 0 or self._latest <= tick // every * every:
            return None
        return (tick // every + 1) * every

    def delta(self) -> StateTable:
        """Entries that changed since the last checkpoint; aggregates never delete one."""
        return self._table(np.flatnonzero(self._changed[: len(self)] > self._saved))

    def full(self) -> StateTable:
        """All entries."""
        return self._table(np.flatnonzero(self._changed[: len(self)] > EMPTY))

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        slots = self._slots.begin(table.keys)
        self._grow(slots, table.groups)
        fields = dict(table.fields)
        self._changed[slots] = np.asarray(fields.pop("changed"), np.int64)
        self._values.restore(slots, fields)
        self._latest = self._saved = int(self._changed[: len(self)].max(initial=-1))

    def _table(self, slots: Indices) -> StateTable:
        self._saved = self._latest
        keys = self._slots.take(slots)
        fields = {"changed": pa.array(self._changed[slots]), **self._values.table(keys, slots)}
        return StateTable(self._groups[slots], keys, fields)

    def _add(self, batch: Batch, tick: int) -> None:
        assert batch.keys is not None
        slots = self._slots_of(batch.keys, batch.groups)
        added = None
        if self._intake is None:
            self._values.add(slots, batch, tick)
        else:
            added = self._intake.add(self._values, slots, batch, tick)
        self._changed[slots if added is None else slots[added]] = tick
        self._latest = tick

    def _slots_of(self, keys: Column, groups: Groups) -> Indices:
        """The slot of each row's key; new keys get one, and a place in every column."""
        known = len(self._slots)
        slots = self._slots.of(keys)
        if len(self._slots) > known:
            fresh = slots >= known
            self._grow(slots[fresh], groups[fresh])
        return slots

    def _grow(self, slots: Indices, groups: Groups) -> None:
        """A place in every column for all keys; the new ones are given."""
        self._groups = grown(self._groups, len(self._slots))
        self._changed = grown(self._changed, len(self._slots))
        self._values.grow(len(self._slots))
        self._groups[slots], self._changed[slots] = groups, EMPTY

    def changed(self, after: int) -> list[Output]:
        """Every key that changed after the tick, with its value now, in canonical order; all keys after tick -1."""
        slots = np.flatnonzero(self._changed[: len(self)] > after)
        if not len(slots):
            return []
        slots = self._order.of(slots, self._groups)
        keys = self._slots.take(slots)
        return [Output(self._groups[slots], Pairs(keys, self._values.results(keys, slots)), keys)]
