"""Runs a job on real processes from a test: watch it, break it when something has happened, end it if it hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elastic import Query
from elastic.cluster.job import LocalJob
from elastic.plan import Settings
from elastic.report import JobEvent, JobOutcome, Progress
from tests.cluster.jobs import STRUCK

DEADLINE_S = 60.0
"""Far more than any of these jobs takes; a test that reaches it has found a hang."""


@dataclass
class Running:
    """A job that runs, as a breaker sees it."""

    job: LocalJob
    progress: Progress = field(default_factory=Progress)
    events: list[JobEvent] = field(default_factory=list)

    def saw(self, kind: str, operator: str | None = None) -> bool:
        """Whether an event of the kind has happened, to the operator if one is named."""
        return any(e.kind == kind and operator in (None, e.operator) for e in self.events)

    def spares(self) -> list[int]:
        """Workers that have joined, are not lost and hold no instance."""
        operators = self.job.plan.operators.values()
        owners = {self.job.owner_of(o.name, n) for o in operators for n in range(o.parallelism)}
        lost = {e.worker for e in self.events if e.kind == "failed"}
        joined = [e.worker for e in self.events if e.kind in ("joined", "spare_started") and e.worker is not None]
        return [w for w in joined if w not in owners | lost]


Breaker = Callable[[Running], bool]
"""Called again and again until it returns True: it has done its damage."""


def drive(
    query: Query, directory: Path, *breakers: Breaker, workers: int = 3, spares: int = 1,
    start: Callable[..., LocalJob] = LocalJob, **settings: Any,
) -> JobOutcome:  # fmt: skip
    """Run the query to its end, letting each breaker strike once, in order; ``start`` is the execution model's.

    A file in the directory tells sources that are ``Held`` that all of them have.
    """
    job_directory = directory / "job"
    job_directory.mkdir()
    plan = query.plan(workers=workers, settings=Settings(**settings))
    job = start(plan, workers=workers, spares=spares, directory=job_directory, keep_log=False)
    running, waiting = Running(job), list(breakers)
    deadline = time.monotonic() + DEADLINE_S
    try:
        job.start()
        while True:
            running.progress = job.poll(0.02)
            running.events += running.progress.events
            if running.progress.finished:
                assert not waiting, f"the job ended before {len(waiting)} faults: {job.outcome()}"
                return job.outcome()
            if waiting and waiting[0](running):
                waiting.pop(0)
            if not waiting:
                (directory / STRUCK).touch()
            assert time.monotonic() < deadline, f"not ended after {DEADLINE_S} s: {running}"
    finally:
        job.close()


def kill_owner(operator: str, instance: int, *, after_records: int = 0, after: str | None = None) -> Breaker:
    """SIGKILL for the worker of an instance, once so many records were read and an event of a kind was seen."""

    def strike(running: Running) -> bool:
        owner = running.job.owner_of(operator, instance)
        early = running.progress.records_in < after_records or (after is not None and not running.saw(after))
        if early or owner is None:
            return False
        running.job.kill(owner)
        return True

    return strike


def kill_spare(*, after_records: int = 0, after: str | None = None) -> Breaker:
    """The same for a worker that holds no instance."""

    def strike(running: Running) -> bool:
        if running.progress.records_in < after_records or (after is not None and not running.saw(after)):
            return False
        running.job.kill(running.spares()[0])
        return True

    return strike


def kinds(outcome: JobOutcome) -> list[str]:
    """The kinds of all events, in order."""
    return [event.kind for event in outcome.events]
