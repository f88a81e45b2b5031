"""Versions of a partition's state: whole ones, and deltas that say what was written since another one.

A delta is cut where the elastic model cuts one, and folded with the same code. What differs is that a version before
the newest may be what lost state starts from, so nothing is folded where it is kept: a whole version is cut again once
the deltas on the last one outweigh it, and what lies before it goes when it is needed no more.

Source: D-Streams §4.1, checkpoints of state, and §6.2, where deltas of them are named as what could be done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from elastic.state.folding import MAX_DELTAS, Layers, folded
from elastic.state.processing import StateTable

PartitionId: TypeAlias = tuple[int, int]
"""A partition of a stage with state: (stage, number)."""


@dataclass(frozen=True, slots=True)
class Version:
    """The state of a partition after an interval.

    Attributes:
        table: By key; in a delta what was written or deleted since its base. None for none.
        common: What belongs to no key, such as watermarks and what is broadcast, always whole; None for nothing.
        base: The interval of the version that a delta builds on; None for a whole one.
    """

    table: StateTable | None
    common: Any = None
    base: int | None = None

    @property
    def size_bytes(self) -> int:
        """Memory of the table."""
        return 0 if self.table is None else self.table.size_bytes


def whole(links: Sequence[Version]) -> Version:
    """The version that a whole one and deltas, each on the one before, come to; at least one."""
    tables = [version.table for version in links if version.table is not None]
    table = folded(Layers((tables[0],), tuple(tables[1:]))) if tables else None
    return Version(table, links[-1].common)


@dataclass(slots=True)
class Weight:
    """What the versions weigh that one incarnation of a partition has cut.

    Attributes:
        last: The interval of the last one; None if the next one is to be whole.
    """

    last: int | None = None
    _whole_bytes: int = 0
    _delta_bytes: int = 0
    _deltas: int = 0

    @property
    def is_due(self) -> bool:
        """Whether the next one is to be whole: the deltas outweigh the last whole one, or are very many."""
        return self.last is None or self._delta_bytes > self._whole_bytes or self._deltas >= MAX_DELTAS

    def cut(self, interval: int, version: Version) -> None:
        """One more."""
        self.last = interval
        if version.base is None:
            self._whole_bytes, self._delta_bytes, self._deltas = version.size_bytes, 0, 0
        else:
            self._delta_bytes += version.size_bytes
            self._deltas += 1


class Chain:
    """Which versions of one partition lie in one place; a delta counts only where its base does."""

    def __init__(self) -> None:
        self._bases: dict[int, int | None] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._bases))

    def add(self, interval: int, base: int | None) -> bool:
        """Take a version in, in place of one of the same interval, which says the same; False without its base."""
        if base is not None and not self.links(base):
            return False
        self._bases[interval] = base
        return True

    def base(self, interval: int) -> int | None:
        """What a version that is there builds on; None if it is whole."""
        return self._bases[interval]

    def links(self, interval: int) -> list[int]:
        """The versions that one is made of, the whole one first; none if it is not there."""
        found: list[int] = []
        at: int | None = interval
        while at is not None:
            if at not in self._bases:
                return []
            found.append(at)
            at = self._bases[at]
        return found[::-1]

    def drop_below(self, floor: int) -> list[int]:
        """Forget what no version from ``floor`` on is made of; returns what that was."""
        start = max((i for i, base in self._bases.items() if base is None and i <= floor), default=0)
        dropped = [interval for interval in self if interval < start]
        for interval in dropped:
            del self._bases[interval]
        return dropped


class Versions:
    """Versions of any partitions' state in one memory."""

    def __init__(self) -> None:
        self._chains: dict[PartitionId, Chain] = {}
        self._kept: dict[tuple[int, int, int], Version] = {}

    def put(self, place: PartitionId, interval: int, version: Version) -> bool:
        """Keep a version; False if its base is not here."""
        chain = self._chains.setdefault(place, Chain())
        if not chain.add(interval, version.base):
            return False
        self._kept[*place, interval] = version
        return True

    def get(self, place: PartitionId, interval: int) -> list[tuple[int, Version]]:
        """What a version is made of, the whole one first; nothing if it is not here."""
        chain = self._chains.get(place)
        return [] if chain is None else [(link, self._kept[*place, link]) for link in chain.links(interval)]

    def of(self, place: PartitionId) -> list[tuple[int, Version]]:
        """All versions of a partition, ascending."""
        return [(interval, self._kept[*place, interval]) for interval in self._chains.get(place, ())]

    def names(self) -> list[tuple[int, int, int]]:
        """(stage, partition, interval) of all."""
        return sorted(self._kept)

    def drop_below(self, floors: Sequence[int]) -> None:
        """Forget what no version is made of that may be needed: those from an interval on, by stage."""
        for place, chain in self._chains.items():
            for interval in chain.drop_below(floors[place[0]]):
                del self._kept[*place, interval]

    def forget(self, place: PartitionId) -> None:
        """Forget all of a partition."""
        for interval in self._chains.pop(place, ()):
            del self._kept[*place, interval]
