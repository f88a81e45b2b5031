"""How a job does while it runs, and what is known when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from elastic.report.events import JobEvent
from elastic.report.figures import Checkpoints, Intervals, IntervalTimes, OperatorReport, PeakMemory, Percentiles
from elastic.report.incidents import FailedRecords, Recovery, ScaleOut, Stall

Status: TypeAlias = Literal["done", "failed", "interrupted"]


Failure: TypeAlias = Literal["state_lost", "nondeterminism"]
"""Failures that have an error of their own: ``StateLostError``, ``NondeterminismError``."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a running job does, as of ``at_s``; counters are totals since the start.

    Attributes:
        at_s: Seconds since tick 0.
        lag_s: Largest age in the last second of the newest tick that every sink had settled; 0 once the job has ended.
        done: Share of a bounded input that has been read, 0 to 1; None where the input has no known end.
        workers: Workers that live and hold instances.
        spares: Idle workers that stand by.
        failures: Records that were skipped or diverted, by operator or step.
        checkpoint_age_s: Time since the oldest of the instances' last stored checkpoints; None before the first.
        events: What happened since the last ``Progress``, in order.
        finished: The job has ended; ask for its outcome.
        stalls: Those that last.
        under_way: How far each recovery, and each scaling, is, in words.
        interval: The last complete interval; None under a model that has none, and before the first.
    """

    at_s: float = 0.0
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    records_per_s: float = 0.0
    lag_s: float = 0.0
    done: float | None = None
    workers: int = 0
    spares: int = 0
    checkpoints: int = 0
    checkpoint_age_s: float | None = None
    memory_bytes: int = 0
    operators: tuple[OperatorReport, ...] = ()
    failures: tuple[FailedRecords, ...] = ()
    events: tuple[JobEvent, ...] = ()
    finished: bool = False
    stalls: tuple[Stall, ...] = ()
    under_way: tuple[str, ...] = ()
    interval: IntervalTimes | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What the runtime knows when a job has ended; a ``Report`` is made of it.

    Attributes:
        error: The text to show where the status is ``failed``.
        failure: Which kind of failure it is, where there is a name for it.
        wall_s: From tick 0 to the last commit; where the job failed or was interrupted, to its end.
        records_in: Records that sources read.
        records_out: Rows that sinks committed.
    """

    status: Status
    error: str | None = None
    failure: Failure | None = None
    wall_s: float = 0.0
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    latency_ms: Percentiles = Percentiles()
    checkpoints: Checkpoints = Checkpoints()
    operators: tuple[OperatorReport, ...] = ()
    failures: tuple[FailedRecords, ...] = ()
    events: tuple[JobEvent, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    scale_outs: tuple[ScaleOut, ...] = ()
    stalls: tuple[Stall, ...] = ()
    intervals: Intervals = Intervals()
    peak_memory_bytes: PeakMemory = PeakMemory()
