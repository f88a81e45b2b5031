"""What a user's operator is handed beside its rows: its state, and its context."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column, Pairs, columnar, rows
from elastic.keys import groups_of
from elastic.operators.base import ColumnState, Context, ProcessorContext, TickInput, ValueState
from elastic.operators.named import NamedOutputs
from elastic.operators.snapshot import IMMUTABLE, all_immutable, freeze, frozen, is_immutable, thaw
from elastic.operators.states import Clock
from elastic.operators.timers import Timers
from elastic.operators.timestamps import BEGINNING, seconds, time_of
from elastic.state.processing import StateTable, dict_keys


@dataclass(slots=True)
class Present:
    """The times that an instance is at, microseconds.

    Attributes:
        now_us: Of the tick.
        watermark_us: Before the tick's rows.
        row_us: Event time of the row or timer that is being processed; the watermark where it has none.
    """

    now_us: int = 0
    watermark_us: int = BEGINNING
    row_us: int = BEGINNING


class Part(Protocol):
    """Something else that an operator keeps per key: a declared state, timers."""

    def __contains__(self, key: Any) -> bool:
        """Whether there is something for the key."""

    def __iter__(self) -> Iterator[Any]:
        """The keys that there is something for."""

    def column(self, operator: str, keys: Sequence[Any]) -> Column:
        """What there is for each key, as it is now; None for nothing."""

    def restore(self, keys: Sequence[Any], column: Column) -> None:
        """Take over what ``column`` gave."""

    def remember(self, operator: str, key: Any) -> Any:
        """What there is for the key, as it is now."""

    def recall(self, key: Any, remembered: Any) -> None:
        """The key has what it had."""


Remembered: TypeAlias = tuple[Any, Any, Sequence[Any]]
"""A key, and what it had."""


class KeyedValues:
    """The state of one instance: a value per key, and what was written since the last checkpoint.

    Attributes:
        key: The key that is being processed.
        values: By key.
        parts: What else there is per key, by the name of its field in checkpoints.
        written: Keys of which something was set, deleted, or could have been changed in place; a dict for its order.
        aliased: User code has held a value that can be changed in place, so what it emits may be part of one.
    """

    __slots__ = ("aliased", "key", "parts", "values", "written")

    def __init__(self) -> None:
        self.key: Any = None
        self.values: dict[Any, Any] = {}
        self.parts: dict[str, Part] = {}
        self.written: dict[Any, None] = {}
        self.aliased = False

    def __len__(self) -> int:
        return len(self.values) if not self.parts else len(self._keys())

    def _keys(self) -> dict[Any, None]:
        """Every key that there is something for."""
        keys = dict.fromkeys(self.values)
        for part in self.parts.values():
            keys.update(dict.fromkeys(part))
        return keys

    def _holds(self, key: Any) -> bool:
        return key in self.values or any(key in part for part in self.parts.values())

    def delta(self, context: ProcessorContext) -> StateTable:
        """What was written, as it is now; the rest is clean."""
        keys = [key for key in self.written if self._holds(key)]
        gone = columnar([key for key in self.written if not self._holds(key)])
        table = self._table(context, keys)
        self.written.clear()
        return StateTable(table.groups, table.keys, table.fields, groups_of(gone, context.key_groups), gone)

    def full(self, context: ProcessorContext) -> StateTable:
        """Everything, as it is now; all is clean."""
        table = self._table(context, list(self._keys() if self.parts else self.values))
        self.written.clear()
        return table

    def _table(self, context: ProcessorContext, keys: list[Any]) -> StateTable:
        column = columnar(keys)
        get = self.values.get if self.parts else self.values.__getitem__
        fields = {"value": freeze(context.operator, keys, list(map(get, keys)))}
        for name, part in self.parts.items():
            fields[name] = part.column(context.operator, keys)
        return StateTable(groups_of(column, context.key_groups), column, fields)

    def remember(self, operator: str, keys: Iterable[Any]) -> list[Remembered]:
        """What some keys have now, for ``recall``; values that could be changed in place are serialised for it."""
        return [self.remember_one(operator, key) for key in keys]

    def remember_one(self, operator: str, key: Any) -> Remembered:
        """The same for one key."""
        value = self.values.get(key)
        if type(value) not in IMMUTABLE:  # saves a call
            value = frozen(operator, key, value)
        return key, value, [p.remember(operator, key) for p in self.parts.values()] if self.parts else ()

    def recall(self, remembered: Iterable[Remembered]) -> None:
        """These keys have what they had: whatever was done to them since has not happened."""
        for key, frozen_value, others in remembered:
            self.written[key] = None
            (value,) = thaw([frozen_value])
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value
            for part, other in zip(self.parts.values(), others, strict=True):
                part.recall(key, other)

    def restore(self, table: StateTable) -> None:
        """Take over a full table; parts that it does not have begin empty."""
        keys = dict_keys(table.keys)
        self.values = dict(zip(keys, thaw(table.fields["value"]), strict=True))
        if self.parts:
            self.values = {key: value for key, value in self.values.items() if value is not None}
        for name, part in self.parts.items():
            if name in table.fields:
                part.restore(keys, table.fields[name])


class CurrentKey(ValueState):
    """A cursor over an instance's state; one for all keys, since a row is processed after the other."""

    def __init__(self, kept: KeyedValues) -> None:
        super().__init__()
        self._kept = kept

    def get(self) -> Any:
        """The key's value; None if it has none."""
        kept = self._kept
        value = kept.values.get(kept.key)
        if type(value) not in IMMUTABLE and not is_immutable(value):  # the first half saves a call
            kept.written[kept.key] = None
            kept.aliased = True
        return value

    def set(self, value: Any) -> None:
        """Replace the key's value; None deletes it."""
        if value is None:
            self.clear()
            return
        kept = self._kept
        kept.values[kept.key] = value
        kept.written[kept.key] = None
        if type(value) not in IMMUTABLE and not is_immutable(value):
            kept.aliased = True

    def clear(self) -> None:
        """Delete the key's value."""
        kept = self._kept
        if kept.key in kept.values:
            del kept.values[kept.key]
            kept.written[kept.key] = None


