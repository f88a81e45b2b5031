"""Keys, key groups and key intervals. (placeholder until the real room lands)"""

from __future__ import annotations

from typing import NamedTuple

KEY_GROUPS = 256


class KeyInterval(NamedTuple):
    """Key groups ``[low, high)``: what one instance owns."""

    low: int
    high: int
