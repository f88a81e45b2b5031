"""What an aggregate keeps per key: columns by slot, added to by whole batches.

Every accumulator is given a key's values in canonical order, some of them perhaps combined by the sender, and gives the
same result however they were cut into batches and whichever integers were combined.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from operator import gt, length_hint, lt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Batch, Column, Indices, columnar, rows
from elastic.operators.failure import row_at, user_error
from elastic.operators.integers import INT64_END, Integers, exact, grown
from elastic.operators.snapshot import copied, freeze, thaw

_MISSING: Any = object()


class Accumulator(ABC):
    """The values of one aggregate in one instance, by slot."""

    @abstractmethod
    def grow(self, size: int) -> None:
        """Make room for slots below ``size``; new ones hold nothing yet."""

    @abstractmethod
    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        """Add each row of the batch to its slot, in order.

        Raises:
            UserCodeError: A value cannot be added, or the user's function raised.
        """

    @abstractmethod
    def results(self, keys: Column, slots: Indices) -> Column:
        """The aggregates at the slots of the keys; nothing that happens later changes them."""

    @abstractmethod
    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        """The fields of a state table for the keys at ``slots``."""

    @abstractmethod
    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        """Take over what ``table`` gave, for slots that hold nothing yet."""


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


class Sums(Accumulator):
    """Sums of int and float: integers exactly, floats in canonical order, and the two apart until somebody asks.

    Apart, because integers may come combined by the sender: if floats were added in between, the sum's last digits
    would depend on who combined what.
    """

    def __init__(self, operator: str) -> None:
        self._operator = operator
        self._integers = Integers()
        self._floats = np.empty(0)
        self._has_float = np.empty(0, bool)

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
            if pa.types.is_floating(values.type):
                return self._add_floats(slots, np.asarray(values))
        numbers = rows(values)
        whole = np.fromiter((isinstance(n, int) for n in numbers), bool, len(numbers))
        for i in np.flatnonzero(~whole).tolist():
            if not isinstance(numbers[i], float):
                kind = type(numbers[i]).__name__
                error = TypeError(f"sum adds int and float, and got {kind}; for other types use reduce(operator.add)")
                raise user_error(self._operator, tick, numbers[i], error, key=row_at(batch.keys, i))
        self._integers.add(slots[whole], exact([int(n) for n in numbers if isinstance(n, int)]))
        self._add_floats(slots[~whole], np.array([n for n in numbers if not isinstance(n, int)], np.float64))
        return None

    def _add_floats(self, slots: Indices, numbers: npt.NDArray[np.floating[Any]]) -> None:
        with np.errstate(all="ignore"):  # inf and nan come out as in Python
            np.add.at(self._floats, slots, numbers)
        self._has_float[slots] = True

    def results(self, keys: Column, slots: Indices) -> Column:
        integers, has_float = self._integers.at(slots), self._has_float[slots]
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

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        has_float = self._has_float[slots]
        floats = pa.array(self._floats[slots], mask=~has_float) if has_float.any() else pa.nulls(len(slots))
        return {"integer": self._integers.at(slots), "float": floats}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        self._integers.put(slots, fields["integer"])
        floats = rows(fields["float"])
        self._has_float[slots] = [f is not None for f in floats]
        self._floats[slots] = [f or 0.0 for f in floats]


class Extremes(Accumulator):
    """Smallest or largest values, by Python's ``<`` or ``>``; of equal ones the first.

    Typed while all values are int64, or all are doubles without NaN and -0.0, which NumPy does not compare as Python
    does; from then on Python objects.
    """

    def __init__(self, operator: str, kind: Literal["min", "max"]) -> None:
        self._operator = operator
        self._better: Callable[[Any, Any], Any] = lt if kind == "min" else gt
        self._fold: np.ufunc = np.minimum if kind == "min" else np.maximum
        self._sign = 1 if kind == "min" else -1
        self._values: npt.NDArray[Any] | list[Any] = []
        self._size = self._held = 0  # slots; slots that held a value before this batch

    def grow(self, size: int) -> None:
        self._size = size
        if isinstance(self._values, list):
            self._values += [_MISSING] * (size - len(self._values))
        else:
            self._values = grown(self._values, size, self._worst(self._values.dtype))

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        assert batch.values is not None
        numbers = _comparable(batch.values)
        if numbers is not None and not self._held:
            self._values = np.full(self._size, self._worst(numbers.dtype))
        if numbers is not None and isinstance(self._values, np.ndarray) and numbers.dtype == self._values.dtype:
            self._fold.at(self._values, slots, numbers)
        else:
            self._compare(slots, batch, tick)
        self._held = self._size

    def _compare(self, slots: Indices, batch: Batch, tick: int) -> None:
        if isinstance(self._values, np.ndarray):
            self._values = self._values[: self._held].tolist() + [_MISSING] * (self._size - self._held)
        best, better = self._values, self._better
        values = iter(rows(batch.values))
        try:
            for slot, value in zip(slots.tolist(), values, strict=True):
                if (so_far := best[slot]) is _MISSING or better(value, so_far):
                    best[slot] = value
        except Exception as error:
            raise _failure(self._operator, tick, batch, length_hint(values), error) from error

    def _worst(self, dtype: np.dtype[Any]) -> Any:
        if dtype == np.float64:
            return self._sign * np.inf
        return (INT64_END if self._sign > 0 else 1 - INT64_END) - 1

    def results(self, keys: Column, slots: Indices) -> Column:
        if isinstance(self._values, np.ndarray):
            return pa.array(self._values[slots])
        return columnar(copied(self._operator, rows(keys), _at(self._values, slots)))

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        if isinstance(self._values, np.ndarray):
            return {"value": pa.array(self._values[slots])}
        return {"value": freeze(self._operator, rows(keys), _at(self._values, slots))}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        values = columnar(thaw(fields["value"]))
        numbers = _comparable(values)
        if numbers is None:
            self._values = [_MISSING] * self._size
            for slot, value in zip(slots.tolist(), rows(values), strict=True):
                self._values[slot] = value
        else:
            self._values = np.empty(self._size, numbers.dtype)
            self._values[slots] = numbers
        self._held = self._size


class Reductions(Accumulator):
    """What a function of the user's makes of the value so far and the next one, from a key's first value on."""

    def __init__(self, operator: str, function: Callable[[Any, Any], Any]) -> None:
        self._operator = operator
        self._function = function
        self._values: list[Any] = []

    def grow(self, size: int) -> None:
        self._values += [_MISSING] * (size - len(self._values))

    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        values, function, missing = self._values, self._function, _MISSING
        news = iter(rows(batch.values))
        try:
            for slot, new in zip(slots.tolist(), news, strict=True):
                so_far = values[slot]
                values[slot] = new if so_far is missing else function(so_far, new)
        except Exception as error:
            raise _failure(self._operator, tick, batch, length_hint(news), error) from error

    def results(self, keys: Column, slots: Indices) -> Column:
        return columnar(copied(self._operator, rows(keys), _at(self._values, slots)))

    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        return {"value": freeze(self._operator, rows(keys), _at(self._values, slots))}

    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        for slot, value in zip(slots.tolist(), thaw(fields["value"]), strict=True):
            self._values[slot] = value


def _nearest(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _at(values: list[Any], slots: Indices) -> list[Any]:
    return list(map(values.__getitem__, slots.tolist()))


def _comparable(column: Column) -> npt.NDArray[Any] | None:
    """int64 or float64 that NumPy orders as Python does; None if the column is anything else."""
    if isinstance(column, list):
        column = columnar(column)
    if not isinstance(column, pa.Array) or column.null_count:
        return None
    if pa.types.is_signed_integer(column.type):
        return np.asarray(column).astype(np.int64, copy=False)
    if not pa.types.is_floating(column.type):
        return None
    numbers = np.asarray(column).astype(np.float64, copy=False)
    odd = np.isnan(numbers) | ((numbers == 0) & np.signbit(numbers))
    return None if odd.any() else numbers


def _failure(operator: str, tick: int, batch: Batch, left: int, error: Exception) -> Exception:
    """The error of a user's function on the row after which ``left`` rows were left."""
    at = len(batch) - left - 1
    assert batch.values is not None
    return user_error(operator, tick, row_at(batch.values, at), error, key=row_at(batch.keys, at))
