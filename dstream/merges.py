"""Merged values by slot: integers in a column as long as a kernel can merge them, Python objects from then on."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from operator import length_hint
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa

from dstream.pairs import Merging
from elastic.batch import Batch, Column, Indices, columnar, rows
from elastic.operators.accumulator import MISSING, Accumulator, values_at
from elastic.operators.accumulators import Extremes
from elastic.operators.failure import user_error
from elastic.operators.folding import Reductions
from elastic.operators.integers import Integers, grown
from elastic.operators.snapshot import copied, freeze, thaw


def accumulator(merging: Merging) -> Accumulator:
    """Empty: what a key's values are merged into one after the other."""
    if merging.exact == "sum":
        return Added(merging.name)
    if merging.exact is not None:
        return Extremes(merging.name, merging.exact)
    return Reductions(merging.name, merging.function)


class Added(Accumulator):
    """Values added with ``+``, of whatever types."""

    def __init__(self, operator: str) -> None:
        self._operator = operator
        self._integers = Integers()
        self._objects: Reductions | None = None  # from the first value on that is no integer
        self._size = self._held = 0  # slots; slots that held a value before this batch

    def grow(self, size: int) -> None:
        self._size = size
        (self._integers if self._objects is None else self._objects).grow(size)

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        if self._objects is None and is_int(batch.values):
            self._integers.add(slots, np.asarray(batch.values))
        else:
            self._as_objects().add(slots, batch, tick)
        self._held = self._size

    def _as_objects(self) -> Reductions:
        if self._objects is None:
            self._objects = Reductions(self._operator, operator.add)
            self._objects.grow(self._size)
            held = np.arange(self._held)
            self._objects.restore(held, {"value": self._integers.at(held)})
        return self._objects

    def results(self, keys: Column, slots: Indices) -> Column:
        return self._integers.at(slots) if self._objects is None else self._objects.results(keys, slots)

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        return {"value": self._integers.at(slots)} if self._objects is None else self._objects.table(keys, slots)

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        if self._objects is None and is_int(fields["value"]):
            self._integers.put(slots, fields["value"])
        else:
            self._as_objects().restore(slots, fields)
        self._held = self._size

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        values = columnar(thaw(fields["value"]))
        self.add(slots, Batch(np.zeros(len(slots), np.uint16), None, values), tick)


class WindowValues:
    """What a window's values come to, by slot: some are merged in, others are taken out again.

    Args:
        merging: How they are merged.
        inverse: ``inverse(merged, value)`` takes a value out.
    """

    def __init__(self, merging: Merging, inverse: Callable[[Any, Any], Any]) -> None:
        self._merging, self._inverse = merging, inverse
        self._integers = Integers() if merging.exact == "sum" and inverse is operator.sub else None
        self._objects: list[Any] = []
        self._holds = np.zeros(0, bool)  # by slot, with room to grow
        self._size = 0

    def grow(self, size: int) -> None:
        """Make room for slots below ``size``; new ones hold nothing."""
        self._size, self._holds = size, grown(self._holds, size)
        if self._integers is not None:
            self._integers.grow(size)
        else:
            self._objects += [MISSING] * (size - len(self._objects))

    def enter(self, slots: Indices, keys: Column, values: Column, tick: int) -> None:
        """Merge a value into each slot, no slot twice.

        Raises:
            UserCodeError: The function raised.
        """
        if self._integers is not None and is_int(values):
            self._integers.add(slots, np.asarray(values))
        else:
            self._each(self._merging.function, slots, keys, values, tick)
        self._holds[slots] = True

    def leave(self, slots: Indices, keys: Column, values: Column, tick: int) -> None:
        """Take a value out of each slot, no slot twice.

        Raises:
            UserCodeError: The function raised.
        """
        if self._integers is not None and is_int(values):
            self._integers.take_away(slots, values)
        else:
            self._each(self._inverse, slots, keys, values, tick)

    def clear(self, slots: Indices) -> None:
        """The slots, of which all values have left, hold nothing; integers are 0 by then."""
        self._holds[slots] = False
        if self._integers is None:
            for slot in slots.tolist():
                self._objects[slot] = MISSING

    def at(self, keys: Column, slots: Indices) -> Column:
        """The merged values at slots that hold some; nothing that happens later changes them."""
        if self._integers is not None:
            return self._integers.at(slots)
        return columnar(copied(self._merging.name, rows(keys), values_at(self._objects, slots)))

    def table(self, keys: Column, slots: Indices) -> Column:
        """The same, to be kept."""
        if self._integers is not None:
            return self._integers.at(slots)
        return freeze(self._merging.name, rows(keys), values_at(self._objects, slots))

    def put(self, slots: Indices, column: Column) -> None:
        """Take over what ``table`` gave, for slots that hold nothing."""
        self._holds[slots] = True
        if self._integers is not None and is_int(column):
            self._integers.put(slots, column)
            return
        values = self._by_slot()
        for slot, value in zip(slots.tolist(), thaw(column), strict=True):
            values[slot] = value

    def _by_slot(self) -> list[Any]:
        """Values as objects, from now on."""
        if self._integers is not None:
            known = rows(self._integers.at(np.arange(self._size)))
            held = self._holds[: self._size].tolist()
            self._objects = [value if holds else MISSING for value, holds in zip(known, held, strict=True)]
            self._integers = None
        return self._objects

    def _each(
        self, function: Callable[[Any, Any], Any], slots: Indices, keys: Column, values: Column, tick: int
    ) -> None:
        merged, each = self._by_slot(), rows(values)
        left = iter(each)
        try:
            for slot, value in zip(slots.tolist(), left, strict=True):
                so_far = merged[slot]
                merged[slot] = value if so_far is MISSING else function(so_far, value)
        except Exception as error:
            at = len(each) - length_hint(left) - 1
            raise user_error(self._merging.name, tick, each[at], error, key=rows(keys)[at]) from error


def is_int(column: Column | None) -> TypeGuard[pa.Array]:
    """Whether it is a column of int64 without None."""
    return isinstance(column, pa.Array) and column.type == pa.int64() and not column.null_count
