"""What the coordinator hears and what it decides, as values; its shell turns them into messages and processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from elastic.policies import OperatorLoad
from elastic.report import Failure, Status


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker has said hello; ``extra`` if somebody added it while the job ran."""

    worker: int
    address: str
    extra: bool = False


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker is dead or does not answer.

    Attributes:
        reason: ``killed by SIGKILL``, ``does not answer heartbeats`` …
        last_seen_s: Its last sign of life, in the coordinator's clock.
    """

    worker: int
    reason: str
    last_seen_s: float


@dataclass(frozen=True, slots=True)
class WorkerBack:
    """A worker that was declared dead is heard again: a zombie."""

    worker: int


@dataclass(frozen=True, slots=True)
class Heard:
    """A message from a worker."""

    worker: int
    message: Any


@dataclass(frozen=True, slots=True)
class ScaleRequested:
    """An operator is to run on so many instances from now on."""

    operator: str
    instances: int


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """A worker is to end once nothing depends on it any more."""

    worker: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of every operator over one period of the scaling policy, producers first."""

    loads: Mapping[str, OperatorLoad]


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The user wants the job to end: commit what is complete, within a second or however long that takes."""

    patient: bool = False


@dataclass(frozen=True, slots=True)
class Recovered:
    """This coordinator takes over from one that is gone, whose facts it has.

    Attributes:
        alive: Workers whose processes live.
        starting: Workers that live and had not joined.
        resumed: The job had been stopped, or all of it was killed; else it ran on meanwhile.
        cause: What became of the coordinator before.
        ended: By worker, the losses that are known, but not to the coordinator before.
    """

    alive: frozenset[int] = frozenset()
    starting: frozenset[int] = frozenset()
    resumed: bool = False
    cause: str | None = None
    ended: Mapping[int, WorkerLost] = field(default_factory=dict)

    def loss_of(self, worker: int, now_s: float) -> WorkerLost:
        """How a worker was lost that does not live any more."""
        return self.ended.get(worker) or WorkerLost(worker, "was lost with the coordinator", now_s)


@dataclass(frozen=True, slots=True)
class ClockTick:
    """Time has passed; procedures look at their deadlines."""


Event: TypeAlias = (
    WorkerJoined
    | WorkerLost
    | WorkerBack
    | Heard
    | ScaleRequested
    | DrainRequested
    | Measured
    | StopRequested
    | Recovered
    | ClockTick
)


@dataclass(frozen=True, slots=True)
class SpawnWorker:
    """Have the cluster start one more worker, as a spare."""

    cause: str


@dataclass(frozen=True, slots=True)
class EndWorker:
    """End a worker's process for good: it was replaced."""

    worker: int


@dataclass(frozen=True, slots=True)
class Record:
    """Something that happened, for the event log; ``kind`` is one of the report's event kinds."""

    kind: str
    operator: str | None = None
    instance: int | None = None
    worker: int | None = None
    cause: str | None = None
    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """A decision; it must be durable before any command that follows it in the same list is carried out."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """Figures for the report. They are in no journal: what the next incarnation needs is not among them."""

    kind: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EndJob:
    """The job is over.

    Attributes:
        status: ``done``, ``failed`` or ``interrupted``.
        error: What to show, where it failed.
        failure: Which kind of failure it is, where there is a name for it.
    """

    status: Status
    error: str | None = None
    failure: Failure | None = None
