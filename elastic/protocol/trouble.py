"""What instances tell the coordinator when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance cannot go on: user code raised, a source cannot be read, a target refuses."""

    instance: int
    operator: str
    tick: int
    error: str


@dataclass(frozen=True, slots=True)
class Fenced:
    """An instance found out at its input log or target that it was replaced; it has stopped."""

    instance: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A subscription asked for ticks that were trimmed: fatal if the consumer is current, a zombie's if not."""

    edge: int
    producer: int
    consumer: int
    after: int
    floor: int


@dataclass(frozen=True, slots=True)
class Nondeterministic:
    """A replay differed: which operator, which tick, which key or row."""

    operator: str
    tick: int
    key: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """A source instance has met something that does not stop it, and that the job's owner should know."""

    instance: int
    text: str
