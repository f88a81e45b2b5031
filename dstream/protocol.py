"""What scheduler and workers tell one another beside the elastic model's messages, which start sources and sinks."""

from __future__ import annotations

from dataclasses import dataclass

from dstream.logic import Content
from dstream.versions import Version
from elastic.report import FailedRecords

# -- scheduler to worker -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Resume:
    """A source that is about to start is closed through ``tick`` already: its predecessor's intervals are known."""

    epoch: int
    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of a stage with state lives here from now on.

    Attributes:
        at: The version that it starts from; 0 is no state yet.
        copies: Workers that have the version in memory; if none of them does, it is on the disk.
        holders: As in ``Guard``.
    """

    epoch: int
    instance: int
    stage: int
    partition: int
    at: int
    copies: tuple[int, ...] = ()
    holders: tuple[int, ...] = ()
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Guard:
    """Versions of a partition's state are to be kept in these workers' memory, beside the disk if there is one."""

    epoch: int
    instance: int
    holders: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unguard:
    """Versions of a partition's state need not be kept in the receiver's memory any more."""

    epoch: int
    stage: int
    partition: int


@dataclass(frozen=True, slots=True)
class RunTask:
    """Compute one partition of one stage's dataset of one interval.

    Attributes:
        attempt: Tells this order from earlier ones for the same task.
        instance: The state's incarnation; 0 for a task without state.
        after: The last tick of the interval before.
        through: The interval's last tick.
        final: The stream ends there.
        checkpoint: Keep a copy of the state after it.
        sources: Where the inputs lie: by input, then by interval, then by partition of the producer.
        without: Channels that give no rows, since nobody needs them any more.
    """

    epoch: int
    stage: int
    interval: int
    partition: int
    attempt: int
    instance: int
    after: int
    through: int
    final: bool
    checkpoint: bool
    sources: tuple[tuple[tuple[int, ...], ...], ...]
    without: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Advance:
    """Intervals through ``done`` are complete; blocks of a stage through ``drop[stage]`` are needed no more.

    Attributes:
        keep_state: By stage: versions of state below this are needed no more.
        ending: (stage, channel, interval) of sources' channels that nobody needs after the interval.
    """

    epoch: int
    done: int
    safe_tick: int
    drop: tuple[int, ...]
    keep_state: tuple[int, ...]
    ending: tuple[tuple[int, int, int], ...] = ()


# -- between workers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WantBlocks:
    """A task needs slices of blocks that lie at the receiver.

    Attributes:
        request: Names the answer.
        blocks: (stage, channel, interval, partition, whole) of each.
        low: First key group of the slices, for blocks of which not the whole is wanted.
    """

    worker: int
    request: int
    blocks: tuple[tuple[int, int, int, int, bool], ...]
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """The answer, in the order asked; None where a block is not there."""

    request: int
    contents: tuple[Content | None, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """A version of a partition's state, to be kept in the receiver's memory; it tells the scheduler that it is.

    Attributes:
        worker: The sender.
        instance: Whose state it is.
    """

    worker: int
    instance: int
    stage: int
    partition: int
    interval: int
    version: Version


@dataclass(frozen=True, slots=True)
class KeepRefused:
    """The receiver of a delta does not have what it builds on."""

    worker: int
    instance: int


@dataclass(frozen=True, slots=True)
class WantState:
    """An instance is to start from a version that the receiver has in memory."""

    worker: int
    instance: int
    stage: int
    partition: int
    at: int


@dataclass(frozen=True, slots=True)
class State:
    """The answer: what the version is made of, the whole one first; nothing if it is not there.

    Attributes:
        worker: The sender.
        versions: (interval, version) each.
    """

    worker: int
    instance: int
    versions: tuple[tuple[int, Version], ...]


# -- worker to scheduler -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sealed:
    """A source has closed an interval, whose lineage is the input log.

    Attributes:
        kept: Its blocks lie on this worker; not so where user code raised, and a task is to try again.
        failed: Records that were skipped or diverted, if it is kept.
    """

    instance: int
    interval: int
    tick: int
    records: int
    size_bytes: int
    final: bool
    kept: bool
    failed: tuple[FailedRecords, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """All that a worker has, for a coordinator that has taken over; a tuple for each thing.

    Attributes:
        blocks: (stage, interval, partition) of tasks whose blocks lie here.
        states: (instance, done) of partitions with state.
        sinks: (instance, last tick that the target holds, last interval that it was given and has taken).
        sources: (instance, last interval that it or one before it has closed).
        sealed: Of intervals that may not be done.
        kept: (stage, partition, interval) of versions of state that lie on the disk.
        copies: The same of those in this worker's memory.
        instances: All that live here, or are being opened.
        failed: (stage, interval, partition, found) of records that tasks have skipped or diverted.
    """

    blocks: tuple[tuple[int, int, int], ...]
    states: tuple[tuple[int, int], ...]
    sinks: tuple[tuple[int, int, int], ...]
    sources: tuple[tuple[int, int], ...]
    sealed: tuple[Sealed, ...]
    kept: tuple[tuple[int, int, int], ...]
    copies: tuple[tuple[int, int, int], ...]
    instances: tuple[int, ...]
    failed: tuple[tuple[int, int, int, tuple[FailedRecords, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task's blocks lie on this worker.

    Attributes:
        failed: Records that it has skipped or diverted.
    """

    stage: int
    interval: int
    partition: int
    attempt: int
    instance: int
    busy_s: float
    rows_in: int
    rows_out: int
    failed: tuple[FailedRecords, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """User code raised in a task.

    Attributes:
        channel: On the way to the stage's only output that cannot be had; None if none of them can.
    """

    stage: int
    interval: int
    partition: int
    attempt: int
    error: str
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class TaskLacks:
    """A task could not be computed, since a block was not where it was said to be, or the state was at another version.

    Attributes:
        missing: (stage, interval, partition, worker) of the blocks.
    """

    stage: int
    interval: int
    partition: int
    attempt: int
    missing: tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A version of a partition's state is on the disk, or in this worker's memory."""

    instance: int
    stage: int
    partition: int
    interval: int
    size_bytes: int
    on_disk: bool


@dataclass(frozen=True, slots=True)
class StateMissing:
    """What an instance is to start from is not where it was said to be, nor on the disk, if there is one.

    Attributes:
        asked: Workers that do not have it.
    """

    instance: int
    asked: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """A sink's target holds everything through a tick."""

    instance: int
    tick: int


MESSAGES: tuple[type, ...] = (
    Resume, Place, Guard, Unguard, RunTask, Advance, WantBlocks, Blocks, Keep, KeepRefused, WantState, State, Version,
    Sealed, TaskDone, TaskFailed, TaskLacks, Kept, StateMissing, Committed, Account,
)  # fmt: skip
"""Every message of this model that may cross a process border, in a fixed order; and what they are made of."""
