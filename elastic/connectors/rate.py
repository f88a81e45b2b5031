"""How users write the speed of a source."""

from __future__ import annotations

from elastic.connectors.base import Rate
from elastic.units import parse_rate


def as_rate(rate: Rate | str | None) -> Rate | None:
    """The rate that was meant: ``"200k/s"`` in records, ``"4MiB/s"`` in bytes; None is as fast as it goes.

    Raises:
        UnitError: Neither of these nor a ``Rate``; a bare number too, since it could be either.
    """
    return rate if rate is None or isinstance(rate, Rate) else Rate(*parse_rate(rate))
