"""Versions of state in the job directory, a file each, named after partition, interval and base: ``2-7-40-30.state``.

A file appears whole or not at all. Versions of one interval say the same, whoever wrote them, so any worker may read
and drop any of them; which there are is seen from the folder alone.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dstream.versions import Chain, PartitionId, Version
from elastic.connectors.durability import sync_path
from elastic.wire.control import codec

STATE = "state"
"""Folder of the job directory with versions of state."""

_WHOLE = "whole"


class _File(NamedTuple):
    """One version's file, as its name tells."""

    stage: int
    partition: int
    interval: int
    base: int | None

    @classmethod
    def of(cls, path: Path) -> _File | None:
        *numbers, base = path.stem.split("-")
        if path.suffix != ".state" or len(numbers) != 3:
            return None
        stage, partition, interval = map(int, numbers)
        return cls(stage, partition, interval, None if base == _WHOLE else int(base))

    @property
    def name(self) -> str:
        base = _WHOLE if self.base is None else self.base
        return f"{self.stage}-{self.partition}-{self.interval}-{base}.state"


class StateFiles:
    """All versions of a job's state on a disk that its workers share; each thread has one of its own.

    Args:
        directory: The folder.
        sync: A version is on the disk itself before it counts as written.
    """

    def __init__(self, directory: Path, *, sync: bool = False) -> None:
        self._directory, self._sync = directory, sync
        self._codec = codec([Version])

    def path(self, stage: int, partition: int, interval: int, version: Version) -> Path:
        """Where a version lies."""
        return self._directory / _File(stage, partition, interval, version.base).name

    def write(self, stage: int, partition: int, interval: int, version: Version) -> int:
        """The version is there; returns its bytes.

        Raises:
            OSError: The disk is full, or does not let itself be written.
        """
        path = self.path(stage, partition, interval, version)
        data = self._codec.pack(version)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(data)
        if self._sync:
            sync_path(partial)
        partial.replace(path)
        if self._sync:
            sync_path(self._directory)
        return len(data)

    def chains(self) -> Mapping[PartitionId, Chain]:
        """What is there, by partition."""
        found: defaultdict[PartitionId, list[_File]] = defaultdict(list)
        for path in self._directory.glob("*.state"):
            if (file := _File.of(path)) is not None:
                found[file.stage, file.partition].append(file)
        return {place: _chain(files) for place, files in found.items()}

    def read(self, place: PartitionId, interval: int | None = None) -> list[tuple[int, Version]]:
        """What a version is made of, the whole one first; of the newest if none is named, and nothing if it is gone."""
        chain = self.chains().get(place, Chain())
        at = max(chain, default=0) if interval is None else interval
        try:
            return [(link, self._load(_File(*place, link, chain.base(link)))) for link in chain.links(at)]
        except FileNotFoundError:
            return []  # dropped meanwhile

    def size_bytes(self, place: PartitionId) -> int:
        """What all versions of a partition take."""
        return sum(path.stat().st_size for path in self._directory.glob(f"{place[0]}-{place[1]}-*.state"))

    def drop_below(self, places: Iterable[PartitionId], floors: Sequence[int]) -> None:
        """What no version of these partitions from a floor on, by stage, is made of is there no more."""
        chains = self.chains()
        for stage, partition in places:
            for interval in chains.get((stage, partition), Chain()).drop_below(floors[stage]):
                for path in self._directory.glob(f"{stage}-{partition}-{interval}-*.state"):
                    path.unlink(missing_ok=True)

    def _load(self, file: _File) -> Version:
        version: Version = self._codec.unpack((self._directory / file.name).read_bytes())
        return version


def _chain(files: Iterable[_File]) -> Chain:
    chain = Chain()
    for file in sorted(files, key=lambda f: (f.interval, f.base is None, f.base)):
        chain.add(file.interval, file.base)
    return chain
