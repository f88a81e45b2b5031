"""What happens to a job, event by event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

EventKind: TypeAlias = Literal[
    "started", "joined", "killed", "paused", "resumed", "failed", "detected", "restored", "replayed", "caught_up",
    "record_failed", "output_failed",
    "spare_started", "coordinator_recovered", "job_resumed",
    "fenced", "checkpoint_lost", "scaled_out", "scaled_in", "draining", "drained",
    "nondeterminism", "source_finished",
    "stopping", "finished", "aborted", "warning", "stalled", "moving", "recovering", "overdue",
]  # fmt: skip


EVENT_KINDS: Mapping[EventKind, str] = MappingProxyType(
    {
        "started": "All instances run; the job's clock stands at tick 0.",
        "joined": "A worker has connected to the coordinator.",
        "killed": "The scenario sent SIGKILL to a worker.",
        "paused": "The scenario sent SIGSTOP to a worker.",
        "resumed": "The scenario sent SIGCONT to a worker.",
        "failed": "A worker died or hung; the time is its last sign of life.",
        "detected": "The coordinator took the worker for dead and began to replace its instances.",
        "restored": "A replacement instance holds the state of the last checkpoint and processes again.",
        "replayed": "A replacement instance has processed all that its upstreams had sent before the failure.",
        "caught_up": "Lag is back under its bound, and has stayed there for a second.",
        "record_failed": "An operator or step skips or diverts a record for the first time; the cause says why.",
        "output_failed": "An output gets no more rows, since user code that it needs raises; the others go on.",
        "spare_started": "A new idle worker stands by in place of one that was used.",
        "coordinator_recovered": "The coordinator was lost; another one has read its journal and goes on.",
        "job_resumed": "The job goes on from its job directory, after it was stopped or killed.",
        "fenced": "A worker that was taken for dead came back; its data and commits were refused and it was ended.",
        "checkpoint_lost": "The copy of a checkpoint went with its holder; a full one was asked for at once. "
        "Under model: dstream, once for all copies of state that went with a worker; others keep some from then on.",
        "scaled_out": "An operator runs on more instances than before.",
        "scaled_in": "An operator runs on fewer instances than before.",
        "draining": "A worker is to go: what runs there and what is held there moves elsewhere.",
        "drained": "Nothing depends on a worker that was to go any more; it has been ended.",
        "nondeterminism": "A replayed tick gave other rows than the first time; the cause names tick and key.",
        "source_finished": "A source has read and logged the end of its input.",
        "stopping": "A stop was asked for: sources have ended, what is complete is being committed.",
        "finished": "Everything is processed and committed.",
        "aborted": "The job was ended at once; ticks that were not committed are dropped.",
        "warning": "Something that does not stop the job but that its owner should know; the cause says what.",
        "stalled": "An instance stands still for longer than stall_after; the cause says in what or for what.",
        "moving": "An instance that had stalled goes on.",
        "recovering": "How far a recovery, or scaling, that takes more than a second is.",
        "overdue": "A recovery, or scaling, is past its deadline; the cause says what it waits for and what follows.",
    }
)
"""Every kind of event there is, with what it says happened. A test holds this list against ``EventKind``."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One thing that happened to the job.

    Attributes:
        at_s: Seconds since the job's tick 0; below zero while it was being started.
        kind: One of ``EVENT_KINDS``.
        operator: The operator concerned, or None where the whole worker or job is.
        instance: The operator's instance, as its position in the assignment.
        worker: Number of the worker.
        cause: What led to it: the failure, the policy, the scenario's fault; for a warning its text.
    """

    at_s: float
    kind: EventKind
    operator: str | None = None
    instance: int | None = None
    worker: int | None = None
    cause: str | None = None

    def __str__(self) -> str:
        place = "" if self.instance is None else f"#{self.instance}"
        who = [] if self.operator is None else [f"{self.operator}{place}"]
        who += [] if self.worker is None else [f"worker {self.worker}"]
        what = " ".join([self.kind.replace("_", " "), *([f"({', '.join(who)})"] if who else [])])
        return f"{self.at_s:.2f}s {what}" + (f": {self.cause}" if self.cause else "")
