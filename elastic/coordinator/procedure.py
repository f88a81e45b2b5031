"""One running reconfigure, as a value: what it replaces, by what, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from elastic.coordinator.membership import InstanceRecord
from elastic.keys import KeyInterval
from elastic.protocol import Started


@dataclass(slots=True)
class Procedure:
    """One running reconfigure.

    Attributes:
        old: The instance that is replaced.
        successors: (id, interval) of the new ones.
        cut: Where its checkpoint lies is known: cut, or nothing to cut.
        at_hand: The parts can be restored, though they may not be stored yet.
        at: The worker where it is cut or joined, and the parts lie; None if there is nothing to cut, or nobody yet.
        second: Another worker that is to have the parts too before they take over; None where one place will do.
        term: Under which the parts are held.
        origin: The instance whose checkpoint on the disk the one successor can be made from again.
        since_s: When it began, for its deadline.
        places: The worker of each successor, where they are to restore before the old instance is replaced.
        version: Of the successors that restore; above that of the old instance.
        restored: What those of them have said that have.
        patient: The checkpoint to be cut is the next one, not the newest.
        joined: Instances that are to become one, the old one among them; none if it is only replaced or cut.
        align: The tick at which they all checkpoint; 0 while their positions are being asked for.
        ahead_ms: So far ahead of them all it was.
        positions: Where those stand that have said so.
        aligned: Those whose checkpoint of that tick is stored.
    """

    id: int
    old: InstanceRecord
    successors: tuple[tuple[int, KeyInterval], ...]
    cause: str
    since_s: float
    cut: bool = False
    at_hand: bool = False
    at: int | None = None
    second: int | None = None
    term: int = 0
    origin: int | None = None
    tick: int = 0
    places: dict[int, int] = field(default_factory=dict)
    version: int = 0
    patient: bool = False
    restored: dict[int, Started] = field(default_factory=dict)
    joined: tuple[InstanceRecord, ...] = ()
    align: int = 0
    ahead_ms: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    aligned: set[int] = field(default_factory=set)

    @property
    def scales(self) -> bool:
        """Whether what it replaces was alive when it began: it scales out or in."""
        return bool(self.places)

    @property
    def is_complete(self) -> bool:
        """Whether all successors have restored parts that are stored."""
        return self.cut and len(self.restored) == len(self.successors)

    @property
    def low(self) -> int:
        """The first key group that it concerns."""
        return self.olds[0].interval.low

    @property
    def olds(self) -> tuple[InstanceRecord, ...]:
        """All that it replaces."""
        return self.joined or (self.old,)

    @property
    def workers(self) -> set[int]:
        """Whose loss calls it off, while it can be."""
        holders = {old.holder for old in self.joined if old.holder is not None}
        at = set() if self.at is None else {self.at}
        if self.joined and self.second is not None:
            at.add(self.second)
        return at | holders | set(self.places.values()) | {old.worker for old in self.joined}
