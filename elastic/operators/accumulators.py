"""What the aggregates of numbers keep per key: columns by slot, added to by whole batches.

Every accumulator is given a key's values in canonical order, some of them perhaps combined by the sender, and gives the
same result however they were cut into batches and whichever integers were combined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from operator import gt, length_hint, lt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Batch, Column, Indices, Pairs, columnar, rows
from elastic.operators.accumulator import MISSING, Accumulator, absorbed, failure_at, values_at
from elastic.operators.failure import RowError, row_at, row_error
from elastic.operators.integers import INT64_END, Integers, comparable, exact, grown
from elastic.operators.snapshot import copied, freeze, thaw

_DECIMALS = Context()
"""Python's default arithmetic of decimals, 28 digits, whatever user code sets for its own thread."""

_EXACT_DOUBLES = 2**53
"""Integers below it are doubles, so that NumPy divides them as Python does."""


class Counts(Accumulator):
    """Number of rows."""

    def __init__(self) -> None:
        self._counts = Integers()

    def grow(self, size: int) -> None:
        self._counts.grow(size)

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        numbers = np.asarray(batch.values) if batch.partial else np.ones(len(slots), np.int64)
        self._counts.add(slots, numbers)

    def results(self, keys: Column, slots: Indices) -> Column:
        return self._counts.at(slots)

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        return {"value": self._counts.at(slots)}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        self._counts.put(slots, fields["value"])

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        self._counts.put(slots, fields["value"])

    def release(self, slots: Indices, fields: Mapping[str, Column]) -> bool:
        self._counts.take_away(slots, fields["value"])
        return True


