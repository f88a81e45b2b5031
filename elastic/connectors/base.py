"""The contracts that sources and sinks keep. Descriptions are shipped to workers, where readers and writers do I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from elastic.batch import Batch, Column
from elastic.keys import KeyInterval

Position: TypeAlias = "int | list[int]"
"""Where a reader stands in its partition: the first record not yet read. Of msgpack's types, for the input log."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a source may be read, over all its partitions together."""

    per_second: float
    unit: Literal["records", "bytes"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read gave.

    Attributes:
        rows: The records.
        position: Where the next read starts.
        size_bytes: Input bytes consumed.
        records: Records consumed, including those that a policy skipped.
        skipped: Records that the error policy dropped or repaired.
    """

    rows: Column
    position: Position
    size_bytes: int
    records: int
    skipped: int = 0


class Reader(ABC):
    """An open partition."""

    finished: bool = False
    """True once nothing will ever follow the current position."""

    @abstractmethod
    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """The next records, at most about ``limit_bytes`` (at least one record); None if there is nothing now."""

    @abstractmethod
    def reread(self, start: Position, end: Position) -> Column:
        """Exactly the records that a read from ``start`` to ``end`` gave. Does not move the reader.

        Raises:
            SourceError: The input is gone or has changed.
        """

    def seek(self, position: Position) -> None:
        """Go on reading from ``position``."""
        raise NotImplementedError

    def close(self) -> None:
        """Release files; further calls are not allowed."""


class Partition(ABC):
    """A part of a source that is read in one order, by one instance at a time. Must survive pickling."""

    name: str

    @abstractmethod
    def open(self) -> Reader:
        """A reader at the partition's start. Runs on the worker."""


class Source(ABC):
    """What a user names as input. Must survive pickling."""

    name: str = "source"
    rate: Rate | None = None
    """Kept by the runtime: the limits given to ``read`` follow from it. Split evenly over the partitions."""

    @abstractmethod
    def partitions(self, count: int) -> Sequence[Partition]:
        """Cut the input into ``count`` parts of about equal work; may give fewer or empty ones. Runs once, at start.

        Raises:
            SourceError: Nothing to read: no file matches, a file is missing, unreadable or a directory.
        """


class Writer(ABC):
    """An open target, written by one sink instance for one key interval and under one generation."""

    @abstractmethod
    def committed(self) -> list[tuple[KeyInterval, int]]:
        """Up to which tick each key interval is committed in the target; together they tile the writer's interval.

        Ticks start at 1, so 0 is said of what this run has not committed yet. A writer that is opened after this one
        was lost, at any moment, says at least what the last ``commit`` has returned.
        """

    @abstractmethod
    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        """Write the rows of closed ticks (ascending) and move the committed tick to ``through``, all or nothing.

        Rows of a group that is committed past their tick have been taken out. A target that writes in larger units
        may keep rows back; what it keeps is handed over again only after a crash.

        Returns:
            The tick through which everything is now committed, and recorded as such in the target: ``through``, or an
            earlier one if rows, or the mere progress of ticks without rows, were kept back; never if ``final``.

        Raises:
            FencedError: A newer generation has opened the target. Nothing was written.
            SinkError: The target refused; nothing of this call was written.
        """

    def close(self) -> None:
        """Release the target."""


@dataclass(frozen=True, slots=True)
class SinkContext:
    """Under what identity a sink writes."""

    run_id: str
    job: str
    operator: str
    key_groups: int
    tick_ms: int
    directory: Path
    """The job directory; for targets that keep their commit record beside the job."""


class Sink(ABC):
    """What a user names as output. Must survive pickling."""

    name: str = "sink"
    parallel: bool = True
    """Whether several instances may write at once, each its own key groups."""

    def prepare(self, context: SinkContext) -> None:
        """Check and create the target before the job starts; runs once, in the command.

        Raises:
            SinkError: The target cannot be used, and why.
        """

    @abstractmethod
    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        """Raise the target's generation for ``interval`` and read its committed ticks, in one transaction there.

        A generation belongs to one writer, and is not used again for key groups that it has opened.

        Raises:
            FencedError: The target has a higher generation already.
        """

    def finish(self, context: SinkContext) -> None:
        """Remove what killed writers have left behind; runs once, in the command, after the last worker has ended."""

    def display(self, context: SinkContext) -> Callable[[], Sequence[str]] | None:
        """A function that gives the lines committed since its last call, for the command to print; None if never any.

        Workers never print: lines of a worker that is killed and replayed would appear twice.
        """
        return None

    def contents(self, context: SinkContext) -> Any:
        """What this run has committed in the target, to compare with ``expected``; None if it cannot be read back."""
        return None

    def expected(self, batches: Sequence[Batch]) -> Any:
        """What ``contents`` gives after committing exactly these batches, in order, into an empty target."""
        return None

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        """How many rows ``contents`` lacks, and how many it has that ``expected`` lacks: (lost, duplicated)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a partition's input log: everything up to ``tick`` that was not logged before was read up to ``position``.

    Ticks between the entry before and ``tick`` are empty; ``tick`` itself holds the rows between the two positions, or is
    empty too where the positions are equal (a run of empty ticks is one entry).

    Attributes:
        records, size_bytes: Read in this tick.
        read_s: Unix time at which they were read, seconds; latency counts from it.
        final: The stream ends with this tick.
    """

    tick: int
    position: Position
    records: int = 0
    size_bytes: int = 0
    read_s: float = 0.0
    final: bool = False


class SourceLog(ABC):
    """A partition's input log under one generation. An entry that was appended is durable as far as the job promises."""

    last_tick: int
    """The last entry's tick; the trimmed part's where there is none, 0 at the very start."""

    @abstractmethod
    def entries(self) -> Sequence[LogEntry]:
        """What was logged after the trim point when the log was opened."""

    @property
    @abstractmethod
    def base(self) -> LogEntry:
        """(tick, position, totals of records and bytes) at the trim point."""

    @abstractmethod
    def append(self, entry: LogEntry) -> None:
        """Log a tick; ticks ascend.

        Raises:
            FencedError: A newer generation has opened the log. The entry does not count.
        """

    @abstractmethod
    def trim(self, through: int) -> None:
        """Entries through this tick are not needed any more; may keep them."""

    @abstractmethod
    def close(self) -> None:
        """Release the log."""
