"""Values as they are now: what a checkpoint keeps of a value that user code could still change in place."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from elastic.batch import Column, columnar, rows
from elastic.errors import UserError
from elastic.operators.failure import shortened
from elastic.pickling import dumps, loads

IMMUTABLE: frozenset[type] = frozenset(
    {type(None), bool, int, float, complex, str, bytes, decimal.Decimal} | {dt.date, dt.datetime, dt.time, dt.timedelta}
)
"""Types none of whose values can be changed in place."""

_NESTING: frozenset[type] = frozenset({tuple, frozenset})


def is_immutable(value: Any) -> bool:
    """Whether nothing can change the value in place, so that it may be shared instead of copied."""
    kind = type(value)
    return kind in IMMUTABLE or ((kind is tuple or kind is frozenset) and all(map(is_immutable, value)))


def all_immutable(values: Iterable[Any]) -> bool:
    """Whether ``is_immutable`` holds for every value; level by level, so that the loops run in C."""
    level = list(values)
    while not IMMUTABLE.issuperset(kinds := set(map(type, level))):
        if not kinds - IMMUTABLE <= _NESTING:
            return False
        level = list(chain.from_iterable(value for value in level if type(value) in _NESTING))
    return True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A mutable value, serialised; whoever only keeps or moves it never needs its class."""

    data: bytes


class UnserialisableStateError(UserError):
    """A value in the state of a user's operator cannot be serialised.

    Attributes:
        operator: Name of the operator in the query.
        key: ``repr`` of the key, shortened.
        value: ``repr`` of the value, shortened.
        reason: What the serialiser said.
    """

    def __init__(self, operator: str, key: str, value: str, reason: str) -> None:
        super().__init__(operator, key, value, reason)
        self.operator, self.key, self.value, self.reason = operator, key, value, reason

    def __str__(self) -> str:
        return (
            f"operator {self.operator!r} has a value for key {self.key} that cannot leave its process: {self.value}; "
            f"{self.reason}"
        )


def freeze(operator: str, keys: Sequence[Any], values: list[Any]) -> Column:
    """The values as they are now, as a column: immutable ones shared, each other one a ``Snapshot``.

    Raises:
        UnserialisableStateError: A value cannot be serialised; the error names the operator and the value's key.
    """
    if all_immutable(values):
        return columnar(values)
    return [frozen(operator, key, value) for key, value in zip(keys, values, strict=True)]


def frozen(operator: str, key: Any, value: Any) -> Any:
    """The value as it is now: itself if it is immutable, else a ``Snapshot``.

    Raises:
        UnserialisableStateError: It cannot be serialised.
    """
    return value if is_immutable(value) else Snapshot(_pickled(operator, key, value))


def thaw(column: Column) -> list[Any]:
    """The values that were frozen, each a new object where it could be changed in place."""
    return [loads(value.data) if type(value) is Snapshot else value for value in rows(column)]


def copied(operator: str, keys: Sequence[Any], values: list[Any]) -> list[Any]:
    """The values as they are now, as rows: immutable ones shared, each other one a copy.

    Raises:
        UnserialisableStateError: A value cannot be serialised; the error names the operator and the value's key.
    """
    if all_immutable(values):
        return values
    return thaw(freeze(operator, keys, values))


def _pickled(operator: str, key: Any, value: Any) -> bytes:
    try:
        return dumps(value)
    except UserError as error:
        raise UnserialisableStateError(operator, shortened(key), shortened(value), str(error)) from error
