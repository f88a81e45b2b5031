"""Where versions of state lie: on the disk, in the memory of who holds the state, in that of others.

Source: D-Streams §4.1: some state is replicated to other workers, asynchronously. We differ: a version counts once it
is in every place where the job's settings want it, which is what lets anything before it be forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from dstream.versions import PartitionId
from elastic.coordinator.membership import InstanceRecord

DISK = -1
"""Stands for the disk where a worker is named."""


def wanted(record: InstanceRecord, *, has_disk: bool) -> frozenset[int]:
    """Where a partition's versions are to be; in the memory of its own worker if there is no disk."""
    return frozenset((DISK if has_disk else record.worker, *holders(record)))


def holders(record: InstanceRecord) -> tuple[int, ...]:
    """Other workers that are to keep a partition's versions in memory."""
    return tuple(worker for worker in (record.holder, record.second) if worker is not None)


class Copies:
    """Plain facts: by partition and place, the versions there."""

    def __init__(self) -> None:
        self._at: dict[PartitionId, dict[int, set[int]]] = {}

    def kept(self, partition: PartitionId, place: int, version: int) -> None:
        """A version is there."""
        self._at.setdefault(partition, {}).setdefault(place, set()).add(version)

    def lose(self, worker: int) -> None:
        """What a worker had is gone."""
        for places in self._at.values():
            places.pop(worker, None)

    def mislaid(self, partition: PartitionId, place: int) -> None:
        """A worker has nothing of a partition, other than was thought."""
        self._at.get(partition, {}).pop(place, None)

    def forget(self, partition: PartitionId) -> tuple[int, ...]:
        """A partition is needed no more; returns the workers that had something of it."""
        return tuple(sorted(self._at.pop(partition, {}).keys() - {DISK}))

    def has(self, partition: PartitionId, version: int, places: Collection[int]) -> bool:
        """Whether a version is in all of these places."""
        at = self._at.get(partition, {})
        return all(version in at.get(place, ()) for place in places)

    def where(self, partition: PartitionId, version: int) -> tuple[int, ...]:
        """Workers that have a version in memory, ascending."""
        at = self._at.get(partition, {})
        return tuple(sorted(place for place, versions in at.items() if place != DISK and version in versions))

    def stored(self, places: Mapping[PartitionId, Collection[int]]) -> set[int]:
        """Versions that every partition has wherever it should; partitions as given, at least one."""
        found: set[int] | None = None
        for partition, wanted_at in places.items():
            at = self._at.get(partition, {})
            for place in wanted_at:
                versions = at.get(place, set())
                found = set(versions) if found is None else found & versions
                if not found:
                    return set()
        return found or set()

    def needless(self, partition: PartitionId, version: int, places: Collection[int]) -> Iterator[int]:
        """Workers that need not keep a partition, since all these places have a version; they are forgotten here."""
        at = self._at.get(partition, {})
        if self.has(partition, version, places):
            for worker in sorted(at.keys() - set(places) - {DISK}):
                del at[worker]
                yield worker

    def forget_below(self, floors: Sequence[int]) -> None:
        """Versions below these, by stage, are needed no more."""
        for (stage, _), places in self._at.items():
            for place, versions in places.items():
                places[place] = {v for v in versions if v >= floors[stage]}
