"""How many examples a property test draws."""

from __future__ import annotations

from hypothesis import settings


def examples(percent: int) -> settings:
    """So much of what the profile draws: where an example takes long, or there are very many kinds of them."""
    return settings(max_examples=max(1, settings().max_examples * percent // 100))
