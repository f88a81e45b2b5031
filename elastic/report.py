"""What a run tells: its progress while it lasts, and one report at its end, for people and for programs.

Everything here is a value: the runtime fills it, the display and ``Report.write`` read it. ``Report.to_json`` is the
machine-readable form; a field is never renamed or given another meaning without raising ``SCHEMA``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

SCHEMA = 1
"""Version of the JSON form. Adding a field leaves it; renaming, removing or redefining one raises it."""

EventKind: TypeAlias = Literal[
    "started", "joined", "killed", "paused", "resumed", "failed", "detected", "restored", "replayed", "caught_up",
    "record_failed",
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
        "spare_started": "A new idle worker stands by in place of one that was used.",
        "coordinator_recovered": "The coordinator was lost; another one has read its journal and goes on.",
        "job_resumed": "The job goes on from its job directory, after it was stopped or killed.",
        "fenced": "A worker that was taken for dead came back; its data and commits were refused and it was ended.",
        "checkpoint_lost": "The copy of a checkpoint went with its holder; a full one was asked for at once.",
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

Status: TypeAlias = Literal["done", "failed", "interrupted"]

Failure: TypeAlias = Literal["state_lost", "nondeterminism"]
"""Failures that have an error of their own: ``StateLostError``, ``NondeterminismError``."""


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


@dataclass(frozen=True, slots=True)
class FailedRecords:
    """Records on which user code raised and that did not end the job.

    Attributes:
        where: The operator or step.
        skipped: How many were left out.
        diverted: How many went to the output for them.
        example: What the last of them met: the exception, the user's line, the record.
    """

    where: str
    skipped: int
    diverted: int
    example: str


def added(failures: Iterable[FailedRecords]) -> tuple[FailedRecords, ...]:
    """The counts of each operator or step together, in the order in which they first come."""
    sums: dict[str, FailedRecords] = {}
    for found in failures:
        known = sums.get(found.where, FailedRecords(found.where, 0, 0, ""))
        skipped, diverted = known.skipped + found.skipped, known.diverted + found.diverted
        sums[found.where] = FailedRecords(found.where, skipped, diverted, found.example or known.example)
    return tuple(sums.values())


@dataclass(frozen=True, slots=True)
class Stall:
    """An instance that stood still for longer than ``stall_after``, and not because of another one that did.

    Attributes:
        what: Where it stood: ``code`` of the user's; ``source``, ``sink``: a read, a target that did not return;
            ``worker``: one that said nothing; ``input``, ``credit``, ``cover``: it waited for others, which went on;
            ``restore``, ``scaling``: for a checkpoint, for neighbours; ``system``: code of this package.
        detail: The same in words.
        tick: Its position.
        since_s: When it last got any further, seconds since tick 0.
        until_s: When it went on; None if it never did.
        waiting: A sentence for each instance that waited for it.
        lines: Where in the code it stood, innermost last: the user's own lines if there were any.
    """

    operator: str
    instance: int
    worker: int
    what: str
    detail: str
    tick: int
    since_s: float
    until_s: float | None
    waiting: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it lasts."""
        return self.until_s is None

    @property
    def story(self) -> str:
        """All of it in one line."""
        where = f": {self.lines[-1]}" if self.lines else ""
        waiting = f"; {'; '.join(self.waiting[:3])}" if self.waiting else ""
        more = f"; and {len(self.waiting) - 3} more wait" if len(self.waiting) > 3 else ""
        return f"{self.detail}{where}{waiting}{more}"


