"""Positions as the input log stores them: of a long one, only what has changed since the position before.

Files that are followed make a position of many numbers, of which a tick changes few.
"""

from __future__ import annotations

from itertools import compress, count
from operator import ne
from typing import Any

from elastic.connectors.base import Position

LONG = 16
"""A list of fewer numbers is stored whole."""

_CHANGED = "changed"
"""Stands in for a list: a map with the changed places and their values, one after the other."""


def stored(position: Position, before: Position | None) -> Any:
    """What is to be written of a position, ``before`` being the one that was written before it; None if there is none.

    A list that has lost numbers, or of which most have changed, is written whole.
    """
    if not isinstance(position, list) or not isinstance(before, list) or len(position) < max(LONG, len(before)):
        return position
    if position is before:
        return {_CHANGED: []}
    changed = [*compress(count(), map(ne, position, before)), *range(len(before), len(position))]
    if 2 * len(changed) >= len(position):
        return position
    return {_CHANGED: [value for n in changed for value in (n, position[n])]}


def restored(found: Any, before: Position | None) -> Position:
    """The position of which ``stored`` has made this. Where nothing has changed it is ``before`` itself."""
    if not isinstance(found, dict) or not isinstance(before, list):
        position: Position = found
        return position
    changes = found[_CHANGED]
    if not changes:
        return before
    whole = list(before)
    for n, value in zip(changes[::2], changes[1::2], strict=True):
        whole[n : n + 1] = [value]  # past the end, it is appended
    return whole
