"""What a checkpoint keeps for one key, field by field, as the key's owner knows it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from elastic.operators.timers import stored_timers

_UNIX_ZERO = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def in_words(field: str, stored: Any, declared: Mapping[str, str]) -> str | None:
    """A field of the state in words; None where the key has nothing there.

    Args:
        field: Its name in the checkpoint.
        stored: What it holds there.
        declared: What each declared state is, by name, as ``describe`` tells.
    """
    if stored is None:
        return None
    if field.endswith(" timers"):
        each = [f"{name!r} at {_time(time_us)}" if name else _time(time_us) for name, time_us in stored_timers(stored)]
        return f"{field}: {', '.join(each)}" if each else None
    kind, _, name = field.partition(" ")
    if kind != "state" or name not in declared:
        return f"{field}: {stored!r}"
    return f"{field}: {_state(stored, declared[name])}"


def _state(stored: Any, described: str) -> str:
    shown = _dated if " with a ttl by " in described else repr
    if described.startswith("list"):
        return f"[{', '.join(map(shown, stored))}]"
    if described.startswith("map"):
        return f"{{{', '.join(f'{entry!r}: {shown(value)}' for entry, value in stored)}}}"
    return shown(stored)


def _dated(kept: Any) -> str:
    value, end_us = kept
    return f"{value!r} until {_time(end_us)}"


def _time(time_us: int) -> str:
    try:
        return (_UNIX_ZERO + dt.timedelta(microseconds=time_us)).isoformat(sep=" ", timespec="milliseconds")
    except OverflowError:
        return f"{time_us / 1e6:g}"
