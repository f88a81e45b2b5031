"""Expectations: each thing that a scenario expects, held against what happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elastic.callables import did_you_mean
from elastic.plan import Plan
from elastic.report import Expectation, JobOutcome, Verdict
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import Expect, Fault
from elastic.units import RateUnit, counted, format_count, format_duration, format_size


def judge(
    expect: Expect, outcome: JobOutcome, verdict: Verdict, unfired: Sequence[Fault] = ()
) -> tuple[Expectation, ...]:
    """One verdict for each expectation, in the order in which the scenario's reference lists them.

    A fault that never fired is an expectation that was not met: the scenario did not test what it says it tests.
    """
    return (
        *_result(expect, outcome, verdict),
        *_recovery(expect, outcome),
        *_instances(expect, outcome),
        *_failed(expect, outcome),
        *_speed(expect, outcome),
        *_unfired(unfired, outcome),
    )


def _result(expect: Expect, outcome: JobOutcome, verdict: Verdict) -> Iterator[Expectation]:
    unknown = verdict.detail or f"not known: the job {outcome.status}"
    if expect.result is not None:
        met = verdict.verified is True
        yield Expectation("result", met, verdict.detail if verdict.verified is not None else unknown)
    for name, limit, found in (
        ("lost", expect.lost, verdict.lost),
        ("duplicated", expect.duplicated, verdict.duplicated),
    ):
        if limit is not None:
            detail = unknown if found is None else f"{counted(found, 'row')}, at most {limit:,} expected"
            yield Expectation(name, found is not None and found <= limit, detail)


def _recovery(expect: Expect, outcome: JobOutcome) -> Iterator[Expectation]:
    if (limit := expect.recovery) is not None:
        times = [r.caught_up_s for r in outcome.recoveries]
        known = [t for t in times if t is not None]
        if not times:
            yield Expectation("recovery", met=False, detail="no failure happened that could be recovered from")
        elif len(known) < len(times):
            yield Expectation("recovery", met=False, detail="the job ended before it had caught up with a failure")
        else:
            worst = max(known)
            detail = f"caught up after {format_duration(worst)}, at most {format_duration(limit)} expected"
            yield Expectation("recovery", worst <= limit, detail)
    if expect.recoveries is not None:
        found = sum(r.restored_s is not None for r in outcome.recoveries)
        detail = f"{counted(found, 'failure')} recovered from, at least {expect.recoveries} expected"
        yield Expectation("recoveries", found >= expect.recoveries, detail)


def check_expectations(expect: Expect, plan: Plan) -> None:
    """Return if every operator or step of which something is expected is one of the plan's.

    Raises:
        FieldError: One is not.
    """
    steps = {step.name for edge in plan.edges for step in edge.steps if step.on_error != "fail"}
    for name in expect.failed or {}:
        if name not in (known := [*plan.operators, *sorted(steps)]):
            hint = did_you_mean(name, known)
            problem = f'the query has no operator "{name}", or step that may fail{hint} There are: {", ".join(known)}'
            raise FieldError(("expect", "failed", name), problem)
    for name in expect.instances or {}:
        if name not in plan.operators:
            hint = did_you_mean(name, plan.operators)
            problem = f'the query has no operator "{name}"{hint} Operators: {", ".join(plan.operators)}'
            raise FieldError(("expect", "instances", name), problem)


def _instances(expect: Expect, outcome: JobOutcome) -> Iterator[Expectation]:
    found = {operator.name: operator.instances for operator in outcome.operators}
    for name, wanted in (expect.instances or {}).items():
        detail = f"{name} has {counted(found.get(name, 0), 'instance')}, {wanted} expected"
        yield Expectation("instances", found.get(name) == wanted, detail)


def _failed(expect: Expect, outcome: JobOutcome) -> Iterator[Expectation]:
    found = {failed.where: failed.skipped + failed.diverted for failed in outcome.failures}
    for name, wanted in (expect.failed or {}).items():
        count = found.get(name, 0)
        detail = f"{name} failed on {counted(count, 'record')}, {wanted:,} expected"
        yield Expectation("failed", count == wanted, detail)


def _speed(expect: Expect, outcome: JobOutcome) -> Iterator[Expectation]:
    if expect.throughput is not None:
        least, unit = expect.throughput
        amount = outcome.records_in if unit == "records" else outcome.bytes_in
        found = amount / outcome.wall_s if outcome.wall_s else 0.0
        detail = f"{_rate(found, unit)}, at least {_rate(least, unit)} expected"
        yield Expectation("throughput", found >= least, detail)
    for name, limit_ms, found_ms in (
        ("latency_p50", expect.latency_p50, outcome.latency_ms.p50),
        ("latency_p99", expect.latency_p99, outcome.latency_ms.p99),
    ):
        if limit_ms is None:
            continue
        if found_ms is None:
            yield Expectation(name, met=False, detail="nothing was committed, so there is no latency")
        else:
            detail = f"{format_duration(found_ms / 1000)}, at most {format_duration(limit_ms / 1000)} expected"
            yield Expectation(name, found_ms <= limit_ms, detail)
    if expect.memory is not None:
        peak = outcome.peak_memory_bytes.worker
        detail = f"largest worker {format_size(peak)}, at most {format_size(expect.memory)} expected"
        yield Expectation("memory", peak <= expect.memory, detail)


def _unfired(faults: Sequence[Fault], outcome: JobOutcome) -> Iterator[Expectation]:
    for fault in faults:
        ended = f"the job ended after {format_duration(outcome.wall_s)} and {counted(outcome.records_in, 'record')}"
        yield Expectation("fault", met=False, detail=f"never fired: {fault}; {ended}")


def _rate(per_second: float, unit: RateUnit) -> str:
    return f"{format_count(per_second)} records/s" if unit == "records" else f"{format_size(per_second)}/s"
