"""Columns by slot that grow, integers that never overflow, and numbers that NumPy orders as Python does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column, Indices, columnar, rows

INT64_END = 2**63


class Integers:
    """Integers by slot, exact: int64 as long as none can leave its range, Python's own after that."""

    def __init__(self) -> None:
        self._data: npt.NDArray[Any] = np.empty(0, np.int64)
        self._bound = 0  # no integer is further from zero

    def grow(self, size: int) -> None:
        """Make room for slots below ``size``; new ones hold 0."""
        self._data = grown(self._data, size)

    def add(self, slots: Indices, numbers: npt.NDArray[Any]) -> None:
        """Add each number, int64 or Python's own, to its slot."""
        if not len(numbers):
            return
        if self._data.dtype == np.int64 and not self._fits(numbers):
            self._data = self._data.astype(object)
        np.add.at(self._data, slots, numbers.astype(self._data.dtype, copy=False))

    def _fits(self, numbers: npt.NDArray[Any]) -> bool:
        """Whether no slot can leave int64 even if it gets all the numbers; if so, the bound counts them in."""
        most = len(numbers) * max(abs(int(numbers.min())), abs(int(numbers.max())))
        if self._bound + most >= INT64_END:
            self._bound = max(abs(int(self._data.min())), abs(int(self._data.max())))
        self._bound += most
        return self._bound < INT64_END

    def at(self, slots: Indices) -> Column:
        """The integers at the slots."""
        found = self._data[slots]
        return pa.array(found) if found.dtype == np.int64 else columnar(found.tolist())

    def take_away(self, slots: Indices, column: Column) -> None:
        """Undo a ``put`` of the same column."""
        numbers = np.asarray(column) if isinstance(column, pa.Array) else exact(rows(column))
        if len(numbers) and int(numbers.min()) == -INT64_END:
            numbers = numbers.astype(object)  # whose opposite is no int64
        self.add(slots, -numbers)

    def put(self, slots: Indices, column: Column) -> None:
        """Take over what ``at`` gave, for slots that hold 0."""
        self.add(slots, np.asarray(column) if isinstance(column, pa.Array) else exact(rows(column)))


def exact(integers: list[int]) -> npt.NDArray[Any]:
    """The integers as int64 if all of them fit, else as Python objects."""
    column = columnar(integers)
    return np.asarray(column) if isinstance(column, pa.Array) else np.array(integers, object)


def grown(data: npt.NDArray[Any], size: int, fill: Any = 0) -> npt.NDArray[Any]:
    """The array itself if it has room for ``size``, else a copy with twice the room, filled up."""
    if size <= len(data):
        return data
    room = np.full(max(size, 2 * len(data), 64), fill, data.dtype)
    room[: len(data)] = data
    return room


def comparable(column: Column) -> npt.NDArray[Any] | None:
    """int64 or float64 that NumPy orders as Python does; None if the column is anything else."""
    numbers = as_numbers(column)
    if numbers is None or numbers.dtype == np.int64:
        return numbers
    odd = np.isnan(numbers) | ((numbers == 0) & np.signbit(numbers))
    return None if odd.any() else numbers


def as_numbers(column: Column) -> npt.NDArray[Any] | None:
    """int64 or float64 for a column of numbers; None if it is anything else."""
    if isinstance(column, list):
        column = columnar(column)
    if not isinstance(column, pa.Array) or column.null_count:
        return None
    if pa.types.is_signed_integer(column.type):
        return np.asarray(column).astype(np.int64, copy=False)
    if not pa.types.is_floating(column.type):
        return None
    return np.asarray(column).astype(np.float64, copy=False)
