"""Windows on keyed streams: what every kind of them has in common.

Rows are aggregated in cells. A window is emitted in the tick whose watermark reaches its end, and again in every later
tick that changes it, until its allowed lateness is over; then it is forgotten. By processing time the watermark is the
tick's own time, so nothing is ever late. Everything follows from the ticks: what is emitted when, and what is late.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Batch, Column, Indices, Pairs, Times, columnar, concat, joined, rows, take
from elastic.operators.accumulator import Accumulator
from elastic.operators.aggregates import Kind, accumulator
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.cells import Cells
from elastic.operators.folding import Gathered, accumulated
from elastic.operators.intake import AS_IT_IS, Intake, Taking
from elastic.operators.integers import grown
from elastic.operators.timestamps import END, seconds
from elastic.operators.window_results import LATE, LateRows, Windowful, WindowFunction
from elastic.plan import Folding
from elastic.state.processing import StateTable

COMPACT_CELLS = 1024
"""So many cells may be dead, or as many as live, before they are thrown out."""

NEVER = 2**63 - 1

NO_CELLS: Indices = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What is made of the rows of a window.

    Attributes:
        kind: An aggregate's, or ``gather`` for all rows.
        function: Of ``reduce``; of ``aggregate`` its functions; of ``gather`` what makes rows of the values.
        sided: Values are gathered with the number of the input that they came on.
        taking: What is done to rows before.
    """

    kind: Kind | Literal["gather"]
    function: Callable[..., Any] | Folding | None = None
    sided: bool = False
    taking: Taking = AS_IT_IS

    def accumulator(self, operator: str) -> Accumulator:
        """An empty one."""
        if self.kind == "gather":
            return Gathered(operator)
        return accumulator(self.kind, self.function, operator, careful=self.taking.on_error != "fail")


@dataclass(frozen=True, slots=True)
class Timing:
    """Whose time windows are in, and how long they are kept.

    Attributes:
        by_event_time: The rows', instead of the ticks'.
        lateness_us: How long after its end a window still takes rows.
    """

    by_event_time: bool
    lateness_us: int = 0


