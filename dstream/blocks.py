"""The blocks of one worker: immutable, by name, least recently used ones on disk when memory is short.

Nothing here is ever the only way to a block: what is lost with a worker is computed again from its lineage.

Source: D-Streams §4.1 (block store). We differ: blocks that are still needed are spilled and not dropped, since
computing them again would cost the other workers time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple, TypeAlias

from dstream.logic import Content, content_bytes


class Name(NamedTuple):
    """What one task gave: the blocks of all its channels."""

    stage: int
    interval: int
    partition: int


Contents: TypeAlias = Sequence[Content]


class Spill(ABC):
    """Where blocks go that do not fit into memory."""

    @abstractmethod
    def write(self, name: Name, contents: Contents) -> None:
        """Keep the blocks under their name.

        Raises:
            UserError: The disk is full, or does not let itself be written.
        """

    @abstractmethod
    def read(self, name: Name) -> Contents:
        """What was written last under the name."""

    @abstractmethod
    def remove(self, name: Name) -> None:
        """Forget it."""


def first_through(intervals: Iterable[int], through: int) -> list[int]:
    """The first of some intervals, as far as they are at most ``through``.

    They have come in about ascending order: one that was late goes with those that came before it. So what is forgotten
    costs what it was, however much is kept, as for a window of many intervals.
    """
    return list(takewhile(lambda interval: interval <= through, intervals))


class BlockStore:
    """All blocks on one worker.

    Attributes:
        size_bytes: Of the blocks in memory.
        spilled: How many of them are on disk now.
    """

    def __init__(self, limit_bytes: int, spill: Spill) -> None:
        self._limit_bytes, self._spill = limit_bytes, spill
        self._kept: OrderedDict[Name, tuple[Contents, int]] = OrderedDict()
        self._on_disk: set[Name] = set()
        self._partitions: dict[int, dict[int, set[int]]] = {}  # by stage and interval
        self.size_bytes = 0

    def __contains__(self, name: Name) -> bool:
        return name in self._kept or name in self._on_disk

    @property
    def spilled(self) -> int:
        """Tasks whose blocks are on disk."""
        return len(self._on_disk)

    def names(self) -> list[Name]:
        """Tasks whose blocks are here."""
        return [*self._kept, *self._on_disk]

    def put(self, name: Name, contents: Contents) -> None:
        """Keep the blocks of a task; those of the same task that are there already are replaced, being equal."""
        self.drop(name)
        size = content_bytes(contents)
        self._kept[name] = contents, size
        self._partitions.setdefault(name.stage, {}).setdefault(name.interval, set()).add(name.partition)
        self.size_bytes += size
        self._make_room()

    def get(self, name: Name) -> Contents | None:
        """The blocks of a task; None if they are not here."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name][0]
        return self._spill.read(name) if name in self._on_disk else None

    def drop(self, name: Name) -> None:
        """Forget the blocks of a task."""
        if name in self._kept:
            self.size_bytes -= self._kept.pop(name)[1]
        elif name in self._on_disk:
            self._on_disk.discard(name)
            self._spill.remove(name)
        self._partitions.get(name.stage, {}).get(name.interval, set()).discard(name.partition)

    def drop_through(self, intervals: Sequence[int]) -> None:
        """Forget the blocks of each stage through an interval, given by stage."""
        for stage, partitions in self._partitions.items():
            for interval in first_through(partitions, intervals[stage]):
                for partition in list(partitions[interval]):
                    self.drop(Name(stage, interval, partition))
                del partitions[interval]

    def _make_room(self) -> None:
        while self.size_bytes > self._limit_bytes and len(self._kept) > 1:
            name, (contents, size) = self._kept.popitem(last=False)
            self._spill.write(name, contents)
            self._on_disk.add(name)
            self.size_bytes -= size
