"""What a worker's tasks need of disks: state that is kept there, and input that is read again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from dstream.logic import Read
from dstream.protocol import Kept
from dstream.versions import Version
from elastic.protocol import Failed


class Archive(ABC):
    """Versions of state, by stage, partition and interval; and the input that the log names."""

    @abstractmethod
    def save(self, instance: int, stage: int, partition: int, interval: int, version: Version) -> None:
        """Keep a version of state; returns at once, and ``news`` tells when it is kept.

        The base of a delta was saved here before it.
        """

    @abstractmethod
    def load(self, stage: int, partition: int, interval: int) -> list[tuple[int, Version]]:
        """What a version is made of that was kept, by whatever worker: (interval, version), the whole one first.

        Nothing if it is needed no more and gone. From now on this worker drops what is needed no more.
        """

    @abstractmethod
    def keep_from(self, versions: Sequence[int]) -> None:
        """Versions below these, by stage, are needed no more, but for what later ones are made of."""

    @abstractmethod
    def news(self) -> Sequence[Kept | Failed]:
        """Versions that are kept since the last call, and those that cannot be."""

    @abstractmethod
    def kept(self) -> list[tuple[int, int, int]]:
        """(stage, partition, interval) of all versions of partitions of which some were kept here, or loaded."""

    @abstractmethod
    def read_again(self, operator: str, partition: int, after: int, through: int) -> Sequence[Read]:
        """What a source partition read in the ticks (after, through], as its log says.

        Raises:
            SourceError: The input is gone or has changed.
        """
