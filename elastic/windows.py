"""Windows: how a keyed stream's time is cut into pieces that are aggregated each for itself.

Every window is ``[start, end)``, in Unix time. Those of one size begin at multiples of their step, so a window of an
hour begins at the full hour, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import NamedTuple, TypeAlias

from elastic.surface import surface
from elastic.units import UnitError, parse_duration_ms

__all__ = ["FixedWindows", "SessionWindows", "Window", "WindowSpec", "session", "sliding", "tumbling"]


class Window(NamedTuple):
    """One window; Unix times, seconds: ``start`` belongs to it, ``end`` does not."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class FixedWindows:
    """Windows of one size, one beginning every ``step``; they overlap where that is shorter. Microseconds."""

    size_us: int
    step_us: int
    offset_us: int = 0

    @property
    def pane_us(self) -> int:
        """The longest pieces that every window consists of."""
        return gcd(self.size_us, self.step_us)

    @property
    def is_tumbling(self) -> bool:
        """Whether each moment lies in exactly one window."""
        return self.size_us == self.step_us

    def __str__(self) -> str:
        if self.is_tumbling:
            return f"tumbling {_text(self.size_us)}"
        return f"sliding {_text(self.size_us)} every {_text(self.step_us)}"


@dataclass(frozen=True, slots=True)
class SessionWindows:
    """Windows that last, key by key, until no row has come for ``gap_us`` microseconds."""

    gap_us: int

    def __str__(self) -> str:
        return f"session {_text(self.gap_us)}"


WindowSpec: TypeAlias = FixedWindows | SessionWindows


@surface
def tumbling(size: str, *, offset: str = "0s") -> FixedWindows:
    """One window after the other.

    Args:
        size: Length of each, such as ``"1m"``.
        offset: Where they begin after a multiple of their size: ``tumbling("24h", offset="22h")`` are the days of a
            place two hours ahead of UTC.

    Raises:
        UnitError: Not a duration, or none at all.
    """
    size_us = _duration_us(size)
    return FixedWindows(size_us, size_us, parse_duration_ms(offset) * 1000 % size_us)


@surface
def sliding(size: str, every: str, *, offset: str = "0s") -> FixedWindows:
    """Windows that overlap: one begins every ``every``, so that a row lies in about ``size / every`` of them.

    Args:
        size: Length of each.
        every: From the beginning of one to that of the next; not longer than ``size``.
        offset: Where they begin after a multiple of ``every``.

    Raises:
        UnitError: Not a duration, none at all, or windows that would leave gaps.
    """
    size_us, step_us = _duration_us(size), _duration_us(every)
    if step_us > size_us:
        raise UnitError(every, f"duration of at most {size}, so that no row falls between two windows", f'"{size}"')
    return FixedWindows(size_us, step_us, parse_duration_ms(offset) * 1000 % step_us)


@surface
def session(gap: str) -> SessionWindows:
    """A key's rows for as long as no two are ``gap`` or more apart; it ends that long after the last one.

    Raises:
        UnitError: Not a duration, or none at all.
    """
    return SessionWindows(_duration_us(gap))


def _duration_us(text: str) -> int:
    length_ms = parse_duration_ms(text)
    if not length_ms:
        raise UnitError(text, "duration above zero", '"1m"')
    return length_ms * 1000


def _text(duration_us: int) -> str:
    for unit, length_us in (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if duration_us % length_us == 0:
            return f"{duration_us // length_us}{unit}"
    return f"{duration_us // 1000}ms"
