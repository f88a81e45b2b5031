"""What is measured of a job."""

from __future__ import annotations

from dataclasses import dataclass

from elastic.report.incidents import FailedOutput


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of latencies in milliseconds, weighted by records; all None when nothing was committed."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Durations:
    """Median and 99th percentile, milliseconds; None where nothing was measured."""

    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Stored checkpoints: how many, their bytes together, and the time from the cut to the acknowledgement."""

    count: int = 0
    bytes: int = 0
    duration_ms: Durations = Durations()


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Largest resident set of one worker, largest sum over all workers at one moment; bytes.

    Attributes:
        spilled: The most output that one worker had on the disk for want of memory.
    """

    worker: int = 0
    total: int = 0
    spilled: int = 0


@dataclass(frozen=True, slots=True)
class OperatorReport:
    """One operator: how many instances at the end, records taken in, and the busiest instance's share of its time.

    Attributes:
        records_in: Each once, whatever was processed again; under ``dstream``, with that.
    """

    name: str
    instances: int
    records_in: int = 0
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class IntervalTimes:
    """One interval that is complete, counted from 1: how long its first task waited, and from then on its last took."""

    interval: int
    scheduling_delay_ms: float
    processing_ms: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """The intervals of a job of the D-Streams model that are complete; of another model none.

    Attributes:
        records: That sources read in them.
        scheduling_delay_ms: From the end of an interval until its first task was given out.
        processing_ms: From then until its last task was done.
        total_delay_ms: From the end of an interval until its last task was done.
        tasks: That were done for the first time.
        recomputed: That were done again, since what they had given was lost.
        speculative: That were done twice at once, since they were slow; none in this version.
        failed_outputs: Those that were given up, where the job keeps going.
    """

    count: int = 0
    records: int = 0
    scheduling_delay_ms: Percentiles = Percentiles()
    processing_ms: Percentiles = Percentiles()
    total_delay_ms: Percentiles = Percentiles()
    tasks: int = 0
    recomputed: int = 0
    speculative: int = 0
    failed_outputs: tuple[FailedOutput, ...] = ()
