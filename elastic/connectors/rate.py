"""How users write the speed of a source: constant, in steps, as ramps, or with bursts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from elastic.connectors.base import Phase, Rate
from elastic.units import UnitError, parse_duration_s, parse_rate

RateLike: TypeAlias = "Rate | str | Sequence[Sequence[str]] | Mapping[str, str] | None"

_EXPECTED = (
    "4MiB/s; steps and ramps as [[3s, 1MiB/s], [5s, 1MiB/s to 8MiB/s]]; or bursts as "
    "{base: 1k/s, peak: 10k/s, every: 10s, lasting: 1s}"
)


def as_rate(rate: RateLike) -> Rate | None:
    """The rate that was meant; None is as fast as it goes.

    ``"200k/s"`` counts records, ``"4MiB/s"`` bytes. A list of (duration, rate) pairs is gone through once, and then the
    last speed stays; a rate in it may be a ramp, ``"1MiB/s to 8MiB/s"``. A mapping with ``base``, ``peak``, ``every``
    and ``lasting`` has a burst at the end of each period, for ever.

    Raises:
        UnitError: None of these; speeds in records and in bytes; a bare number too, since it could be either.
    """
    if rate is None or isinstance(rate, Rate):
        return rate
    if isinstance(rate, str):
        return Rate(*parse_rate(rate))
    if isinstance(rate, Mapping):
        return _bursts(rate)
    if isinstance(rate, Sequence) and rate:
        return _phases(rate)
    raise UnitError(rate, "rate", _EXPECTED)


def _phases(pairs: Sequence[Any]) -> Rate:
    phases, units = [], set()
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise UnitError(pair, "step of a rate", "a duration and a rate, such as [3s, 1MiB/s]")
        duration, text = pair
        speeds = [parse_rate(part) for part in (text.split(" to ") if isinstance(text, str) else [text])]
        if len(speeds) > 2:
            raise UnitError(text, "ramp", "two rates, such as 1MiB/s to 8MiB/s")
        units |= {unit for _, unit in speeds}
        phases.append(Phase(_seconds(duration), speeds[0][0], speeds[-1][0]))
    if len(units) != 1:
        raise UnitError(pairs, "rate", "all of it in records, or all of it in bytes")
    return Rate(phases[-1].end, units.pop(), tuple(phases))


def _bursts(written: Mapping[str, Any]) -> Rate:
    if set(written) != {"base", "peak", "every", "lasting"}:
        raise UnitError(dict(written), "rate with bursts", "{base: 1k/s, peak: 10k/s, every: 10s, lasting: 1s}")
    every, lasting = _seconds(written["every"]), _seconds(written["lasting"])
    if lasting >= every:
        raise UnitError(written["lasting"], "length of a burst", f"less than every, {written['every']}")
    base, peak = [every - lasting, written["base"]], [lasting, written["peak"]]
    (low, unit), (high, other) = parse_rate(base[1]), parse_rate(peak[1])
    if unit != other:
        raise UnitError(dict(written), "rate", "all of it in records, or all of it in bytes")
    return Rate(low, unit, (Phase(every - lasting, low, low), Phase(lasting, high, high)), cycle=True)


def _seconds(text: object) -> float:
    seconds = parse_duration_s(text)
    if seconds <= 0:
        raise UnitError(text, "duration", "one above zero, such as 3s")
    return seconds
