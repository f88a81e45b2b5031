"""Between instances: subscriptions, the ticks that answer them, credit and acknowledgements."""

from __future__ import annotations

from dataclasses import dataclass

from elastic.batch import Batch
from elastic.keys import KeyInterval


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A consumer asks a producer for all that lies past tick ``after`` on one edge: start, replay and live data alike.

    Attributes:
        worker: Where the consumer lives.
        version: Of the consumer's assignment; a subscription supersedes overlapping ones of lower versions.
        window_bytes: Credit: so much may be under way before the consumer has processed any of it.
        seen_from: The consumer kept fingerprints of ticks ``(seen_from, after]``; what is not in ``seen`` was empty.
        seen: (tick, fingerprint) of what a predecessor of the producer delivered.
    """

    edge: int
    producer: int
    consumer: int
    worker: int
    interval: KeyInterval
    after: int
    version: int
    serial: int
    window_bytes: int
    seen_from: int = 0
    seen: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Deliver:
    """Closes ticks ``[first, tick]`` for one consumer; ``batch`` holds the rows of ``tick``, those before are empty.

    Attributes:
        size_bytes: Of the batch as the producer counts it, which is what credit is given back for.
        fingerprint: Of the batch; 0 where there is none.
        stable: A successor of the producer would start after this tick, so what lies at or below it never comes again.
        final: The stream ends with ``tick``.
    """

    edge: int
    producer: int
    consumer: int
    serial: int
    first: int
    tick: int
    batch: Batch | None = None
    size_bytes: int = 0
    fingerprint: int = 0
    stable: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Credit:
    """The consumer has processed ``consumed_bytes`` in all under the subscription ``serial``."""

    edge: int
    producer: int
    consumer: int
    serial: int
    consumed_bytes: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A stored checkpoint (a commit, for a sink) of the consumer covers ``interval`` through ``tick``."""

    edge: int
    producer: int
    interval: KeyInterval
    tick: int


@dataclass(frozen=True, slots=True)
class Want:
    """The consumer waits for the producer to close ``tick``; idle producers close late unless asked."""

    edge: int
    producer: int
    consumer: int
    tick: int


@dataclass(frozen=True, slots=True)
class NeedCheckpoint:
    """A producer's buffer state is past its limit: the consumer is asked for an early checkpoint."""

    edge: int
    consumer: int


@dataclass(frozen=True, slots=True)
class Differs:
    """A replayed tick gave other rows than the first time; ``batch`` is what came now. The consumer finds the row."""

    edge: int
    producer: int
    consumer: int
    tick: int
    batch: Batch | None
