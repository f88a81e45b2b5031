"""What a worker's tasks need of disks: state that is kept there, and input that is read again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from dstream.logic import Read, Version
from dstream.protocol import Kept
from elastic.protocol import Failed


class Archive(ABC):
    """Versions of state, by stage, partition and interval; and the input that the log names."""

    @abstractmethod
    def save(self, instance: int, stage: int, partition: int, interval: int, version: Version) -> None:
        """Keep a version of state; returns at once, and ``news`` tells when it is kept."""

    @abstractmethod
    def load(self, stage: int, partition: int, interval: int) -> Version | None:
        """A version that was kept, by whatever worker; None if it is needed no more and gone.

        From now on this worker drops what is needed no more.
        """

    @abstractmethod
    def keep_from(self, versions: Sequence[int]) -> None:
        """Versions below these, by stage, are needed no more."""

    @abstractmethod
    def news(self) -> Sequence[Kept | Failed]:
        """Versions that are kept since the last call, and those that cannot be."""

    @abstractmethod
    def kept(self) -> list[tuple[int, int, int]]:
        """(stage, partition, interval) of all versions that were kept here, or taken over, and not dropped."""

    @abstractmethod
    def read_again(self, operator: str, partition: int, after: int, through: int) -> Sequence[Read]:
        """What a source partition read in the ticks (after, through], as its log says.

        Raises:
            SourceError: The input is gone or has changed.
        """
