"""Messages between the processes themselves, beside the core's own: hello, set-up, reports, the command's wishes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from elastic.protocol import MESSAGES
from elastic.report import FailedRecords
from elastic.state.checkpoint import BufferCheckpoint, Checkpoint
from elastic.state.folding import Layers
from elastic.wire.codec import Codec

COORDINATOR = "coordinator"
COMMAND = "command"

FIRST_EXTRA = 1000
"""Workers that were added to a running job are numbered from here; the job's own from 0."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A message that is sent again until it is heard, and heard once.

    The command numbers what it wants from 1 on; what others ask has numbers of their own, and so have the answers.
    """

    number: int
    message: Any


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker is up and listens at ``address``."""

    worker: int
    address: str
    pid: int


@dataclass(frozen=True, slots=True)
class Setup:
    """The job, for a worker: its plan (cloudpickled), its directory, and the modules' search path."""

    plan: bytes
    directory: str
    keep_log: bool
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has loaded the plan and can run instances."""

    worker: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker cannot load the plan: a module of the user's is missing or raises."""

    worker: int
    error: str


@dataclass(frozen=True, slots=True)
class Crashed:
    """A worker ends because of a bug in this package; ``error`` is the traceback."""

    worker: int
    error: str


@dataclass(frozen=True, slots=True)
class Begin:
    """Tick 0 was at ``tick_zero_s``, Unix time; at ``now_s`` the coordinator's monotonic clock was ``monotonic_s``."""

    tick_zero_s: float
    since_s: float
    now_s: float
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End now."""


@dataclass(frozen=True, slots=True)
class InstanceStats:
    """One instance, as of now; counters since it started.

    Attributes:
        busy_s: Time spent in its steps.
        target_s: Time that a sink's target took, in a thread of its own.
    """

    instance: int
    operator: str
    records_in: int
    rows_out: int
    busy_s: float
    repaired: int
    target_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What happened on a worker since its last report.

    Attributes:
        reads: (source instance, key group of the partition, tick, unix time, records, bytes) of each tick read.
        settles: (sink instance, tick, unix time) whenever a sink got further.
        checkpoints: (instance, tick, bytes, seconds) of each checkpoint that was stored.
        failures: (instance, tick, group, found) of records that were skipped or diverted: of a source in that tick and
            of that partition's first group, of a keyed instance in all ticks through it.
        rss_bytes: Resident set of the process.
        spilled_bytes: Output that lies on the disk for want of memory.
        read: (source instance, key group of the partition, records, bytes) of all that was read of it, as its log says:
            of ticks too that nobody has reported who lives.
    """

    worker: int
    at_s: float
    instances: tuple[InstanceStats, ...]
    reads: tuple[tuple[int, int, int, float, int, int], ...]
    settles: tuple[tuple[int, int, float], ...]
    checkpoints: tuple[tuple[int, int, int, float], ...]
    rss_bytes: int
    failures: tuple[tuple[int, int, int, FailedRecords], ...] = ()
    spilled_bytes: int = 0
    read: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReportNow:
    """The job has ended: the coordinator wants the worker's last figures, without waiting for the next report."""


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The command saw a worker's process end, when the machine's monotonic clock showed ``monotonic_s``."""

    worker: int
    reason: str
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """The coordinator wants one more worker: the next one, or one of this number."""

    cause: str
    worker: int | None = None


@dataclass(frozen=True, slots=True)
class EndRequest:
    """The coordinator wants a worker's process ended: it was replaced."""

    worker: int


@dataclass(frozen=True, slots=True)
class StopJob:
    """The user wants the job to end gracefully; ``patient``: however long that takes."""

    patient: bool = False


@dataclass(frozen=True, slots=True)
class ScaleJob:
    """The user wants an operator on so many instances; ``reply`` is an address for the ``Answer``, or empty."""

    operator: str
    instances: int
    reply: str = ""


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """A worker is to end once nothing depends on it; ``reply`` as in ``ScaleJob``."""

    worker: int
    reply: str = ""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """A worker is to die as by SIGKILL; ``reply`` as in ``ScaleJob``."""

    worker: int
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Die:
    """A worker that is nobody's child here sends itself SIGKILL."""


@dataclass(frozen=True, slots=True)
class JoinJob:
    """Somebody is about to start one more worker, and wants a number for it; without ``reply``, the command is to."""

    reply: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for is being done, or ``problem`` says why not; ``worker`` is the one that it is about."""

    problem: str = ""
    worker: int = -1


@dataclass(frozen=True, slots=True)
class Inquire:
    """Somebody wants the ``Inventory`` at an address."""

    reply: str


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A live worker: its process, whether it is ``in use``, ``spare`` or ``draining``, and what runs there."""

    worker: int
    pid: int
    state: str
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What runs: (operator, instances), workers that hold some, those that stand by, and each of them.

    Attributes:
        aims: (operator, instances) of those that are on their way to another number.
        first: The worker of the first keyed instance, or any if there is none.
    """

    operators: tuple[tuple[str, int], ...]
    workers: int
    spares: int
    records_in: int
    roster: tuple[WorkerState, ...] = ()
    aims: tuple[tuple[str, int], ...] = ()
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the command did to the job, for the event log, by the machine's monotonic clock."""

    kind: str
    worker: int
    cause: str
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The coordinator's word to the command: pickled ``Progress``, owners of instances, and the outcome at the end.

    Attributes:
        heard: The number of the last of the command's messages that a coordinator has acted upon.
    """

    tick_zero_s: float
    progress: bytes
    owners: tuple[tuple[str, int, int], ...]
    outcome: bytes | None
    heard: int = 0


CONTROL: tuple[type, ...] = (
    Numbered, Hello, Setup, Ready, Refused, Crashed, Begin, Shutdown, InstanceStats, WorkerReport, ReportNow,
    WorkerExited, SpawnRequest, EndRequest, StopJob, ScaleJob, DrainWorker, KillWorker, Die, JoinJob, Answer, Inquire,
    WorkerState, Inventory, Note, StatusReport,
)  # fmt: skip


def codec(messages: Iterable[type] = ()) -> Codec:
    """The codec of all processes of one user's job; ``messages`` are those of its execution model beside the core's."""
    return Codec((*MESSAGES, Checkpoint, BufferCheckpoint, Layers, FailedRecords, *CONTROL, *messages), trusted=True)