class AllKeys(ColumnState):
    """An instance's state by columns."""

    __slots__ = ("_kept",)

    def __init__(self, kept: KeyedValues) -> None:
        self._kept = kept

    def get_many(self, keys: Column) -> list[Any]:
        """The value of each key, in order; None where it has none."""
        kept, each = self._kept, dict_keys(keys)
        values = list(map(kept.values.get, each))
        if not all_immutable(values):
            kept.aliased = True
            kept.written.update((k, None) for k, v in zip(each, values, strict=True) if not is_immutable(v))
        return values

    def set_many(self, keys: Column, values: Column) -> None:
        """Replace the value of each key; None deletes it. Of a key that is given twice, the last value holds."""
        kept, each, news = self._kept, dict_keys(keys), rows(as_column(values))
        kept.values.update(zip(each, news, strict=True))
        kept.written.update(dict.fromkeys(each))
        if type(None) in set(map(type, news)):
            for key in each:
                if kept.values.get(key, key) is None:
                    kept.values.pop(key, None)
        kept.aliased = kept.aliased or not all_immutable(news)


class TickContext(Context):
    """The context of one instance, moved from tick to tick and from key group to key group.

    Attributes:
        group: Key group of the row being processed; None where there is more than one.
        named: What is emitted on named outputs.
        present: The times that it is at.
        timers: By clock; empty where the operator has no ``on_timer``.
        reached: Event time when the tick's rows have been processed, microseconds.
        firing_us: The time of the event-time timer that fires now; None at other times.
        soon: Timers, by key and name, that were set to an event time which the tick has reached.
    """

    def __init__(
        self, context: ProcessorContext, named: NamedOutputs, kept: KeyedValues, timers: Mapping[str, Timers]
    ) -> None:
        self.group: int | None = None
        self.named = named
        self.present = Present()
        self.timers = timers
        self.reached = BEGINNING
        self.firing_us: int | None = None
        self.soon: list[tuple[Any, str]] = []
        self._kept = kept
        self._context = context
        self._random = Random(0)
        self._seeded: tuple[int, int] | None = None

    def enter(self, tick: TickInput, streams: npt.NDArray[np.uint8]) -> None:
        """Move on to a tick."""
        self.tick, self.now, self.inputs = tick.tick, self._context.now(tick.tick), streams
        self.reached = tick.watermark_us
        self.present.now_us = self._context.now_us(tick.tick)
        self.present.watermark_us = self.present.row_us = tick.before_us

    @property
    def random(self) -> Random:
        """Randomness of this tick and key group; seeding costs some microseconds, on first use in each."""
        if self.group is None:
            raise TypeError(
                "ctx.random belongs to one key group, and process_columns is given many; override process instead, or "
                "seed random.Random with the key and ctx.tick"
            )
        if self._seeded != (self.tick, self.group):
            self._seeded = (self.tick, self.group)
            self._random = Random(f"{self._context.seed}/{self._context.operator}/{self.tick}/{self.group}")
        return self._random

    @property
    def event_time(self) -> float | None:
        """Event time of the row, or of the timer."""
        return seconds(self.present.row_us) if self._context.event_time else None

    @property
    def watermark(self) -> float:
        """How far event time has come before this tick."""
        return seconds(self.present.watermark_us)

    def set_timer(self, time: float | dt.datetime, name: str = "", *, clock: Clock = "processing") -> None:
        """Have ``on_timer`` called for this key."""
        timers, key, time_us = self._timers(clock, name), self._kept.key, time_of(time, "s")
        if clock == "event" and time_us <= self.reached:
            if self.firing_us is not None and time_us <= self.firing_us:
                raise ValueError(
                    f"on_timer sets a timer to {time!r}, which is not later than the one that fires, "
                    f"{seconds(self.firing_us)!r}, and would fire at once for ever"
                )
            self.soon.append((key, name))
        timers.set(key, name, time_us)
        self._kept.written[key] = None

    def cancel_timer(self, name: str = "", *, clock: Clock = "processing") -> bool:
        """The key's timer of this name does not fire."""
        found = self._timers(clock, name).cancel(self._kept.key, name)
        if found:
            self._kept.written[self._kept.key] = None
        return found

    def timer(self, name: str = "", *, clock: Clock = "processing") -> float | None:
        """The time of the key's timer of this name."""
        time_us = self._timers(clock, name).at(self._kept.key, name)
        return None if time_us is None else seconds(time_us)

    def _timers(self, clock: str, name: Any) -> Timers:
        """The timers of a clock, if the operator may have any.

        Raises:
            TypeError: It may not, or the name is none.
            ValueError: There is no such clock.
        """
        if not isinstance(name, str):
            raise TypeError(f"a timer's name is a str, not {name!r}; the time comes first, as in set_timer(time, name)")
        if (timers := self.timers.get(clock)) is not None:
            return timers
        if clock not in get_args(Clock):
            raise ValueError(f"there is no clock {clock!r}; write clock='processing' or clock='event'")
        if not self.timers:
            raise TypeError(
                "the operator has no on_timer for timers to call; define on_timer(self, key, timer, state, ctx)"
            )
        raise TypeError("rows have no event time here; declare it with stream.event_time(…) behind the source")

    def emit(self, output: str, value: Any) -> None:
        """Emit a row on a named output, from the key that is being processed."""
        if self.group is None:
            raise TypeError("ctx.emit belongs to one key, and process_columns is given many; use ctx.emit_columns")
        if self.named.wants(output):
            self.named.pending.append((output, value))

    def emit_columns(self, output: str, keys: Column, values: Column) -> None:
        """Emit pairs of keys and values on a named output."""
        if self.group is not None:
            raise TypeError("ctx.emit_columns is for process_columns; use ctx.emit")
        if self.named.wants(output):
            self.named.pending.append((output, (keys, values)))


def as_column(column: Any) -> Column:
    """A column of what users have at hand: NumPy arrays and Arrow's chunked ones beside our own."""
    if isinstance(column, np.ndarray):
        return pa.array(column) if column.dtype != object else column.tolist()
    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks()
    if isinstance(column, pa.Array | Pairs | list):
        return rows(column) if isinstance(column, Pairs) else column
    return list(column)
