"""Is the result right? Asked of the job's own check, or of a clean run over the same input log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic.connectors.base import Sink, SinkContext
from elastic.operators.failure import connector_error, user_trace
from elastic.plan import Plan
from elastic.report import JobOutcome, Verdict


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job's own ``check`` and ``show`` are called with.

    Attributes:
        parameters: The scenario's parameters, placeholders replaced.
        sinks: What each sink holds, by the sink's name; None for one that cannot be read back.
        directory: The job directory.
        outcome: Counters, events and recoveries of the run.
    """

    parameters: Mapping[str, Any]
    sinks: Mapping[str, Any]
    directory: Path
    outcome: JobOutcome


def contents(plan: Plan, directory: Path) -> dict[str, Any]:
    """What each sink holds of this run, by name; None for one that cannot be read back."""
    found = {}
    for name, sink in sinks_of(plan).items():
        try:
            found[name] = sink.contents(context_of(plan, name, directory))
        except Exception as error:
            raise connector_error(error, f"sink {name!r}") from error
    return found


def verdict_of_check(check: Callable[[JobResult], Any], result: JobResult) -> Verdict:
    """What the job's own check says: a bool, or (lost, duplicated) rows."""
    try:
        answer = check(result)
    except Exception as error:  # noqa: BLE001 (user code raises what it likes)
        return Verdict(detail=f"the job's own check raised:\n{user_trace(error).rstrip()}")
    if isinstance(answer, bool):
        return Verdict(
            answer,
            0 if answer else None,
            0 if answer else None,
            f"{'right' if answer else 'wrong'} by the job's own check",
        )
    if isinstance(answer, tuple) and len(answer) == 2 and all(type(n) is int for n in answer):
        lost, duplicated = answer
        right = lost == duplicated == 0
        found = "right" if right else f"{lost} rows lost, {duplicated} duplicated"
        return Verdict(right, lost, duplicated, f"{found} by the job's own check")
    return Verdict(detail=f"the job's own check returned {answer!r}; expected True, False or (lost, duplicated)")


def verdict_of_clean_run(plan: Plan, directory: Path, log_directory: Path) -> Verdict:
    """How the sinks compare with those of a clean run over the same input log, ticks included, in one process."""
    from elastic.testing.reference import reference_run

    found = contents(plan, directory)
    if unreadable := [name for name, held in found.items() if held is None]:
        names = ", ".join(unreadable)
        return Verdict(detail=f"sink {names} cannot be read back; use another, or give the job a check of its own")
    clean = reference_run(plan, log_directory)
    lost = duplicated = 0
    for name, sink in sinks_of(plan).items():
        missing, extra = sink.compare(sink.expected(clean.get(name, [])), found[name])
        lost, duplicated = lost + missing, duplicated + extra
    same = "equal to" if lost == duplicated == 0 else f"{lost} rows lost, {duplicated} duplicated against"
    return Verdict(lost == duplicated == 0, lost, duplicated, f"{same} a clean run over the same input log")


def unreadable(plan: Plan) -> list[str]:
    """Names of the sinks of which it is known beforehand that nobody can read what they hold."""
    return [name for name, sink in sinks_of(plan).items() if type(sink).contents is Sink.contents]


def sinks_of(plan: Plan) -> dict[str, Sink]:
    """The plan's sinks, by name."""
    return {name: operator.logic for name, operator in plan.operators.items() if operator.kind == "sink"}


def context_of(plan: Plan, operator: str, directory: Path) -> SinkContext:
    """Under what identity a sink of the plan writes."""
    return SinkContext(plan.run_id, plan.name, operator, plan.settings.key_groups, plan.settings.tick_ms, directory)
