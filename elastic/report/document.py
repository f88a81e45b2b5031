"""The report of one run, for programs: what ``elastic run --json`` writes and ``Query.run`` returns.

A field is never renamed or given another meaning without raising ``SCHEMA``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from elastic.report.events import JobEvent
from elastic.report.figures import Checkpoints, Intervals, OperatorReport, PeakMemory, Percentiles
from elastic.report.incidents import FailedRecords, Recovery, ScaleOut, Stall
from elastic.report.outcome import Failure, JobOutcome, Status

SCHEMA = 1
"""Version of the JSON form. Adding a field leaves it; renaming, removing or redefining one raises it."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that the scenario expects, whether it was met, and the figures it was judged by."""

    name: str
    met: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a result compares with the right one, and how that is known; ``None`` where it is not."""

    verified: bool | None = None
    lost: int | None = None
    duplicated: int | None = None
    detail: str = ""


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

    def write(self, path: str | os.PathLike[str]) -> None:
        """The file at ``path`` holds the report, whole: it is renamed into place."""
        path = Path(path)
        text = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


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
