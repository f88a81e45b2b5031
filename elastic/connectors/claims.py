"""Who may write which key groups of a target, and up to which tick they are committed: the record every sink keeps.

A target holds a list of claims without overlap. Opening a writer and committing are functions from that list to the
next one; what makes each of them atomic (a transaction, an append) is the target's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from elastic.errors import FencedError
from elastic.keys import KeyInterval

NOTHING = 0
"""Committed tick of key groups that no writer has committed: ticks start at 1."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A key interval of a target, the newest generation that opened it, and its committed tick."""

    interval: KeyInterval
    generation: int
    tick: int


def opened(claims: Sequence[Claim], interval: KeyInterval, generation: int) -> list[Claim]:
    """The claims once a writer of ``generation`` owns ``interval``: those that stick out are cut, ticks stay.

    Raises:
        FencedError: A higher generation has opened some group of the interval.
    """
    inside, outside = _cut(claims, interval, generation)
    at, pieces = interval.low, list[Claim]()
    for claim in inside:
        if at < claim.interval.low:
            pieces.append(Claim(KeyInterval(at, claim.interval.low), generation, NOTHING))
        pieces.append(Claim(claim.interval, generation, claim.tick))
        at = claim.interval.high
    if at < interval.high:
        pieces.append(Claim(KeyInterval(at, interval.high), generation, NOTHING))
    return _joined([*outside, *pieces])


def advanced(claims: Sequence[Claim], interval: KeyInterval, generation: int, through: int) -> list[Claim]:
    """The claims once the writer that owns ``interval`` has committed through a tick; groups past it keep theirs.

    Raises:
        FencedError: A higher generation has opened some group of the interval.
    """
    for n, claim in enumerate(claims):  # nearly always the writer has one claim, and nobody has cut it
        if claim.interval == interval and claim.generation == generation:
            return [*claims[:n], Claim(interval, generation, max(claim.tick, through)), *claims[n + 1 :]]
    inside, outside = _cut(claims, interval, generation)
    return _joined([*outside, *(Claim(c.interval, generation, max(c.tick, through)) for c in inside)])


def committed(claims: Sequence[Claim], interval: KeyInterval) -> list[tuple[KeyInterval, int]]:
    """The committed tick of each piece of an interval that a writer has opened; the pieces tile it, in order."""
    pieces = [(_overlap(c.interval, interval), c.tick) for c in claims]
    return sorted((piece, tick) for piece, tick in pieces if piece.low < piece.high)


def progress_ticks(tick_ms: int) -> int:
    """After so many ticks without rows a writer records its progress: often enough for a display, cheap when idle."""
    return max(1, 250 // tick_ms)


def _cut(claims: Sequence[Claim], interval: KeyInterval, generation: int) -> tuple[list[Claim], list[Claim]]:
    """The parts of claims inside the interval, in order, and those outside."""
    inside, outside = list[Claim](), list[Claim]()
    for claim in sorted(claims, key=lambda c: c.interval):
        low, high = claim.interval
        piece = _overlap(claim.interval, interval)
        if piece.low >= piece.high:
            outside.append(claim)
            continue
        if claim.generation > generation:
            raise FencedError(
                f"generation {generation} may no longer write the key groups {interval}: "
                f"generation {claim.generation} has taken over {piece}; stop this writer, it has been replaced"
            )
        inside.append(Claim(piece, claim.generation, claim.tick))
        rests = KeyInterval(low, piece.low), KeyInterval(piece.high, high)
        outside += [Claim(rest, claim.generation, claim.tick) for rest in rests if rest.low < rest.high]
    return inside, outside


def _overlap(one: KeyInterval, other: KeyInterval) -> KeyInterval:
    """What both have in common; its low is not below its high if that is nothing."""
    return KeyInterval(max(one.low, other.low), min(one.high, other.high))


def _joined(claims: Sequence[Claim]) -> list[Claim]:
    """The claims in order, neighbours that agree made one."""
    result = list[Claim]()
    for claim in sorted(claims, key=lambda c: c.interval):
        last = result[-1] if result else claim
        adjacent = last.interval.high == claim.interval.low
        if adjacent and (last.generation, last.tick) == (claim.generation, claim.tick):
            result[-1] = replace(claim, interval=KeyInterval(last.interval.low, claim.interval.high))
        else:
            result.append(claim)
    return result
