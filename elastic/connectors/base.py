"""The contracts that sources and sinks keep. Descriptions are shipped to workers, where readers and writers do I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from elastic.batch import Batch, Column
from elastic.errors import SourceError
from elastic.keys import KeyInterval

Position: TypeAlias = "int | list[int]"
"""Where a reader stands in its partition: the first record not yet read. Of msgpack's types, for the input log."""


class Phase(NamedTuple):
    """A stretch of a rate that changes: for so long it goes evenly from one speed to another."""

    seconds: float
    begin: float
    end: float

    @property
    def amount(self) -> float:
        """What is due in all of it."""
        return self.seconds * (self.begin + self.end) / 2

    def due(self, seconds: float) -> float:
        """What is due in its first ``seconds``."""
        return seconds * (self.begin + (self.end - self.begin) * seconds / self.seconds / 2)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a source may be read, over all its partitions together.

    Attributes:
        per_second: Speed once all phases are over.
        phases: What it is before that, one after the other.
        cycle: After the last phase comes the first one again.
    """

    per_second: float
    unit: Literal["records", "bytes"]
    phases: tuple[Phase, ...] = ()
    cycle: bool = False

    def due(self, seconds: float) -> float:
        """What may have been read ``seconds`` after the start; does not fall."""
        total, left = 0.0, max(0.0, seconds)
        if self.cycle:
            cycles, left = divmod(left, sum(p.seconds for p in self.phases))
            total = cycles * sum(p.amount for p in self.phases)
        for phase in self.phases:
            if left < phase.seconds:
                return total + phase.due(left)
            total, left = total + phase.amount, left - phase.seconds
        return total if self.cycle else total + left * self.per_second

    @property
    def fastest(self) -> float:
        """The highest speed that it ever has."""
        speeds = [speed for phase in self.phases for speed in (phase.begin, phase.end)]
        return max(speeds if self.cycle else [*speeds, self.per_second])


class Malformed(NamedTuple):
    """A record that could not be read, and that the error policy has left out of the rows.

    Attributes:
        record: As it stands in the input.
        place: Where that is, such as ``/data/orders.jsonl:12``.
        cause: What is wrong with it, and what was expected.
    """

    record: str
    place: str
    cause: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read gave.

    Attributes:
        rows: The records.
        position: Where the next read starts.
        size_bytes: Input bytes consumed.
        records: Records consumed, including those that a policy skipped.
        skipped: Records that the error policy left out, diverted ones not among them.
        malformed: Where the source's ``errors`` are ``divert``, all that are; else the first that was skipped, or none.
        repaired: Records that the error policy changed to make them readable.
        kept: For a source that cannot be read again, what ``Reader.recall`` makes the rows from; the input log keeps
            it. None for any other.
    """

    rows: Column
    position: Position
    size_bytes: int
    records: int
    skipped: int = 0
    malformed: tuple[Malformed, ...] = ()
    repaired: int = 0
    kept: bytes | None = None


class Reader(ABC):
    """An open partition.

    What was read has to be had again after a failure. So a reader keeps one of two promises: ``reread`` gives the same
    records for the same two positions, for as long as the job lives; or every chunk has ``kept``, and ``recall`` makes
    the same rows from it. ``elastic.testing.check_source`` holds a source to them.
    """

    start: Position = 0
    """Where a new reader stands."""

    finished: bool = False
    """True once nothing will ever follow the current position."""

    @abstractmethod
    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """The next records, at most about ``limit_bytes`` (at least one record); None if there is nothing now."""

    @abstractmethod
    def reread(self, start: Position, end: Position) -> Column | Chunk:
        """Exactly the records that reads from ``start`` to ``end`` gave. Does not move the reader.

        A chunk where some were left out: its ``rows``, ``skipped`` and ``malformed`` are those of the read.

        Raises:
            SourceError: The input is gone or has changed.
        """

    def ahead(self) -> Sequence[tuple[Position, Column]]:
        """Where event time may begin again later in the partition, such as with another file; ascending positions.

        With each comes the first record after it, or the first few. Until a place is reached, the partition's watermark
        does not pass the event time of its first record. The same for every reader of the partition.
        """
        return ()

    def recall(self, kept: bytes) -> Column | Chunk:
        """The same of a chunk from what the log kept of it; for a source that cannot be read again."""
        raise SourceError(f"{type(self).__name__} gives chunks with kept, and has no recall(kept) to read them again")

    def seek(self, position: Position) -> None:
        """Go on reading from ``position``, which another reader of the partition may have given."""
        raise SourceError(f"{type(self).__name__} has no seek(position), with which a reader goes on where one ended")

    def notices(self) -> Sequence[str]:
        """What the job's owner should know and was not told before: a lost connection, a truncated file."""
        return ()

    def close(self) -> None:
        """Release files; further calls are not allowed."""