class Sums(Accumulator):
    """Sums of int, float and Decimal: integers exactly, the others in canonical order, and all apart until asked for.

    Apart, because integers may come combined by the sender: if floats were added in between, the sum's last digits
    would depend on who combined what. A key that has both float and Decimal is refused, as Python refuses their sum.
    """

    def __init__(self, operator: str, verb: str = "sum") -> None:
        self._operator = operator
        self._verb = verb
        self._integers = Integers()
        self._floats = np.empty(0)
        self._has_float = np.empty(0, bool)
        self._decimals: dict[int, Decimal] = {}

    def grow(self, size: int) -> None:
        self._integers.grow(size)
        self._floats = grown(self._floats, size)
        self._has_float = grown(self._has_float, size)

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        values = batch.values if batch.values is not None else []
        values = columnar(values) if isinstance(values, list) else values
        if isinstance(values, pa.Array) and not values.null_count:
            if pa.types.is_signed_integer(values.type):
                return self._integers.add(slots, np.asarray(values).astype(np.int64, copy=False))
            if pa.types.is_floating(values.type) and not self._decimals:
                return self._add_floats(slots, np.asarray(values))
        numbers = rows(values)
        whole = np.fromiter((isinstance(n, int) for n in numbers), bool, len(numbers))
        self._check_apart(slots, numbers, np.flatnonzero(~whole).tolist(), batch, tick)
        for i in np.flatnonzero(~whole).tolist():
            self._add_apart(int(slots[i]), numbers[i])
        self._integers.add(slots[whole], exact([int(n) for n in numbers if isinstance(n, int)]))
        floats = np.fromiter((isinstance(n, float) for n in numbers), bool, len(numbers))
        self._add_floats(slots[floats], np.array([n for n in numbers if isinstance(n, float)], np.float64))
        return None

    def _check_apart(self, slots: Indices, numbers: list[Any], at: list[int], batch: Batch, tick: int) -> None:
        """Return if the numbers at these places, which are no integers, can be added.

        Raises:
            RowError: One cannot; those before it were added.
        """
        kinds: dict[int, type] = {}  # of the slots that get decimals or floats now
        for i in at:
            slot, number = int(slots[i]), numbers[i]
            try:
                self._check(slot, number, kinds)
            except TypeError as error:
                self.add(slots[:i], batch.ordered(np.arange(i)), tick)
                raise row_error(self._operator, tick, number, error, i, key=row_at(batch.keys, i)) from error

    def _check(self, slot: int, number: Any, kinds: dict[int, type]) -> None:
        if not isinstance(number, float | Decimal):
            kind, verb = type(number).__name__, self._verb
            hint = "; leave such rows out with a filter" if number is None else ""
            other = "" if verb == "mean" or number is None else "; for other types use reduce(operator.add)"
            raise TypeError(f"{verb} adds int, float and Decimal, and got {kind}{hint}{other}")
        own = Decimal if isinstance(number, Decimal) else float
        held = self._has_float[slot] if own is Decimal else slot in self._decimals
        if held or kinds.setdefault(slot, own) is not own:
            raise TypeError(f"{self._verb} has both float and Decimal values for this key, which Python does not add")

    def _add_apart(self, slot: int, number: Any) -> None:
        """Add a decimal; note that a float is about to be added."""
        if isinstance(number, Decimal):
            self._decimals[slot] = _DECIMALS.add(self._decimals.get(slot, Decimal(0)), number)
        else:
            self._has_float[slot] = True

    def _add_floats(self, slots: Indices, numbers: npt.NDArray[np.floating[Any]]) -> None:
        with np.errstate(all="ignore"):  # inf and nan come out as in Python
            np.add.at(self._floats, slots, numbers)
        self._has_float[slots] = True

    def results(self, keys: Column, slots: Indices) -> Column:
        integers, has_float = self._integers.at(slots), self._has_float[slots]
        if self._decimals:
            return self._with_decimals(rows(integers), slots)
        if not has_float.any():
            return integers
        if isinstance(integers, pa.Array):
            with np.errstate(all="ignore"):
                sums = np.asarray(integers) + self._floats[slots]
            if has_float.all():
                return pa.array(sums)
        else:
            sums = np.array([_nearest(n) for n in rows(integers)]) + self._floats[slots]
        return [f if is_float else n for n, f, is_float in zip(rows(integers), sums.tolist(), has_float, strict=True)]

    def _with_decimals(self, integers: list[int], slots: Indices) -> list[Any]:
        found: list[Any] = []
        for slot, integer in zip(slots.tolist(), integers, strict=True):
            if (decimal := self._decimals.get(slot)) is not None:
                found.append(_DECIMALS.add(decimal, Decimal(integer)))
            else:
                found.append(_nearest(integer) + float(self._floats[slot]) if self._has_float[slot] else integer)
        return found

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        has_float = self._has_float[slots]
        floats = pa.array(self._floats[slots], mask=~has_float) if has_float.any() else pa.nulls(len(slots))
        decimals = list(map(self._decimals.get, slots.tolist())) if self._decimals else pa.nulls(len(slots))
        return {"integer": self._integers.at(slots), "float": floats, "decimal": decimals}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        self._integers.put(slots, fields["integer"])
        floats = rows(fields["float"])
        self._has_float[slots] = [f is not None for f in floats]
        self._floats[slots] = [f or 0.0 for f in floats]
        decimals = zip(slots.tolist(), rows(fields["decimal"]), strict=True)
        self._decimals = {slot: decimal for slot, decimal in decimals if decimal is not None}

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        self._integers.put(slots, fields["integer"])
        floats = rows(fields["float"])
        has_float = np.fromiter((f is not None for f in floats), bool, len(floats))
        self._add_floats(slots[has_float], np.array([f for f in floats if f is not None], np.float64))
        for slot, decimal in zip(slots.tolist(), rows(fields["decimal"]), strict=True):
            if decimal is not None:
                self._decimals[slot] = _DECIMALS.add(self._decimals.get(slot, Decimal(0)), decimal)

    def release(self, slots: Indices, fields: Mapping[str, Column]) -> bool:
        if self._decimals or bool(self._has_float.any()):
            return False
        self._integers.take_away(slots, fields["integer"])
        return True


class Means(Accumulator):
    """Sums, and how many numbers each is the sum of; they are divided when somebody asks, as Python's ``/`` does."""

    def __init__(self, operator: str) -> None:
        self._sums = Sums(operator, "mean")
        self._counts = Integers()

    def grow(self, size: int) -> None:
        self._sums.grow(size)
        self._counts.grow(size)

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        counts = np.ones(len(slots), np.int64)
        if batch.partial:
            assert isinstance(batch.values, Pairs)
            counts = np.asarray(batch.values.values)
            batch = Batch(batch.groups, batch.keys, batch.values.keys)
        try:
            self._sums.add(slots, batch, tick)
        except RowError as error:
            self._counts.add(slots[: error.at], counts[: error.at])
            raise
        self._counts.add(slots, counts)

    def results(self, keys: Column, slots: Indices) -> Column:
        sums, counts = self._sums.results(keys, slots), self._counts.at(slots)
        if isinstance(sums, pa.Array) and isinstance(counts, pa.Array):
            numbers = np.asarray(sums)
            if numbers.dtype == np.float64 or np.abs(numbers).max(initial=0) < _EXACT_DOUBLES:
                with np.errstate(all="ignore"):
                    return pa.array(numbers / np.asarray(counts))
        return columnar(list(map(_divided, rows(sums), rows(counts))))

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        return {"count": self._counts.at(slots), **self._sums.table(keys, slots)}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        self._counts.put(slots, fields["count"])
        self._sums.restore(slots, fields)

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        self._counts.put(slots, fields["count"])
        self._sums.absorb(slots, fields, tick)

    def release(self, slots: Indices, fields: Mapping[str, Column]) -> bool:
        if not self._sums.release(slots, fields):
            return False
        self._counts.take_away(slots, fields["count"])
        return True


