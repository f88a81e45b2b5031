"""Runs a job on real processes from a test: watch it, break it when something has happened, compare the sink."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from elastic import Query
from elastic.cluster.job import JobControl
from elastic.plan import Settings
from elastic.report import JobEvent, JobOutcome, Progress

DEADLINE_S = 60.0
"""Far more than any of these jobs takes; a test that reaches it has found a hang."""

Breaker = Callable[[JobControl, Progress, list[JobEvent]], bool]
"""Called with every progress until it returns True: it has done its damage."""


def drive(
    query: Query, directory: Path, *breakers: Breaker, workers: int = 3, spares: int = 1, **settings: Any
) -> JobOutcome:
    """Run the query to its end, letting each breaker strike once, in order."""
    directory.mkdir(parents=True, exist_ok=True)
    plan = query.plan(workers=workers, settings=Settings(**settings))
    job = JobControl(plan, workers=workers, spares=spares, directory=directory, keep_log=True)
    waiting = list(breakers)
    events: list[JobEvent] = []
    deadline = time.monotonic() + DEADLINE_S
    try:
        job.start()
        while True:
            progress = job.poll(0.02)
            events += progress.events
            if progress.finished:
                assert not waiting, f"the job ended before {len(waiting)} faults: {job.outcome()}"
                return job.outcome()
            if waiting and waiting[0](job, progress, events):
                waiting.pop(0)
            assert time.monotonic() < deadline, f"not ended after {DEADLINE_S} s: {progress}, {events}"
    finally:
        job.close()


def kill_owner(operator: str, instance: int, *, after_records: int) -> Breaker:
    """SIGKILL for the worker of an instance once so many records were read."""

    def strike(job: JobControl, progress: Progress, _: list[JobEvent]) -> bool:
        owner = job.owner_of(operator, instance)
        if progress.records_in < after_records or owner is None:
            return False
        job.kill(owner)
        return True

    return strike


def kill_on(kind: str, operator: str, instance: int) -> Breaker:
    """SIGKILL for the worker of an instance as soon as an event of a kind was seen."""

    def strike(job: JobControl, _: Progress, events: list[JobEvent]) -> bool:
        owner = job.owner_of(operator, instance)
        if owner is None or not any(e.kind == kind for e in events):
            return False
        job.kill(owner)
        return True

    return strike


def kinds(outcome: JobOutcome) -> list[str]:
    """The kinds of all events, in order."""
    return [event.kind for event in outcome.events]


def table(path: Path, name: str) -> dict[Any, Any]:
    """A table of keys and values."""
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute(f"SELECT key, value FROM {name}"))  # noqa: S608 (the test's own name)
