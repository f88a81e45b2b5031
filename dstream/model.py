"""The model's two entry points: a query run from a script, and a scenario's job."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import Any

from dstream.job import StreamJob
from dstream.operators import stream_plan
from dstream.plan import StreamPlan
from elastic.dashboard.launch import launch, reported, run_with
from elastic.errors import QueryError
from elastic.plan import Plan, Settings
from elastic.query import Query
from elastic.report import Report
from elastic.scenario.models import ELASTIC_ALONE, DStream

TASKS_PER_WORKER = 3
"""Tasks of a keyed stage for each worker: what a lost worker held is then computed again by several others."""


def run_query(
    query: Query,
    *,
    workers: int = 4,
    spares: int = 1,
    memory: str = "512MiB",
    directory: str | Path | None = None,
    display: bool = True,
    verify: bool = False,
    interval: str = "1s",
    checkpoint: int = 10,
    tasks: int | None = None,
    retries: int = 2,
    keep_going: bool = False,
    resume: bool = False,
    **settings: Any,
) -> Report:
    """Run a query in intervals, and return the report. Blocks; an entry point of ``elastic.models``.

    Args:
        query: What runs.
        workers: Processes that share the work.
        spares: Processes that stand by to replace one that dies.
        memory: Limit per worker that blocks in memory and unprocessed input keep to.
        directory: The job directory; ``.elastic/NAME`` if None.
        display: Show progress while it runs and a summary at the end.
        verify: Hold the result against a clean run over the same input.
        interval: Length of an interval; a whole number of ticks.
        checkpoint: After every so many intervals a version of all state is kept.
        tasks: Tasks of a keyed operator in each interval; 3 for each worker if None.
        retries: How often a task is tried again after user code has raised in it.
        keep_going: If it still raises, only the outputs that need the task fail; the job fails at its end.
        resume: Go on with the job that was stopped or killed in the directory.
        settings: Those of a scenario's ``elastic`` section that are about ticks, keys, liveness, disk and copies.

    Raises:
        QueryError: A mistake in the query or in an argument.
        JobFailedError: The job failed; what it committed stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was complete is committed.
    """
    if idle := sorted(ELASTIC_ALONE & settings.keys()):
        raise QueryError(f'run({idle[0]}=…): it has no meaning under model="dstream"; leave it out')
    section = {
        "interval": interval, "checkpoint": checkpoint, "tasks": tasks, "retries": retries, "keep_going": keep_going,
    }  # fmt: skip
    cluster = {"workers": workers, "spares": spares, "memory": memory}
    run = run_with(query, cluster, settings, section, directory=directory, verify=verify, resume=resume)
    return reported(launch(replace(run, model="dstream"), display="auto" if display else "none"))


def start_job(
    plan: Plan, *, workers: int, spares: int, directory: Path, keep_log: bool, resume: bool = False, settings: DStream
) -> StreamJob:
    """The job, not yet started; an entry point of ``elastic.jobs``.

    Raises:
        QueryError: The interval is not a whole number of ticks.
        UserError: There is nothing to resume, or it does not fit the plan.
    """
    stream = plan if isinstance(plan, StreamPlan) else cut(plan, workers, settings)
    return StreamJob(stream, workers=workers, spares=spares, directory=directory, keep_log=keep_log, resume=resume)


def cut(plan: Plan, workers: int, settings: DStream) -> StreamPlan:
    """An elastic plan as stages.

    Raises:
        QueryError: The interval is not a whole number of ticks.
    """
    ticks = interval_ticks(settings.interval, plan.settings.tick_ms)
    plan = replace(plan, settings=with_whole_ticks(plan.settings, ticks))
    return stream_plan(
        plan,
        interval_ticks=ticks,
        checkpoint_intervals=settings.checkpoint,
        partitions=settings.tasks or TASKS_PER_WORKER * workers,
        retries=settings.retries,
        keep_going=settings.keep_going,
    )


def with_whole_ticks(settings: Settings, ticks: int) -> Settings:
    """The settings; sources lengthen their ticks only if all that they may stamp end an interval of so many ticks."""
    return replace(settings, max_stretch=gcd(ticks, settings.max_stretch))


def interval_ticks(interval_ms: int, tick_ms: int) -> int:
    """Ticks in an interval.

    Raises:
        QueryError: It is not a whole number of ticks.
    """
    ticks, rest_ms = divmod(interval_ms, tick_ms)
    if rest_ms or not ticks:
        near = max(1, ticks) * tick_ms
        raise QueryError(
            f"an interval of {interval_ms}ms is not a whole number of ticks of {tick_ms}ms; "
            f"write interval: {near}ms, or change the tick"
        )
    return ticks
