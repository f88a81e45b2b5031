"""Durations, sizes, rates and counts as people write them: ``10ms``, ``64MiB``, ``4MiB/s``, ``200k records``.

A number without a unit is refused (only 0 needs none), and so is a unit that could be read two ways: a limit or timeout
that is off by a factor of a thousand costs more than the letters. Every refusal names a form that is accepted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

from elastic.errors import UserError

RateUnit: TypeAlias = Literal["records", "bytes"]

_DURATIONS_S: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES_BYTES: dict[str, int] = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_COUNTS: dict[str, int] = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}

# What people write instead, in lower case, and what they most likely mean.
_DURATION_SLIPS: Mapping[str, str] = {
    **dict.fromkeys(("", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
}
_SIZE_SLIPS: Mapping[str, str] = {
    **dict.fromkeys(("byte", "bytes"), "B"),
    **dict.fromkeys(("", "m", "mb", "mi"), "MiB"),
    **dict.fromkeys(("k", "kb", "ki"), "KiB"),
    **dict.fromkeys(("g", "gb", "gi"), "GiB"),
    **dict.fromkeys(("t", "tb", "ti"), "TiB"),
}
_COUNT_SLIPS: Mapping[str, str] = {"b": "G", "bn": "G", "mio": "M", "million": "M", "thousand": "k"}

_NUMBER_AND_UNIT = re.compile(r"\s*(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?)\s*(?P<unit>[^\W\d_]*)\s*", re.ASCII)


class UnitError(UserError, ValueError):
    """A duration, size, rate or count that is not written as one; also a ``ValueError``, so that validators report it.

    Attributes:
        given: What was written.
        expected: What it was taken for: ``duration``, ``size``, ``rate`` or ``count``.
        suggestion: A form that would have been accepted.
    """

    def __init__(self, given: object, expected: str, suggestion: str) -> None:
        super().__init__(given, expected, suggestion)
        self.given, self.expected, self.suggestion = given, expected, suggestion

    def __str__(self) -> str:
        given = f'"{self.given}"' if isinstance(self.given, str) else repr(self.given)
        return f"{given} is not a {self.expected}; write {self.suggestion}"


def parse_duration_s(text: object) -> float:
    """Seconds in a duration such as ``10ms``, ``5s``, ``1.5m`` or ``2h``; never negative.

    Raises:
        UnitError: Not a duration, or a number without a unit.
    """
    return _scaled(text, "duration", _DURATIONS_S, _DURATION_SLIPS, "10ms, 5s or 1m")


def parse_duration_ms(text: object) -> int:
    """Whole milliseconds in a duration.

    Raises:
        UnitError: Not a duration, or not a whole number of milliseconds.
    """
    exact = parse_duration_s(text) * 1000
    whole = round(exact)
    if not math.isclose(exact, whole, abs_tol=1e-9):
        raise UnitError(text, "whole number of milliseconds", f"{max(1, whole)}ms")
    return whole


def parse_size_bytes(text: object) -> int:
    """Bytes in a size such as ``512B``, ``64KiB``, ``64MiB`` or ``1.5GiB``; powers of 1024 only.

    Raises:
        UnitError: Not a size; the decimal ``MB`` too, since half of the world reads it as the other one.
    """
    return round(_scaled(text, "size", _SIZES_BYTES, _SIZE_SLIPS, "64MiB, 512KiB or 1GiB"))


def parse_count(text: object) -> int:
    """Number of records in ``200000``, ``200k`` or ``1.5M records``; an ``int`` is taken as it is.

    Raises:
        UnitError: Not a count, negative, or a fraction of a record.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    exact = _records(text)
    if not math.isclose(exact, round(exact)):
        raise UnitError(text, "count", f"{round(exact)}, a whole number of records")
    return round(exact)


def _records(text: object) -> float:
    """Number of records, which for a rate need not be whole."""
    bare = re.sub(r"\s*records?\s*\Z", "", text) if isinstance(text, str) else text
    try:
        return _scaled(bare, "count", _COUNTS, _COUNT_SLIPS, "200000, 200k or 1M records")
    except UnitError as error:
        raise UnitError(text, "count", error.suggestion) from None