class WindowProcessor(Processor):
    """What the processors of all windows have in common.

    Cells are numbered; of each it is known when it was last changed, and an accumulator holds its aggregate. Cells that
    nothing can change any more are dead: thrown out from time to time, and at once from checkpoints.

    Attributes:
        late: The rows that came too late.
    """

    def __init__(self, aggregation: Aggregation, timing: Timing, context: ProcessorContext) -> None:
        self._aggregation, self._timing, self._context = aggregation, timing, context
        self._cells = Cells()
        self._values = self._empty()
        self._changed = np.empty(0, np.int64)  # by cell, with room to grow: tick of the last change
        self._dead = np.empty(0, bool)  # by cell, with room to grow
        self._saved_cells = 0  # cells below it are in a checkpoint
        self._saved = self._latest = -1  # through these ticks, changes are in a checkpoint; are there changes
        self._gone: list[tuple[npt.NDArray[np.uint16], Column]] = []
        self._intake = Intake(aggregation.taking, context)
        self.late = LateRows(context.operator, context.failures, is_read=LATE in context.read)

    def _empty(self) -> Accumulator:
        return self._aggregation.accumulator(self._context.operator)

    def __len__(self) -> int:
        return len(self._cells) - int(self._dead[: len(self._cells)].sum())

    # -- a tick --------------------------------------------------------------------------------------------------------

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Aggregate the rows, then emit the windows that end with the tick and those that it has changed."""
        before_us, reached_us = tick.before_us, tick.watermark_us
        if not self._timing.by_event_time:
            before_us = self._context.now_us(tick.tick - 1)
            reached_us = END if tick.final else self._context.now_us(tick.tick)
        self._take_in(tick, before_us)
        closed = [
            self._output(self._resolved(found, tick.tick), tick.tick)
            for found in self._closed(tick.tick, before_us, reached_us)
        ]
        self._forget(reached_us)
        outputs = [_one(kept)] if (kept := [output for output in closed if output is not None]) else []
        late = self.late.take(before_us, timed=self._context.event_time)
        return [*outputs, *late, *self._intake.take()]

    def _resolved(self, found: Windowful, tick: int) -> Windowful:
        """The windows of which the user's function made a result."""
        bad = self._intake.unresolved(found.values)
        if not bad:
            return found
        self._fail(found, bad, tick)
        return found.at(np.setdiff1d(np.arange(len(found.groups)), list(bad)))

    def _fail(self, found: Windowful, bad: Mapping[int, Exception], tick: int) -> None:
        """Nothing is emitted of these windows."""
        at = np.array(list(bad), np.int64)
        times, values = zip(found.starts[at].tolist(), found.ends[at].tolist(), strict=True), rows(found.values)
        records = [
            {"start": seconds(start), "end": seconds(end), "value": accumulated(values[n])}
            for n, (start, end) in zip(bad, times, strict=True)
        ]
        batch = Batch(found.groups[at], take(found.keys, at), records, times=found.ends[at] - 1)
        self._intake.fail(batch, [*bad.values()], tick)

    def _output(self, found: Windowful, tick: int) -> Output | None:
        function, timed = self._aggregation.function, self._context.event_time
        if self._aggregation.kind != "gather":
            return found.output(timed=timed)
        assert callable(function)
        apply: WindowFunction = function
        bad: dict[int, Exception] | None = {} if self._intake.careful else None
        output = found.applied(apply, self._context.operator, tick, timed=timed, bad=bad)
        if bad:
            self._fail(found, bad, tick)
        return output

    def _given(self, tick: TickInput) -> Iterator[tuple[Batch, Times]]:
        """The rows of a tick in as few batches as possible, and when they happened."""
        if self._aggregation.sided:
            batches = [_sided(batch, number) for number, batch in tick.slices]
        else:
            batches = joined([batch for _, batch in tick.slices])
        for batch in batches:
            if self._timing.by_event_time:
                assert batch.times is not None, "an edge to windows by event time carries times"
                yield batch, batch.times
            else:
                yield batch, np.full(len(batch), self._context.now_us(tick.tick))

    def _add(self, batch: Batch, panes: npt.NDArray[np.int64], tick: int) -> Indices:
        """Add rows to the cells of their keys and panes; the cell of each."""
        assert batch.keys is not None
        cells = self._cells.of(batch.keys, batch.groups, panes)
        self._grow()
        self._add_to(cells, batch, tick)
        return cells

    def _add_to(self, cells: Indices, batch: Batch, tick: int) -> Indices:
        """Add rows to these cells; a cell of which every row has failed is dead, and is told."""
        added = self._intake.add(self._values, cells, batch, tick)
        empty = NO_CELLS
        if added is not None:
            failed, cells = np.unique(cells[~added]), cells[added]
            empty = np.setdiff1d(failed[self._changed[failed] == 0], cells)
            self._dead[empty] = True
        if self._intake.careful:
            self._dead[cells] = False  # those of which every row had failed before
        self._changed[cells] = self._latest = tick
        return empty

    def _grow(self) -> None:
        size = len(self._cells)
        self._values.grow(size)
        self._changed, self._dead = grown(self._changed, size), grown(self._dead, size)

    @abstractmethod
    def _take_in(self, tick: TickInput, before_us: int) -> None:
        """Add the rows of a tick to cells; late ones to ``late``."""

    @abstractmethod
    def _closed(self, tick: int, before_us: int, reached_us: int) -> Iterator[Windowful]:
        """Windows that end in (before, reached], and those that ended before and were changed by the tick; once."""

    @abstractmethod
    def _forget(self, reached_us: int) -> None:
        """Bury the cells that nothing can change any more."""

    def _bury(self, cells: Indices) -> None:
        """These cells are dead from now on."""
        if not len(cells):
            return
        self._dead[cells] = True
        saved = cells[cells < self._saved_cells]
        if len(saved):
            self._gone.append((self._cells.groups[saved], self._names(saved)))
        dead = int(self._dead[: len(self._cells)].sum())
        if dead > max(COMPACT_CELLS, len(self._cells) - dead):
            self._compact()

    def _compact(self) -> None:
        live = np.flatnonzero(~self._dead[: len(self._cells)])
        fields = self._values.table(self._cells.take(live), live)
        self._saved_cells = int(np.searchsorted(live, self._saved_cells))
        self._cells, self._values = self._cells.kept(live), self._empty()
        self._changed, self._dead = self._changed[live], np.zeros(len(live), bool)
        self._grow()
        self._values.restore(np.arange(len(live)), fields)
        self._compacted(live)

    def _compacted(self, live: Indices) -> None:
        """Cells have new numbers: cell n is the one that was ``live[n]``."""

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _names(self, cells: Indices) -> Column:
        """What cells are called in checkpoints."""
        keys = self._cells.take(cells)
        assert not isinstance(keys, Pairs)
        return Pairs(keys, pa.array(self._cells.pane[cells]))

    def delta(self) -> StateTable:
        """Cells that changed since the last checkpoint, and those that died."""
        size = len(self._cells)
        changed = self._table(np.flatnonzero((self._changed[:size] > self._saved) & ~self._dead[:size]))
        gone, self._gone = self._gone, []
        self._saved, self._saved_cells = self._latest, size
        if not gone:
            return changed
        names = [names for _, names in gone]
        return StateTable(
            changed.groups, changed.keys, changed.fields, np.concatenate([g for g, _ in gone]), concat(names)
        )

    def full(self) -> StateTable:
        """All cells."""
        self.clean()
        self._saved, self._saved_cells = self._latest, len(self._cells)
        return self._table(np.flatnonzero(~self._dead[: len(self._cells)]))

    def clean(self) -> None:
        """Which cells died is forgotten."""
        self._gone = []

    def _table(self, cells: Indices) -> StateTable:
        fields = {"changed": pa.array(self._changed[cells]), **self._own_fields(cells)}
        fields |= self._values.table(self._cells.take(cells), cells)
        return StateTable(self._cells.groups[cells], self._names(cells), fields)

    def _own_fields(self, cells: Indices) -> dict[str, Column]:
        """What else is to be kept of cells."""
        return {}

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        names = table.keys
        if not isinstance(names, Pairs):  # rows of it may have come together with rows of another form
            pairs = rows(names)
            names = Pairs(columnar([key for key, _ in pairs]), pa.array([pane for _, pane in pairs], pa.int64()))
        panes = np.asarray(names.values, np.int64)
        cells = self._cells.of(names.keys, table.groups, panes)
        self._grow()
        fields = dict(table.fields)
        self._changed[cells] = np.asarray(fields.pop("changed"), np.int64)
        self._restore_own(cells, fields)
        self._values.restore(cells, fields)
        self._latest = self._saved = int(self._changed[: len(self._cells)].max(initial=-1))
        self._saved_cells = len(self._cells)

    def _restore_own(self, cells: Indices, fields: dict[str, Column]) -> None:
        """Take what ``_own_fields`` gave out of the fields."""


def _sided(batch: Batch, number: int) -> Batch:
    """The rows as (input, value)."""
    return replace(batch, values=[(number, value) for value in rows(batch.values)])


def _one(outputs: Sequence[Output]) -> Output:
    """Outputs of several kinds of windows as one, in canonical order of their groups."""
    if len(outputs) == 1:
        return outputs[0]
    groups = np.concatenate([o.groups for o in outputs])
    order = np.argsort(groups, kind="stable")
    keys = concat([o.keys for o in outputs if o.keys is not None])
    times = [o.times for o in outputs if o.times is not None]
    return Output(
        groups[order],
        take(concat([o.values for o in outputs]), order),
        take(keys, order),
        times=np.concatenate(times)[order] if times else None,
    )
