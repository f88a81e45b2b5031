"""Event times from what records hold: numbers of seconds, dates, ISO 8601 text; in columns where they are one.

Inside, an event time is a whole number of microseconds since 1970, UTC. Finer fractions are rounded to the nearest.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Column, Times

Unit: TypeAlias = Literal["s", "ms", "us", "ns"]
"""What numbers count: since 1970, UTC."""

US_PER: dict[str, float] = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}

BEGINNING = -(2**62)
"""Before all event times: the watermark while nothing is known."""

END = 2**62
"""After all event times: the watermark when the stream has ended."""

_LATEST = 253_402_300_800 * 1_000_000
"""The end of the year 9999. A number beyond it, on either side of 1970, counts another unit than it is said to."""

_UNIX_ZERO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_YEAR_US = 31_556_952 * 1_000_000  # on average


@dataclass(frozen=True)
class Timestamps:
    """How event times are read from rows.

    Attributes:
        function: From a row to what ``time_of`` takes.
        unit: What numbers count.
        is_origin: The rows come from a source, so that they say how far event time has come.
    """

    function: Callable[[Any], Any]
    unit: Unit
    is_origin: bool

    def __call__(self, row: Any) -> int:
        """The event time of one row, microseconds."""
        return time_of(self.function(row), self.unit)


def seconds(time_us: int) -> float:
    """The event time as users see it: Unix time, seconds; infinite beyond both ends."""
    if BEGINNING < time_us < END:
        return time_us / 1_000_000
    return math.inf if time_us > 0 else -math.inf


def time_of(value: Any, unit: Unit) -> int:
    """The event time that one value means.

    Raises:
        ValueError, TypeError: It means none; the text says why.
    """
    if isinstance(value, bool) or value is None:
        raise TypeError(f"{value!r} is not a time")
    if isinstance(value, int | float):
        return _in_range(value, unit)
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
        return (aware - _UNIX_ZERO) // _MICROSECOND
    if isinstance(value, dt.date):
        return (dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC) - _UNIX_ZERO) // _MICROSECOND
    raise TypeError(f"a {type(value).__name__} is not a time; give a number, a datetime, or ISO 8601 text")


def _read(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is not a time; text is ISO 8601, such as 2026-03-01T08:00:00Z") from None


def _scaled(value: float, unit: Unit) -> int:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is not a time")
    if isinstance(value, int):
        return value // 1000 if unit == "ns" else value * int(US_PER[unit])
    return round(value * US_PER[unit])


def _in_range(value: float, unit: Unit) -> int:
    time_us = _scaled(value, unit)
    if -_LATEST < time_us < _LATEST:
        return time_us
    units: tuple[Unit, ...] = ("ms", "us", "ns")
    finer = [u for u in units if abs(_scaled(value, u)) < _LATEST]
    hint = f"; taken for {finer[0]}, it lies in {1970 + _scaled(value, finer[0]) // _YEAR_US}" if finer else ""
    raise ValueError(f"{value!r}, taken for {unit}, lies beyond the year 9999{hint}")


def times_of(column: Column, unit: Unit) -> Times | None:
    """The event time of every row, where the column's type says what it is; None if rows must be looked at."""
    if not isinstance(column, pa.Array) or column.null_count or not len(column):
        return None
    kind = column.type
    if pa.types.is_integer(kind):
        return _whole(np.asarray(column), unit)
    if pa.types.is_floating(kind):
        return _real(np.asarray(column).astype(np.float64, copy=False), unit)
    if pa.types.is_timestamp(kind):
        return _cast(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parsed(column)
    return None


def _whole(numbers: np.ndarray[Any, Any], unit: Unit) -> Times | None:
    if unit == "ns":
        return numbers.astype(np.int64) // 1000
    limit = _LATEST // int(US_PER[unit])
    if not (-limit < int(numbers.min()) and int(numbers.max()) < limit):
        return None
    return numbers.astype(np.int64) * int(US_PER[unit])


def _real(numbers: np.ndarray[Any, Any], unit: Unit) -> Times | None:
    scaled = numbers * US_PER[unit]
    np.rint(scaled, out=scaled)
    in_range = scaled.min() > -_LATEST and scaled.max() < _LATEST  # false for nan, too
    return scaled.astype(np.int64) if in_range else None


def _cast(column: pa.Array) -> Times | None:
    try:
        times = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return np.asarray(times)


def _parsed(column: pa.Array) -> Times | None:
    """All rows with a zone or all without one; anything else is looked at row by row."""
    kinds: tuple[pa.DataType, ...] = (pa.timestamp("us"), pa.timestamp("us", "UTC"))
    for kind in kinds:
        try:
            return np.asarray(column.cast(kind).cast(pa.int64()))
        except pa.ArrowInvalid:
            continue
    return None