@dataclass(frozen=True, slots=True)
class OperatorReport:
    """One operator: how many instances at the end, records taken in, and the busiest instance's share of its time."""

    name: str
    instances: int
    records_in: int = 0
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How a running job does, as of ``at_s``; counters are totals since the start.

    Attributes:
        at_s: Seconds since tick 0.
        lag_s: Age of the oldest record that is read but not committed; 0 when there is none.
        done: Share of a bounded input that has been read, 0 to 1; None where the input has no known end.
        workers: Workers that live and hold instances.
        spares: Idle workers that stand by.
        failures: Records that were skipped or diverted, by operator or step.
        checkpoint_age_s: Time since the oldest of the instances' last stored checkpoints; None before the first.
        events: What happened since the last ``Progress``, in order.
        finished: The job has ended; ask for its outcome.
        stalls: Those that last.
        under_way: How far each recovery, and each scaling, is, in words.
    """

    at_s: float = 0.0
    records_in: int = 0
    records_out: int = 0
    bytes_in: int = 0
    records_per_s: float = 0.0
    bytes_per_s: float = 0.0
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
class Recovery:
    """One failure and how the job came back from it. Times count from the failure itself.

    Attributes:
        cause: What failed and how.
        strategy: How state came back, such as ``checkpoint``.
        detected_s: Until the coordinator knew.
        restored_s: Until the last replacement instance processed again; None if that never happened.
        caught_up_s: Until lag was back under ``lag_bound_s`` and stayed there for a second (the second not counted);
            None if the job ended before.
        lag_bound_s: max(0.5, 2 times the 99th percentile of lag before the failure).
        replayed_records: Records processed a second time.
        state_keys: Keys restored from checkpoints.
    """

    cause: str
    strategy: str
    detected_s: float
    restored_s: float | None
    caught_up_s: float | None
    lag_bound_s: float
    replayed_records: int = 0
    state_keys: int = 0


@dataclass(frozen=True, slots=True)
class ScaleOut:
    """A change of an operator's number of instances; ``before`` above ``after`` where it was scaled in.

    In JSON ``before`` and ``after`` are called ``from`` and ``to``.
    """

    operator: str
    before: int
    after: int
    at_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that the scenario expects, whether it was met, and the figures it was judged by."""

    name: str
    met: bool
    detail: str


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
    """

    count: int = 0
    records: int = 0
    scheduling_delay_ms: Percentiles = Percentiles()
    processing_ms: Percentiles = Percentiles()
    total_delay_ms: Percentiles = Percentiles()
    tasks: int = 0
    recomputed: int = 0
    speculative: int = 0


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


@dataclass(frozen=True, slots=True)
class Report:
    """One run, for programs: what ``elastic run --json`` writes and ``Query.run`` returns.

    Attributes:
        schema: Version of this form.
        scenario: Name of the scenario, or of the query where there was none.
        cores: Processor cores that the run could use.
        mb_per_s: Input bytes per second in units of 10**6.
        verified: The result equals that of a clean run or of the job's own check; None if that was not asked for.
        lost: Rows that the sinks lack against it; None if that is not known.
        duplicated: Rows that the sinks have beyond it.
        shown: Lines that the job itself added to the summary.
    """

    scenario: str
    model: str
    status: Status
    error: str | None
    failure: Failure | None
    cores: int
    wall_s: float
    records_in: int
    records_out: int
    bytes_in: int
    records_per_s: float
    mb_per_s: float
    verified: bool | None
    lost: int | None
    duplicated: int | None
    latency_ms: Percentiles
    checkpoints: Checkpoints
    operators: tuple[OperatorReport, ...]
    failures: tuple[FailedRecords, ...]
    events: tuple[JobEvent, ...]
    recoveries: tuple[Recovery, ...]
    scale_outs: tuple[ScaleOut, ...]
    stalls: tuple[Stall, ...]
    expectations: tuple[Expectation, ...]
    intervals: Intervals
    peak_memory_bytes: PeakMemory
    shown: tuple[str, ...] = ()
    schema: int = SCHEMA

    @property
    def exit_code(self) -> int:
        """What the command exits with: 0 done and every expectation met, 1 one was not, 3 failed, 130 interrupted."""
        if self.status == "failed":
            return 3
        if self.status == "interrupted":
            return 130
        return 0 if all(e.met for e in self.expectations) else 1

    def to_json(self) -> dict[str, Any]:
        """The report as JSON's own types, ``schema`` first."""
        plain: dict[str, Any] = _plain(self)
        return {"schema": plain.pop("schema"), **plain}

    def write(self, path: Path) -> None:
        """The file at ``path`` holds the report, whole: it is renamed into place."""
        text = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a result compares with the right one, and how that is known; ``None`` where it is not."""

    verified: bool | None = None
    lost: int | None = None
    duplicated: int | None = None
    detail: str = ""


def report_of(
    outcome: JobOutcome,
    *,
    scenario: str,
    model: str,
    verdict: Verdict = Verdict(),
    expectations: Sequence[Expectation] = (),
    shown: Sequence[str] = (),
) -> Report:
    """The report of a run that ended with ``outcome``; rates are taken over its whole ``wall_s``."""
    seconds = max(outcome.wall_s, 1e-9)
    copied = {f.name: getattr(outcome, f.name) for f in fields(outcome)}
    return Report(
        scenario=scenario,
        model=model,
        cores=usable_cores(),
        records_per_s=outcome.records_in / seconds if outcome.wall_s else 0.0,
        mb_per_s=outcome.bytes_in / seconds / 1e6 if outcome.wall_s else 0.0,
        verified=verdict.verified,
        lost=verdict.lost,
        duplicated=verdict.duplicated,
        expectations=tuple(expectations),
        shown=tuple(shown),
        **copied,
    )


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_RENAMED: Mapping[tuple[type, str], str] = {(ScaleOut, "before"): "from", (ScaleOut, "after"): "to"}


def _plain(value: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, all the way down; floats rounded to what was measured."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6)
    if not hasattr(value, "__dataclass_fields__"):
        return value
    kind = type(value)
    return {_RENAMED.get((kind, f.name), f.name): _plain(getattr(value, f.name)) for f in fields(kind)}
