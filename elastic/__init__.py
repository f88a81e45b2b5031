"""Keyed, stateful stream processing that survives the death of any of its processes, exactly once."""

from __future__ import annotations

__version__ = "0.1.0"
