"""What every aggregate keeps per key: the contract of accumulators, and what those that hold Python objects share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from elastic.batch import Batch, Column, Indices, columnar
from elastic.operators.failure import RowError, row_at, row_error

MISSING: Any = object()
"""Stands in a slot that holds nothing yet."""


class Accumulator(ABC):
    """The values of one aggregate in one instance, by slot."""

    @abstractmethod
    def grow(self, size: int) -> None:
        """Make room for slots below ``size``; new ones hold nothing yet."""

    @abstractmethod
    def add(self, slots: Indices, batch: Batch, tick: int) -> None:
        """Add each row of the batch to its slot, in order.

        Raises:
            RowError: A value cannot be added, or the user's function raised.
        """

    @abstractmethod
    def results(self, keys: Column, slots: Indices) -> Column:
        """The aggregates at the slots of the keys; nothing that happens later changes them.

        Where a function of the user's gives none and that is not to end the job, there stands an ``Unresolved``.
        """

    @abstractmethod
    def table(self, keys: Column, slots: Indices) -> dict[str, Column]:
        """The fields of a state table for the keys at ``slots``."""

    @abstractmethod
    def restore(self, slots: Indices, fields: Mapping[str, Column]) -> None:
        """Take over what ``table`` gave, for slots that hold nothing yet."""

    @abstractmethod
    def absorb(self, slots: Indices, fields: Mapping[str, Column], tick: int) -> None:
        """Add what ``table`` gave of other slots, each to its slot, in order, as if their rows came now.

        Raises:
            UserCodeError: The user's function raised.
        """

    def release(self, slots: Indices, fields: Mapping[str, Column]) -> bool:
        """Take away what was absorbed; whether that can be done exactly. If not, nothing is changed."""
        return False


def absorbed(values: list[Any], *, partial: bool = False) -> Batch:
    """Values of other slots as rows, to be added."""
    return Batch(np.zeros(len(values), np.uint16), [None] * len(values), columnar(values), partial)


def values_at(values: list[Any], slots: Indices) -> list[Any]:
    """The values at the slots."""
    return list(map(values.__getitem__, slots.tolist()))


def failure_at(operator: str, tick: int, batch: Batch, left: int, error: Exception) -> RowError:
    """The error of a user's function on the row after which ``left`` rows were left."""
    at = len(batch) - left - 1
    assert batch.values is not None
    return row_error(operator, tick, row_at(batch.values, at), error, at, key=row_at(batch.keys, at))