def parse_rate(text: object) -> tuple[float, RateUnit]:
    """(amount per second, its unit) of ``200k/s``, ``0.5 records/s`` or ``4MiB/s``; always above zero.

    Raises:
        UnitError: Not a rate, or zero.
    """
    amount, slash, period = text.partition("/") if isinstance(text, str) else (text, "", "")
    expected = "200k/s (records) or 4MiB/s (bytes)"
    if not slash or period.strip() != "s":
        raise UnitError(text, "rate", _rate_suggestion(amount, expected))
    unit: RateUnit = "records"
    try:
        per_second = _records(amount)
    except UnitError:
        try:
            per_second, unit = parse_size_bytes(amount), "bytes"
        except UnitError:
            raise UnitError(text, "rate", _rate_suggestion(amount, expected)) from None
    if per_second <= 0:
        raise UnitError(text, "rate", f"one above zero, such as {expected}")
    return per_second, unit


def _scaled(text: object, expected: str, units: Mapping[str, float], slips: Mapping[str, str], examples: str) -> float:
    """The number in ``text`` times its unit."""
    if text == 0 and not isinstance(text, (bool, str)):
        return 0.0
    written = f"{text}" if isinstance(text, (int, float)) and not isinstance(text, bool) else text
    match = _NUMBER_AND_UNIT.fullmatch(written) if isinstance(written, str) else None
    if match is None:
        raise UnitError(text, expected, examples)
    number, unit = match["number"], match["unit"]
    if unit in units and (unit or not isinstance(text, (int, float))):
        return float(number.replace("_", "")) * units[unit]
    if float(number.replace("_", "")) == 0 and not unit:
        return 0.0
    meant = _meant(unit, units, slips)
    raise UnitError(text, expected, f"{number}{meant}" if meant is not None else examples)


def _meant(unit: str, units: Mapping[str, float], slips: Mapping[str, str]) -> str | None:
    """The unit that was most likely meant: one that differs in case, or a known slip."""
    by_lower = {u.lower(): u for u in units if u}
    return by_lower.get(unit.lower()) or slips.get(unit.lower())


def _rate_suggestion(amount: object, examples: str) -> str:
    """A rate with the amount that was written, if that much of it could be read."""
    match = _NUMBER_AND_UNIT.fullmatch(f"{amount}") if not isinstance(amount, bool) else None
    if match is None:
        return examples
    number, unit = match["number"], match["unit"]
    if unit in _COUNTS or unit in _SIZES_BYTES:
        return f"{number}{unit}/s"
    meant = _meant(unit, _SIZES_BYTES, _SIZE_SLIPS)
    return examples if meant is None else f"{number}{meant}/s"


_ROUNDS_UP = 0.9995  # what three digits would show as the next unit's 1


def format_duration(seconds: float) -> str:
    """Three significant digits and the unit that suits them: ``850ms``, ``1.52s``, ``12.3s``, ``2m05s``, ``1h02m``."""
    if seconds < 0.9995:
        return f"{_digits(seconds * 1000)}ms"
    if seconds < 59.95:
        return f"{_digits(seconds)}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def format_size(size_bytes: float) -> str:
    """Three significant digits in the largest unit that keeps them above one: ``512B``, ``1.5MiB``."""
    for unit, bytes_each in reversed(_SIZES_BYTES.items()):
        if size_bytes >= bytes_each * _ROUNDS_UP:
            return f"{_digits(size_bytes / bytes_each)}{unit}"
    return f"{_digits(size_bytes)}B"


def format_count(count: float) -> str:
    """A count at a glance: ``950``, ``12.3k``, ``4.56M``."""
    for unit, each in reversed(_COUNTS.items()):
        if count >= each * _ROUNDS_UP:
            return f"{_digits(count / each)}{unit}"
    return _digits(count)


def counted(count: int, noun: str) -> str:
    """A count in a sentence, with its noun in the number that it takes: ``1 record``, ``58,599 records``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _digits(value: float) -> str:
    """Three significant digits, without zeros that say nothing."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
