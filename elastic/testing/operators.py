"""Operators that give another result if anything is lost, repeated or in another order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np

from elastic.batch import Column, rows
from elastic.operators.base import BroadcastContext, ColumnState, Context, Operator, Timer, ValueState
from elastic.operators.states import ListState, MapState


class Fold(Operator):
    """Hashes every value into the key's state: another order of rows, a lost or a repeated one gives another hash."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash."""
        folded = crc32(repr((state.get() or 0, ctx.input, ctx.tick, value)).encode())
        state.set(folded)
        yield key, folded


class Sorter(Operator):
    """A fold that emits every third value on an output of its own, and each value a second time on another.

    It fails on some values, when it has done all of that.
    """

    outputs = ("thirds", "all")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash on the main output or on the other."""
        folded = crc32(repr((state.get() or 0, ctx.tick, value)).encode())
        state.set(folded)
        ctx.emit("all", (key, folded))
        if folded % 3:
            yield key, folded
        else:
            ctx.emit("thirds", (key, folded))
        if folded % 7 == 0:
            raise ValueError(f"{folded} is a multiple of seven")


class Alarms(Operator):
    """Timers that rows set, move and cancel and that set the next; a list and a map whose entries end by themselves."""

    seen = ListState(int, ttl="150ms")
    ticks = MapState(int, int, ttl="80ms")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        """Wake up soon, and after a silence."""
        number = value[1] % 5
        self.seen.append(number)
        self.ticks[number] = ctx.tick
        if number == 0:
            ctx.cancel_timer("soon")
        else:
            ctx.set_timer(ctx.now + number / 60, "soon")
        ctx.set_timer(ctx.now + 0.2, "silence")

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit a hash of all that is there."""
        folded = crc32(repr((state.get() or 0, timer, ctx.tick, self.seen.get(), dict(self.ticks))).encode())
        state.set(folded)
        if timer.name == "soon" and folded % 3 == 0:
            ctx.set_timer(timer.time + 0.04, "soon")
        yield key, folded


class Meeting(Operator):
    """Hashes the rows of two inputs into one state, each in its own way."""

    inputs = ("records", "counts")

    def process_records(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash."""
        state.set(crc32(repr((state.get() or 0, ctx.tick, value)).encode()))
        yield key, state.get()

    def process_counts(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        """Only change the state."""
        state.set(crc32(repr(("counts", ctx.input, state.get(), value)).encode()))


class Ends(Operator):
    """Timers by event time, and a value that lives by it."""

    last = ValueState(ttl="300ms", clock="event")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, ...]]:
        """Wake up when event time has come a little further."""
        yield key, crc32(repr((value, self.last.get(), ctx.event_time, ctx.watermark)).encode())
        self.last.set(value["value"])
        ctx.set_timer((ctx.event_time or 0) + 0.15, clock="event")

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterator[tuple[Any, ...]]:
        """Emit when it came."""
        yield key, timer.time, ctx.tick, self.last.get()


class Visits(Operator):
    """Counts by columns, and forgets a key at every fourth row: deletions travel in checkpoints too. Fails on some."""

    def process_columns(
        self, keys: Column, values: Column, state: ColumnState, ctx: Context
    ) -> tuple[Column, Column] | None:
        """Emit the number of rows so far, with a number that only this tick and group have."""
        if any(value[1] == 4 and value[0] % 5 == 0 for value in rows(values)):
            raise ValueError("one of these will not do")
        counts = dict(zip(rows(keys), state.get_many(keys), strict=True))
        emitted = []
        for key in rows(keys):
            counts[key] = (counts[key] or 0) + 1
            emitted.append(counts[key] * 1000 + ctx.tick)
        state.set_many(list(counts), [None if count % 4 == 0 else count for count in counts.values()])
        return keys, np.array(emitted).tolist()


class Limits(Operator):
    """Hashes every value with what broadcast rows have made of the limits so far."""

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> None:
        """Keep a hash of the limit, which depends on all before it."""
        shared[value[0]] = crc32(repr((shared, ctx.input, ctx.tick, value)).encode())

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit a hash of the row, of those before it, and of all limits."""
        folded = crc32(repr((state.get() or 0, ctx.tick, value, dict(ctx.shared))).encode())
        state.set(folded)
        yield key, folded