class Extremes(Accumulator):
    """Smallest or largest values, by Python's ``<`` or ``>``; of equal ones the first.

    Typed while all values are int64, or all are doubles without NaN and -0.0, which NumPy does not compare as Python
    does; from then on Python objects.
    """

    def __init__(self, operator: str, kind: Literal["min", "max"]) -> None:
        self._operator = operator
        self._verb = kind
        self._better: Callable[[Any, Any], Any] = lt if kind == "min" else gt
        self._fold: np.ufunc = np.minimum if kind == "min" else np.maximum
        self._sign = 1 if kind == "min" else -1
        self._values: npt.NDArray[Any] | list[Any] = []
        self._size = self._held = 0  # slots; slots that held a value before this batch

    def grow(self, size: int) -> None:
        self._size = size
        if isinstance(self._values, list):
            self._values += [MISSING] * (size - len(self._values))
        else:
            self._values = grown(self._values, size, self._worst(self._values.dtype))

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        assert batch.values is not None
        numbers = comparable(batch.values)
        if numbers is not None and not self._held:
            self._values = np.full(self._size, self._worst(numbers.dtype))
        if numbers is not None and isinstance(self._values, np.ndarray) and numbers.dtype == self._values.dtype:
            self._fold.at(self._values, slots, numbers)
        else:
            try:
                self._compare(slots, batch, tick)
            finally:  # what came before a row that cannot be compared stays
                self._held = self._size
        self._held = self._size

    def _compare(self, slots: Indices, batch: Batch, tick: int) -> None:
        if isinstance(self._values, np.ndarray):
            self._values = self._values[: self._held].tolist() + [MISSING] * (self._size - self._held)
        best, better = self._values, self._better
        values = iter(rows(batch.values))
        try:
            for slot, value in zip(slots.tolist(), values, strict=True):
                if (so_far := best[slot]) is MISSING:
                    best[slot] = self._first(value)
                elif better(value, so_far):
                    best[slot] = value
        except Exception as error:
            raise failure_at(self._operator, tick, batch, length_hint(values), error) from error

    def _first(self, value: Any) -> Any:
        """A key's first value, which nothing has been compared with yet."""
        if value is None:
            raise TypeError(f"{self._verb} compares values, and got None; leave such rows out with a filter")
        return value

    def _worst(self, dtype: np.dtype[Any]) -> Any:
        if dtype == np.float64:
            return self._sign * np.inf
        return (INT64_END if self._sign > 0 else 1 - INT64_END) - 1

    def results(self, keys: Column, slots: Indices) -> Column:
        if isinstance(self._values, np.ndarray):
            return pa.array(self._values[slots])
        return columnar(copied(self._operator, rows(keys), values_at(self._values, slots)))

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        if isinstance(self._values, np.ndarray):
            return {"value": pa.array(self._values[slots])}
        return {"value": freeze(self._operator, rows(keys), values_at(self._values, slots))}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        values = columnar(thaw(fields["value"]))
        numbers = comparable(values)
        if numbers is None:
            self._values = [MISSING] * self._size
            for slot, value in zip(slots.tolist(), rows(values), strict=True):
                self._values[slot] = value
        else:
            self._values = np.empty(self._size, numbers.dtype)
            self._values[slots] = numbers
        self._held = self._size

    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        self.add(slots, absorbed(thaw(fields["value"])), tick)


def _nearest(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _divided(total: Any, count: int) -> Any:
    if isinstance(total, Decimal):
        return _DECIMALS.divide(total, Decimal(count))
    try:
        return total / count
    except OverflowError:
        return math.inf if total > 0 else -math.inf
