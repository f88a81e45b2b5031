"""Windows of a fixed size, tumbling or sliding, in panes: the longest pieces of time of which all windows consist.

A row is added to one cell, that of its key and pane, however many windows it lies in. What overlapping windows have in
common is computed once where the aggregate has an inverse (counts, and sums and means of integers): from one window to
the next, the panes that come are added and those that go are taken away. Other aggregates are merged from the panes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from elastic.batch import Column, Indices
from elastic.operators.accumulator import Accumulator
from elastic.operators.base import ProcessorContext, TickInput
from elastic.operators.cells import Cells
from elastic.operators.integers import grown
from elastic.operators.timestamps import BEGINNING
from elastic.operators.window_results import Windowful
from elastic.operators.windowed import NEVER, Aggregation, Timing, WindowProcessor
from elastic.windows import FixedWindows

Starts = npt.NDArray[np.int64]


class FixedProcessor(WindowProcessor):
    """One instance of windows of a fixed size."""

    def __init__(
        self, windows: FixedWindows, aggregation: Aggregation, timing: Timing, context: ProcessorContext
    ) -> None:
        super().__init__(aggregation, timing, context)
        self._windows = windows
        self._next_end = self._next_death = NEVER  # no live cell's window ends, or is over, before
        self._changed_late: list[Indices] = []  # cells of closed windows that the tick has changed
        self._running: _Running | None = None

    # -- times of panes, microseconds ----------------------------------------------------------------------------------

    def _start_of(self, panes: Starts) -> Starts:
        return panes * self._windows.pane_us + self._windows.offset_us

    def _last_end(self, panes: Starts) -> Starts:
        """The end of the last window that a pane lies in."""
        of, step = self._windows, self._windows.step_us
        return panes * of.pane_us // step * step + of.size_us + of.offset_us

    def _first_end(self, panes: Starts) -> Starts:
        """The end of the first window that a pane lies in."""
        of, step = self._windows, self._windows.step_us
        return -((of.size_us - (panes + 1) * of.pane_us) // step) * step + of.size_us + of.offset_us

    # -- a tick --------------------------------------------------------------------------------------------------------

    def _take_in(self, tick: TickInput, before_us: int) -> None:
        for given, when in self._given(tick):
            batch, times = given, when
            panes = (times - self._windows.offset_us) // self._windows.pane_us
            late = self._last_end(panes) + self._timing.lateness_us <= before_us
            if late.any():
                self.late.add(batch, times, np.flatnonzero(late), before_us)
                on_time = np.flatnonzero(~late)
                batch, panes = batch.ordered(on_time), panes[on_time]
            if not len(batch):
                continue
            cells = self._add(batch, panes, tick.tick)
            self._next_end = min(self._next_end, int(self._first_end(panes).min()))
            self._next_death = min(self._next_death, int(self._last_end(panes).min()) + self._timing.lateness_us)
            after = (self._first_end(panes) <= before_us) & (self._changed[cells] == tick.tick)
            if after.any():
                self._changed_late.append(np.unique(cells[after]))

    def _closed(self, tick: int, before_us: int, reached_us: int) -> Iterator[Windowful]:
        changed, self._changed_late = self._changed_late, []
        if changed:
            yield from self._emitted_again(np.unique(np.concatenate(changed)), before_us)
        if reached_us < self._next_end:
            return
        yield from self._emitted(before_us, reached_us)
        left = self._cells.pane[self._live()]
        left = left[self._last_end(left) > reached_us]
        first, step = self._first_end(left), self._windows.step_us
        following = first + ((reached_us - first) // step + 1) * step
        self._next_end = int(np.where(first > reached_us, first, following).min(initial=NEVER))

    def _emitted(self, before_us: int, reached_us: int) -> Iterator[Windowful]:
        """The windows that end in (before, reached]."""
        live = self._live()
        if self._windows.is_tumbling:
            ends = self._first_end(self._cells.pane[live])
            cells = live[(ends > before_us) & (ends <= reached_us)]
            if len(cells):
                yield self._results(cells)
            return
        cells = live[np.argsort(self._cells.pane[live], kind="stable")]
        starts = self._start_of(self._cells.pane[cells])
        for start in self._due(starts, before_us, reached_us).tolist():
            low, high = np.searchsorted(starts, (start, start + self._windows.size_us))
            if low < high:
                yield self._slid(start, cells, starts, int(low), int(high))

    def _due(self, starts: Starts, before_us: int, reached_us: int) -> Starts:
        """The starts of the windows that end in (before, reached] and that some pane lies in; ``starts`` ascend.

        Windows without a pane are not gone through: one row may lie years before the next.
        """
        of = self._windows
        panes = starts[np.flatnonzero(np.diff(starts, prepend=starts[:1] - 1))] - of.offset_us
        closed, due = ((time_us - of.offset_us - of.size_us) // of.step_us for time_us in (before_us, reached_us))
        low = np.maximum((panes - of.size_us) // of.step_us, closed) + 1  # numbers of the windows of each pane
        high = np.minimum(panes // of.step_us, due)
        some = low <= high
        low, high = low[some], high[some]
        low = np.maximum(low, np.append(low[:1], high[:-1] + 1))  # those that the pane before is not in
        counts = high - low + 1
        numbers = np.repeat(low - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        return numbers * of.step_us + of.offset_us

    def _results(self, cells: Indices) -> Windowful:
        """Of tumbling windows, a cell is a window."""
        keys, starts = self._cells.take(cells), self._start_of(self._cells.pane[cells])
        found = Windowful(
            self._cells.groups[cells], keys, starts, starts + self._windows.size_us, self._values.results(keys, cells)
        )
        return found.ordered()

    def _emitted_again(self, changed: Indices, before_us: int) -> Iterator[Windowful]:
        """The closed windows that these cells lie in."""
        self._running = None
        if self._windows.is_tumbling:
            yield self._results(changed)
            return
        oldest = before_us - self._timing.lateness_us
        live = self._live()
        live = live[np.argsort(self._cells.pane[live], kind="stable")]
        own, all_starts = self._start_of(self._cells.pane[changed]), self._start_of(self._cells.pane[live])
        for start in self._due(np.sort(own), oldest, before_us).tolist():
            inside = changed[(own >= start) & (own < start + self._windows.size_us)]
            if not len(inside):
                continue
            low, high = np.searchsorted(all_starts, (start, start + self._windows.size_us))
            cells = live[low:high]
            yield self._merged(start, cells[np.isin(self._cells.key[cells], self._cells.key[inside])])

    def _merged(self, start: int, cells: Indices) -> Windowful:
        """One window from its cells, which are sorted by pane."""
        slots, first, at = np.unique(self._cells.key[cells], return_index=True, return_inverse=True)
        values = self._empty()
        values.grow(len(slots))
        keys = self._cells.take(cells)
        values.absorb(at, self._values.table(keys, cells), self._latest)
        owners = cells[first]
        keys = self._cells.take(owners)
        return self._window(start, owners, keys, values.results(keys, np.arange(len(slots))))

    def _window(self, start: int, owners: Indices, keys: Column, values: Column) -> Windowful:
        starts = np.full(len(owners), start)
        ends = starts + self._windows.size_us
        return Windowful(self._cells.groups[owners], keys, starts, ends, values).ordered()

    def _slid(self, start: int, cells: Indices, starts: Starts, low: int, high: int) -> Windowful:
        """The window at ``start``, which ``cells[low:high]`` lie in; from the one before if the aggregate allows it."""
        running = self._running or _Running(self._cells, self._values, self._empty(), self._windows.size_us)
        self._running = running if running.move(start, cells, starts, low, high) else None
        if self._running is None:
            return self._merged(start, cells[low:high])
        owners, values = running.window()
        return self._window(start, owners, self._cells.take(owners), values)

    def _live(self) -> Indices:
        return np.flatnonzero(~self._dead[: len(self._cells)])

    def _forget(self, reached_us: int) -> None:
        if reached_us < self._next_death:
            return
        live = self._live()
        deaths = self._last_end(self._cells.pane[live]) + self._timing.lateness_us
        self._next_death = int(deaths[deaths > reached_us].min(initial=NEVER))
        dying = live[deaths <= reached_us]
        if self._running is not None and not self._running.leave(dying, self._start_of(self._cells.pane[dying])):
            self._running = None
        self._bury(dying)

    def _compacted(self, live: Indices) -> None:
        self._running = None

    def due_after(self, tick: int) -> int | None:
        """By processing time, the tick at which the next window ends."""
        if self._timing.by_event_time:
            return None
        next_us = min(self._next_end, self._next_death)
        return None if next_us == NEVER else max(tick + 1, self._context.tick_at(next_us))

    def _restore_own(self, cells: Indices, fields: dict[str, Column]) -> None:
        panes = self._cells.pane[cells]
        if len(panes):  # which of their windows are closed is looked up when the watermark is known
            self._next_end, self._next_death = BEGINNING, BEGINNING


class _Running:
    """The aggregate of one sliding window by key, which is moved from window to window.

    Args:
        cells, values: Of all panes.
        empty: An accumulator of the same kind.
        size_us: Of a window.
    """

    def __init__(self, cells: Cells, values: Accumulator, empty: Accumulator, size_us: int) -> None:
        self._cells, self._all, self._values, self._size_us = cells, values, empty, size_us
        self._panes = np.empty(0, np.int64)  # by key slot, with room to grow: its cells that are in the window
        self._of_key = np.empty(0, np.int64)  # by key slot, with room to grow: some cell of the key
        self._start = self._end = BEGINNING

    def move(self, start: int, cells: Indices, starts: Starts, low: int, high: int) -> bool:
        """Go on to the window at ``start``; whether the aggregate has an inverse.

        ``cells`` are all live ones by the start of their pane, ``starts``; those of the window are ``[low, high)``.
        """
        slots = len(self._cells.keys)
        self._values.grow(slots)
        self._panes, self._of_key = grown(self._panes, slots), grown(self._of_key, slots)
        gone_low, gone_high = np.searchsorted(starts, (self._start, min(start, self._end)))
        if not self._take_away(cells[gone_low:gone_high]):
            return False
        come = cells[max(low, int(np.searchsorted(starts, self._end))) : high]
        slots_that_come = self._cells.key[come]
        self._values.absorb(slots_that_come, self._all.table(self._cells.take(come), come), 0)
        self._of_key[slots_that_come] = come
        np.add.at(self._panes, slots_that_come, 1)
        self._start, self._end = start, start + self._size_us
        return True

    def leave(self, cells: Indices, starts: Starts) -> bool:
        """These cells are about to die; whether they could be taken away."""
        return self._take_away(cells[(starts >= self._start) & (starts < self._end)])

    def _take_away(self, cells: Indices) -> bool:
        slots = self._cells.key[cells]
        if not self._values.release(slots, self._all.table(self._cells.take(cells), cells)):
            return False
        np.add.at(self._panes, slots, -1)
        return True

    def window(self) -> tuple[Indices, Column]:
        """The window that it has come to: a cell of each key, and the aggregates."""
        slots = np.flatnonzero(self._panes[: len(self._cells.keys)])
        owners = self._of_key[slots]
        return owners, self._values.results(self._cells.take(owners), slots)
