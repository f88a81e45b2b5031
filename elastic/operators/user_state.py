"""What a user's operator is handed beside its rows: its state, and its context."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column, Pairs, columnar, rows
from elastic.keys import groups_of
from elastic.operators.base import ColumnState, Context, ProcessorContext, ValueState
from elastic.operators.named import NamedOutputs
from elastic.operators.snapshot import IMMUTABLE, all_immutable, freeze, is_immutable, thaw
from elastic.state.processing import StateTable, dict_keys


class KeyedValues:
    """The state of one instance: a value per key, and what was written since the last checkpoint.

    Attributes:
        values: By key.
        written: Keys that were set, deleted, or whose value could have been changed in place; a dict for its order.
        aliased: User code has held a value that can be changed in place, so what it emits may be part of one.
    """

    __slots__ = ("aliased", "values", "written")

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.written: dict[Any, None] = {}
        self.aliased = False

    def delta(self, context: ProcessorContext) -> StateTable:
        """What was written, as it is now; the rest is clean."""
        keys = [key for key in self.written if key in self.values]
        gone = columnar([key for key in self.written if key not in self.values])
        table = self._table(context, keys)
        self.written.clear()
        return StateTable(table.groups, table.keys, table.fields, groups_of(gone, context.key_groups), gone)

    def full(self, context: ProcessorContext) -> StateTable:
        """Everything, as it is now; all is clean."""
        table = self._table(context, list(self.values))
        self.written.clear()
        return table

    def _table(self, context: ProcessorContext, keys: list[Any]) -> StateTable:
        column = columnar(keys)
        values = freeze(context.operator, keys, list(map(self.values.__getitem__, keys)))
        return StateTable(groups_of(column, context.key_groups), column, {"value": values})

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        self.values = dict(zip(dict_keys(table.keys), thaw(table.fields["value"]), strict=True))


class CurrentKey(ValueState):
    """A cursor over an instance's state; one for all keys, since a row is processed after the other."""

    __slots__ = ("_kept", "key")

    def __init__(self, kept: KeyedValues) -> None:
        self.key: Any = None
        self._kept = kept

    def get(self) -> Any:
        """The key's value; None if it has none."""
        kept = self._kept
        value = kept.values.get(self.key)
        if type(value) not in IMMUTABLE and not is_immutable(value):  # the first half saves a call
            kept.written[self.key] = None
            kept.aliased = True
        return value

    def set(self, value: Any) -> None:
        """Replace the key's value; None deletes it."""
        if value is None:
            self.clear()
            return
        kept = self._kept
        kept.values[self.key] = value
        kept.written[self.key] = None
        if type(value) not in IMMUTABLE and not is_immutable(value):
            kept.aliased = True

    def clear(self) -> None:
        """Delete the key's value."""
        if self.key in self._kept.values:
            del self._kept.values[self.key]
            self._kept.written[self.key] = None


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
    """

    def __init__(self, context: ProcessorContext, named: NamedOutputs) -> None:
        self.group: int | None = None
        self.named = named
        self._context = context
        self._random = Random(0)
        self._seeded: tuple[int, int] | None = None

    def enter(self, tick: int, streams: npt.NDArray[np.uint8]) -> None:
        """Move on to a tick."""
        self.tick, self.now, self.inputs = tick, self._context.now(tick), streams

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
