"""Between the coordinator and instances: how a stream ends, by itself or because somebody wants it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A source instance has read all there is; it goes on closing empty ticks until it is frozen."""

    instance: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """A source reads no more and closes nothing more; it answers ``Frozen``. Comes before the end, of either kind."""

    epoch: int
    instance: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A source instance has closed through ``tick`` and will close nothing more by itself."""

    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Every source is frozen: close the stream through ``tick``, the same for all.

    ``final``: the input ended, so operators emit what is pending; otherwise the job is only being stopped.
    """

    epoch: int
    instance: int
    tick: int
    final: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """A sink commits everything through ``tick`` as soon as it can, and says so: the job is being stopped."""

    epoch: int
    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A sink instance has committed everything through the tick that ends the stream: so many rows in this run."""

    instance: int
    tick: int
    rows: int = 0
