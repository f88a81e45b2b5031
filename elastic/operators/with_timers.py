"""A user's operator that has timers: the rows of each key group, then its timers, before the next group's."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any

import numpy as np

from elastic.batch import Batch, Groups, columnar, rows, take
from elastic.keys import KeyInterval, encode_key, groups_of
from elastic.operators.base import Operator, Output, ProcessorContext, TickInput, Timer
from elastic.operators.custom import NO_ROWS, NO_STREAMS, RowProcessor, refused, whose
from elastic.operators.timers import Timers
from elastic.operators.timestamps import BEGINNING, seconds
from elastic.plan import OnError

EVENT_BUCKET_US = 1 << 14
"""Timers of event time within so many microseconds of the watermark may be looked at in vain."""


class TimerProcessor(RowProcessor):
    """One instance of an operator that has timers: the rows of each key group, then its timers, before the next."""

    def __init__(self, operator: Operator, context: ProcessorContext, on_error: OnError) -> None:
        self._timers = {"processing": Timers(context.tick_us, context.start_us)}
        if context.event_time:
            self._timers["event"] = Timers(EVENT_BUCKET_US)
        self._due: dict[int, list[tuple[str, Any, str]]] = {}
        self._final = False
        super().__init__(operator, context, on_error, self._timers)

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Call the user's code on the tick's rows and timers in canonical order."""
        merged = tick.merged()
        batch, streams = merged if merged is not None else (None, NO_STREAMS)
        ctx, self._final = self._ctx, tick.final
        ctx.enter(tick, streams)
        for state in self._states.values():
            state.sweep()
        self._due = self._found_due()
        out: list[Any] = []
        ends: list[int] = []
        by = _Emitters()
        for group in sorted({*self._due, *(() if batch is None else np.unique(batch.groups).tolist())}):
            part = None if batch is None else batch.slice(KeyInterval(group, group + 1))
            if part is not None and batch is not None:
                low = int(np.searchsorted(batch.groups, group))
                ctx.inputs = streams[low : low + len(part)]
                self._call(part, out, ends)
                by.rows(group, part)
            if group in self._due or ctx.soon:
                self._fire(group, out, ends, by)
        main = by.output(out, ends, timed=self._context.event_time)
        return [*([] if main is None else [main]), *self._named.take(timed=self._context.event_time)]

    def _found_due(self) -> dict[int, list[tuple[str, Any, str]]]:
        """Clock, key and name of the timers that may fire now, by key group."""
        ctx, found = self._ctx, []
        for clock, timers in self._timers.items():
            until_us = ctx.present.now_us if clock == "processing" else ctx.reached
            found += [(clock, key, name) for key, name in timers.due(until_us)]
        if not found:
            return {}
        by_group: dict[int, list[tuple[str, Any, str]]] = {}
        groups = groups_of(columnar([key for _, key, _ in found]), self._context.key_groups)
        for group, due in zip(groups.tolist(), found, strict=True):
            by_group.setdefault(group, []).append(due)
        return by_group

    def _fire(self, group: int, out: list[Any], ends: list[int], by: _Emitters) -> None:
        """Call ``on_timer`` for the timers of a key group that are due."""
        ctx, due = self._ctx, self._due.get(group, [])
        ctx.group, ctx.input = group, 0
        timers = self._timers["processing"]
        waiting = [
            (time, encode_key(key), name, key)
            for clock, key, name in due
            if clock == "processing" and (time := timers.at(key, name)) is not None
        ]
        for _, _, name, key in sorted(waiting, key=itemgetter(slice(3))):
            shown = timers.shown(key)
            if (time := timers.settle(key, name, ctx.present.now_us)) is not None:
                ctx.present.row_us = ctx.present.watermark_us
                self._fired(shown, Timer(name, seconds(time), "processing"), out, ends)
                by.timer(group, shown, ctx.present.row_us)
        if "event" in self._timers:
            self._fire_event_time(group, [(key, name) for clock, key, name in due if clock == "event"], out, ends, by)

    def _fire_event_time(
        self, group: int, due: list[tuple[Any, str]], out: list[Any], ends: list[int], by: _Emitters
    ) -> None:
        """The same for event time, where a timer may be set that is due at once; not by another one at the end."""
        ctx, timers = self._ctx, self._timers["event"]
        order: list[tuple[int, bytes, str]] = []
        keys: dict[bytes, Any] = {}
        while True:
            due += ctx.soon
            ctx.soon.clear()
            for key, name in due:
                if (time := timers.at(key, name)) is not None:
                    code = encode_key(key)
                    keys[code] = key
                    heappush(order, (time, code, name))
            if not order:
                return
            _, code, name = heappop(order)
            due, key = [], keys[code]
            shown, time = timers.shown(key), timers.settle(key, name, ctx.reached)
            if time is None:
                continue
            ctx.present.row_us = ctx.firing_us = time
            self._fired(shown, Timer(name, seconds(time), "event"), out, ends)
            by.timer(group, shown, time)
            ctx.firing_us = None
            if self._final:
                ctx.soon.clear()

    def _fired(self, key: Any, timer: Timer, out: list[Any], ends: list[int]) -> None:
        """Hand one timer to the user's code.

        Raises:
            UserCodeError: It raised, and that is to end the job.
        """
        kept, result = self._kept, None
        kept.key = key
        kept.written[key] = None
        before = None if self._on_error == "fail" else kept.remember_one(self._context.operator, key)
        try:
            result = self._operator.on_timer(key, timer, self._state, self._ctx)
            if result is not None:
                out.extend(result if type(result) not in NO_ROWS else refused(result))
                if kept.aliased:
                    self._copy(out, ends)
            if self._named.pending:
                self._named.keep(self._ctx.group or 0, key, self._ctx.present.row_us, copy=kept.aliased)
            ends.append(len(out))
        except Exception as error:  # noqa: BLE001 (whatever a user's operator raises is the timer's)
            self._undo(before, out, ends)
            self._fail(whose(error, result), timer, key)

    def due_after(self, tick: int) -> int | None:
        """The tick of the next timer of processing time, or of something that expires."""
        swept, time = super().due_after(tick), self._timers["processing"].next_us()
        if time is None:
            return swept
        fires = max(tick + 1, self._context.tick_at(time))
        return fires if swept is None else min(fires, swept)


class _Emitters:
    """Who was called in a tick, rows and timers in order: key group, key and event time of each."""

    def __init__(self) -> None:
        self._groups: list[Groups] = []
        self._keys: list[Any] = []
        self._times: list[int] = []

    def rows(self, group: int, batch: Batch) -> None:
        """A row each."""
        self._groups.append(batch.groups)
        self._keys += rows(batch.keys)
        self._times += [BEGINNING] * len(batch) if batch.times is None else batch.times.tolist()

    def timer(self, group: int, key: Any, time_us: int) -> None:
        """A timer."""
        self._groups.append(np.array([group], np.uint16))
        self._keys.append(key)
        self._times.append(time_us)

    def output(self, out: list[Any], ends: list[int], *, timed: bool) -> Output | None:
        """The rows that they emitted; ``ends`` has the length of ``out`` after each of them."""
        if not out:
            return None
        emitted_by = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        times = np.array(self._times, np.int64)[emitted_by] if timed else None
        keys = columnar(self._keys)
        return Output(np.concatenate(self._groups)[emitted_by], out, take(keys, emitted_by), times=times)