class Partition(ABC):
    """A part of a source that is read in one order, by one instance at a time. Must survive pickling."""

    name: str

    @property
    def input_bytes(self) -> int | None:
        """All that there is to read, as its chunks count it; None if that is not known, or if it has no end."""
        return None

    @abstractmethod
    def open(self) -> Reader:
        """A reader at the partition's start. Runs on the worker."""


class Source(ABC):
    """What a user names as input. Must survive pickling."""

    name: str = "source"
    rate: Rate | None = None
    """Kept by the runtime: the limits given to ``read`` follow from it. Split evenly over the partitions."""
    errors: str | None = None
    """What becomes of a malformed record: ``fail``, ``skip``, ``divert`` or something of the source's own; None where
    there is no choice. With ``divert``, what chunks have in ``malformed`` goes to the output ``errors``."""
    accompanies: bool = False
    """Whether it has no end of its own: the input has ended when that of all other sources has."""

    def with_errors(self, errors: str) -> Source:
        """The same source with another policy, before it is cut into partitions; only if it has one."""
        other = copy(self)
        other.errors = errors
        return other

    def history(self) -> Source:
        """The same input as far as it is there now, for a batch over it; itself, if it has an end anyway."""
        return self

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
    locks: bool = False
    """Whether a writer that stands still in the middle of a commit keeps everybody else out of the target.

    A worker that holds one and is taken for hung is ended before the target is opened elsewhere, instead of being left
    to find out that it was replaced.
    """
    waits: bool = True
    """Whether a writer may have to wait: for a disk that is to have written, for another process, to keep a rate.

    Writers of a sink that never does are called in the worker's own thread, which spares it a switch of threads for
    each commit.
    """
    checks: bool = False
    """Whether ``check`` can be asked which rows the target can hold."""

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

    def check(self, column: Column) -> None:
        """Return if the target can hold each of these rows, whatever is there already; without any I/O.

        Asked before rows are sent to the sink, where one that it cannot hold may be left out: row by row if a column
        is refused. What it lets pass and a writer refuses ends the job.

        Raises:
            SinkError: It cannot hold one, and why.
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


class LogEntry(NamedTuple):
    """What was read of a partition in one tick, or that nothing was in a run of them: ticks between entries are empty.

    Attributes:
        tick: The tick; of a run of empty ones the last.
        start: Position before the read.
        end: Position after it; equals ``start`` in a run of empty ticks.
        records: Records read, those that the error policy dropped among them.
        size_bytes: Input bytes read.
        read_time_s: Unix time of the read.
        finished: Nothing follows in this partition.
        final: The last tick of the job: all sources close through it.
        cuts: Positions between ``start`` and ``end`` at which one chunk ended and the next began.
        kept: What was kept of each chunk, if the source cannot be read again.
        owed: Records or bytes that the rate allowed by then and that were not read: whoever goes on catches up on them.
        read: Records and bytes that were read of the partition through this tick: so they are known whoever dies.
    """

    tick: int
    start: Position
    end: Position
    records: int = 0
    size_bytes: int = 0
    read_time_s: float = 0.0
    finished: bool = False
    final: bool = False
    cuts: tuple[Position, ...] = ()
    kept: tuple[bytes, ...] = ()
    owed: int = 0
    read: tuple[int, int] = (0, 0)

    @property
    def chunks(self) -> list[tuple[Position, Position]]:
        """Start and end of every chunk that was read; none if nothing was."""
        ends = (*self.cuts, self.end)
        return [] if self.start == self.end else list(zip((self.start, *self.cuts), ends, strict=True))


def read_again(reader: Reader, entry: LogEntry) -> list[Chunk]:
    """The chunks that an entry is about, in order; of each only what became of its records.

    Raises:
        SourceError: The input is gone or has changed.
    """
    if entry.kept:
        found = [reader.recall(kept) for kept in entry.kept]
    else:
        found = [reader.reread(start, end) for start, end in entry.chunks]
    return [c if isinstance(c, Chunk) else Chunk(c, entry.end, 0, len(c)) for c in found]


class SourceLog(Protocol):
    """A partition's input log, opened by one generation. What was appended is as durable as the job promises."""

    @property
    def last(self) -> LogEntry | None:
        """The newest entry; None in an empty log."""

    @property
    def floor(self) -> int:
        """The highest tick given to ``trim``, by any generation; 0 at first."""

    def entries(self, after_tick: int) -> list[LogEntry]:
        """All entries above a tick, in order; ``after_tick`` is at or above the floor."""

    def append(self, entry: LogEntry) -> None:
        """Log a tick; ticks ascend, and each entry starts where the one before ended.

        Raises:
            FencedError: A newer generation has opened the log. The entry does not count.
        """

    def trim(self, through_tick: int) -> None:
        """No successor needs what lies at or below this tick; it may be forgotten."""

    def close(self) -> None:
        """Release the log."""
