"""Session windows: a key's rows for as long as no two of them are a gap or more apart.

The rows of a tick are sorted by key and time and cut where a gap is: each piece goes into the sessions that it touches,
which it makes one, or begins a new one. So there is Python code per session of a tick, not per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Batch, Column, Indices, rows, take
from elastic.operators.base import ProcessorContext, TickInput
from elastic.operators.integers import grown
from elastic.operators.timestamps import BEGINNING
from elastic.operators.window_results import Windowful
from elastic.operators.windowed import NEVER, Aggregation, Timing, WindowProcessor
from elastic.windows import SessionWindows

_NEW, _LATE = -1, -2


class SessionProcessor(WindowProcessor):
    """One instance of session windows. A cell is a session; its pane is a name: where it began, if none had that."""

    def __init__(
        self, windows: SessionWindows, aggregation: Aggregation, timing: Timing, context: ProcessorContext
    ) -> None:
        super().__init__(aggregation, timing, context)
        self._gap_us = windows.gap_us
        self._start = np.empty(0, np.int64)  # by cell, with room to grow
        self._end = np.empty(0, np.int64)  # by cell, with room to grow
        self._of_key: dict[int, list[int]] = {}  # by key slot, live cells
        self._next_end = self._next_death = NEVER  # no session ends, or is over, before
        self._changed_late = False
        self._other_name = BEGINNING
        self._merged_away = np.empty(0, np.int64)  # cells that became part of others in this tick

    def _take_in(self, tick: TickInput, before_us: int) -> None:
        merged = tick.merged()
        if merged is None:
            return
        batch, inputs = merged
        assert batch.keys is not None
        if self._aggregation.sided:
            batch = replace(batch, values=list(zip(inputs.tolist(), rows(batch.values), strict=True)))
        times = batch.times if self._timing.by_event_time else np.full(len(batch), self._context.now_us(tick.tick))
        assert times is not None, "an edge to windows by event time carries times"
        slots = self._cells.keys.of(batch.keys)
        order = np.lexsort((times, slots))
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(slots[order]) != 0) | (np.diff(times[order]) >= self._gap_us)
        begins = np.flatnonzero(first)
        lows, highs = times[order][begins], times[order][np.append(begins[1:], len(order)) - 1] + self._gap_us
        targets, merges = self._targets(slots[order][begins].tolist(), lows.tolist(), highs.tolist(), before_us)
        self._begin(batch, targets, order[begins], lows, highs)
        self._merge(merges, tick.tick)
        cells = np.empty(len(batch), np.int64)
        cells[order] = np.repeat(targets, np.diff(np.append(begins, len(order))))
        self._keep(batch, times, cells, tick.tick, before_us)
        self._merged_away = np.array([other for _, other in merges], np.int64)
        kept = np.unique(targets[targets >= 0])
        if len(kept):
            ends = self._end[kept]
            self._next_end = min(self._next_end, int(ends.min()))
            self._next_death = min(self._next_death, int(ends.min()) + self._timing.lateness_us)
            self._changed_late = bool((ends <= before_us).any())

    def _targets(
        self, slots: list[int], lows: list[int], highs: list[int], before_us: int
    ) -> tuple[npt.NDArray[np.int64], list[tuple[int, int]]]:
        """The cell that each piece goes to, or that it is new or late; and which cells become part of which."""
        targets = np.empty(len(slots), np.int64)
        merges: list[tuple[int, int]] = []
        start, end = self._start, self._end
        for n, (slot, low, high) in enumerate(zip(slots, lows, highs, strict=True)):
            touched = [cell for cell in self._of_key.get(slot, ()) if start[cell] < high and low < end[cell]]
            if not touched:
                targets[n] = _LATE if high + self._timing.lateness_us <= before_us else _NEW
                continue
            into, *others = sorted(touched, key=start.__getitem__)
            targets[n] = into
            start[into] = min(low, start[into])
            end[into] = max(high, *(end[cell] for cell in touched))
            merges += [(into, other) for other in others]
            if others:
                self._of_key[slot] = [cell for cell in self._of_key[slot] if cell not in others]
        return targets, merges

    def _begin(self, batch: Batch, targets: npt.NDArray[np.int64], at: Indices, lows: Any, highs: Any) -> None:
        """Give new sessions their cells; ``at`` is some row of each piece."""
        new = np.flatnonzero(targets == _NEW)
        if not len(new):
            return
        assert batch.keys is not None
        keys = take(batch.keys, at[new])
        cells = self._cells.of(keys, batch.groups[at[new]], self._panes(keys, lows[new]))
        self._grow()
        targets[new] = cells
        self._start[cells], self._end[cells] = lows[new], highs[new]
        for cell, slot in zip(cells.tolist(), self._cells.key[cells].tolist(), strict=True):
            self._of_key.setdefault(slot, []).append(cell)

    def _panes(self, keys: Column, lows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What new sessions are called: by their starts, or, where one that is over is called so, by no time at all."""
        panes = lows.copy()
        while len(taken := np.flatnonzero(self._cells.known(keys, panes) >= 0)):
            panes[taken] = self._other_name - np.arange(len(taken))
            self._other_name -= len(taken)
        return panes

    def _merge(self, merges: list[tuple[int, int]], tick: int) -> None:
        """Add what is in sessions that have become part of earlier ones to these, in order of their starts."""
        if not merges:
            return
        into, others = np.array(sorted(merges, key=lambda pair: self._start[pair[1]]), np.int64).T
        self._values.absorb(into, self._values.table(self._cells.take(others), others), tick)
        self._changed[into] = self._latest = tick

    def _keep(self, batch: Batch, times: npt.NDArray[np.int64], cells: Indices, tick: int, before_us: int) -> None:
        """Add the rows to their sessions, in the order in which they came."""
        late = cells == _LATE
        if late.any():
            self.late.add(batch, times, np.flatnonzero(late), before_us)
            on_time = np.flatnonzero(~late)
            batch, cells = batch.ordered(on_time), cells[on_time]
        if len(batch):
            empty = self._add_to(cells, batch, tick)
            for cell, slot in zip(empty.tolist(), self._cells.key[empty].tolist(), strict=True):
                self._of_key[slot].remove(cell)

    def _grow(self) -> None:
        super()._grow()
        size = len(self._cells)
        self._start, self._end = grown(self._start, size), grown(self._end, size)

    def _closed(self, tick: int, before_us: int, reached_us: int) -> Iterator[Windowful]:
        changed_late, self._changed_late = self._changed_late, False
        if reached_us < self._next_end and not changed_late:
            return
        live = self._living()
        ends = self._end[live]
        cells = live[(ends <= reached_us) & ((ends > before_us) | (self._changed[live] == tick))]
        self._next_end = int(ends[ends > reached_us].min(initial=NEVER))
        if len(cells):
            keys = self._cells.take(cells)
            found = Windowful(
                self._cells.groups[cells], keys, self._start[cells], self._end[cells], self._values.results(keys, cells)
            )
            yield found.ordered()

    def _living(self) -> Indices:
        """Live cells but for those that the tick has merged into others."""
        dead = self._dead[: len(self._cells)].copy()
        dead[self._merged_away] = True
        return np.flatnonzero(~dead)

    def _forget(self, reached_us: int) -> None:
        merged, self._merged_away = self._merged_away, np.empty(0, np.int64)
        dying = merged
        if reached_us >= self._next_death:
            live = np.setdiff1d(np.flatnonzero(~self._dead[: len(self._cells)]), merged)
            deaths = self._end[live] + self._timing.lateness_us
            self._next_death = int(deaths[deaths > reached_us].min(initial=NEVER))
            over = live[deaths <= reached_us]
            for cell, slot in zip(over.tolist(), self._cells.key[over].tolist(), strict=True):
                left = [other for other in self._of_key[slot] if other != cell]
                if left:
                    self._of_key[slot] = left
                else:
                    del self._of_key[slot]
            dying = np.concatenate((merged, over))
        self._bury(dying)

    def _compacted(self, live: Indices) -> None:
        self._start, self._end = self._start[live], self._end[live]
        self._index(np.arange(len(live)))

    def _index(self, cells: Indices) -> None:
        self._of_key = {}
        for cell, slot in zip(cells.tolist(), self._cells.key[cells].tolist(), strict=True):
            self._of_key.setdefault(slot, []).append(cell)

    def due_after(self, tick: int) -> int | None:
        """By processing time, the tick at which the next session may end."""
        next_us = min(self._next_end, self._next_death)
        if self._timing.by_event_time or next_us == NEVER:
            return None
        return max(tick + 1, self._context.tick_at(next_us))

    def _own_fields(self, cells: Indices) -> dict[str, Column]:
        return {"start": pa.array(self._start[cells]), "end": pa.array(self._end[cells])}

    def _restore_own(self, cells: Indices, fields: dict[str, Column]) -> None:
        self._start[cells] = np.asarray(fields.pop("start"), np.int64)
        self._end[cells] = np.asarray(fields.pop("end"), np.int64)
        self._index(cells)
        if len(cells):
            self._next_end = self._next_death = BEGINNING
