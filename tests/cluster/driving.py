"""Runs a job on real processes from a test: watch it, break it when something has happened, end it if it hangs.

A fault hits whenever it comes, however busy the machine: until all have struck, no input ends. So no test depends on
how long a job lasts, and none lasts longer than what happens to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from elastic import Query
from elastic.cluster.job import LocalJob
from elastic.connectors.base import Chunk, Partition, Reader, Source
from elastic.plan import Plan, Settings
from elastic.report import JobEvent, JobOutcome, Progress

DEADLINE_S = 200.0
"""Far more than any of these jobs takes; a test that reaches it has found a hang."""

AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True, slots=True)
class HeldPartition(Partition):
    """One of a source that does not end before a file is there: till then there is nothing more for now."""

    name: str
    partition: Partition
    file: Path

    @property
    def input_bytes(self) -> int | None:
        return self.partition.input_bytes

    def open(self) -> Reader:
        return cast("Reader", _HeldReader(self.partition.open(), self.file))


class _HeldReader:
    """A reader that is finished once the file is there."""

    def __init__(self, reader: Reader, file: Path) -> None:
        self._reader, self._file = reader, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    @property
    def finished(self) -> bool:
        """Whether nothing more comes."""
        return self._reader.finished and self._file.exists()

    @finished.setter
    def finished(self, value: bool) -> None:
        self._reader.finished = value

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """What there is."""
        return None if self._reader.finished else self._reader.read(limit_bytes, limit_records)


class Held(Source):
    """A source of such partitions."""

    def __init__(self, source: Source, file: Path) -> None:
        self.name, self.rate, self._source, self._file = source.name, source.rate, source, file

    def partitions(self, count: int) -> list[HeldPartition]:
        return [HeldPartition(p.name, p, self._file) for p in self._source.partitions(count)]


def held(plan: AnyPlan, file: Path) -> AnyPlan:
    """The plan, whose sources do not end before the file is there."""
    operators = {
        name: replace(o, partitions=tuple(HeldPartition(p.name, p, file) for p in o.partitions))
        for name, o in plan.operators.items()
    }
    return replace(plan, operators=operators)


@dataclass
class Running:
    """A job that runs, as a breaker sees it."""

    job: LocalJob
    processes: int = 0
    progress: Progress = field(default_factory=Progress)
    events: list[JobEvent] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    coordinators_killed: int = 0

    def kill(self, worker: int | None, *, note: bool = True) -> bool:
        """SIGKILL for a worker, unless it is not known who that is now; whether it was sent."""
        if worker is None or worker in self.killed:
            return False
        self.killed.add(worker)
        self.job.kill(worker, note=note)
        return True

    def kill_coordinator(self) -> bool:
        """The same for the coordinator, unless the one that is to replace it is not yet known to do so."""
        if sum(e.kind == "coordinator_recovered" for e in self.events) < self.coordinators_killed:
            return False
        self.coordinators_killed += 1
        self.job.kill_coordinator()
        return True

    def has_read(self, records: int, after: str | None = None) -> bool:
        """Whether so many records were read and an event of a kind, if one is named, has happened."""
        return self.progress.records_in >= records and (after is None or self.saw(after))

    def saw(self, kind: str, operator: str | None = None) -> bool:
        """Whether an event of the kind has happened, to the operator if one is named."""
        return any(e.kind == kind and operator in (None, e.operator) for e in self.events)

    def spares(self) -> list[int]:
        """Workers that have joined, are not lost and hold no instance."""
        operators = self.job.plan.operators.values()
        owners = {self.job.owner_of(o.name, n) for o in operators for n in range(o.parallelism)}
        lost = {e.worker for e in self.events if e.kind == "failed"}
        return [w for w in self.joined() if w not in owners | lost | self.killed]

    def joined(self) -> list[int]:
        """Workers that have joined, in order."""
        return [e.worker for e in self.events if e.kind in ("joined", "spare_started") and e.worker is not None]

    def is_complete(self) -> bool:
        """Whether all workers and spares with which the job began have joined."""
        return len(self.joined()) >= self.processes


Breaker = Callable[[Running], bool]
"""Called again and again until it returns True: it has done its damage."""


def drive(
    query: Query, directory: Path, *breakers: Breaker, workers: int = 3, spares: int = 1,
    start: Callable[..., LocalJob] = LocalJob, **settings: Any,
) -> JobOutcome:  # fmt: skip
    """Run the query to its end, letting each breaker strike once, in order; ``start`` is the execution model's."""
    (directory / "job").mkdir()
    plan, struck = query.plan(workers=workers, settings=Settings(**settings)), directory / "struck"
    plan = held(plan, struck) if breakers else plan
    job = start(plan, workers=workers, spares=spares, directory=directory / "job", keep_log=False)
    return watch(job, struck, *breakers, processes=workers + spares)


def watch(job: LocalJob, struck: Path, *breakers: Breaker, processes: int) -> JobOutcome:
    """Run a job of so many workers and spares to its end; the file is there once each breaker has struck."""
    running, waiting = Running(job, processes), list(breakers)
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
                struck.touch()
            assert time.monotonic() < deadline, f"not ended after {DEADLINE_S} s: {running}"
    finally:
        job.close()


def kill_owner(
    operator: str, instance: int, *, after_records: int = 0, after: str | None = None, checkpoints: int = 0
) -> Breaker:
    """SIGKILL for the worker of an instance, once so much was read and checkpointed and an event of a kind was seen."""

    def strike(running: Running) -> bool:
        is_time = running.has_read(after_records, after) and running.progress.checkpoints >= checkpoints
        return is_time and running.kill(running.job.owner_of(operator, instance))

    return strike


def kill_spare(*, after_records: int = 0, after: str | None = None) -> Breaker:
    """The same for a worker that holds no instance."""

    def strike(running: Running) -> bool:
        return running.has_read(after_records, after) and running.kill(next(iter(running.spares()), None))

    return strike


def kill_coordinator(*, after_records: int = 0, after: str | None = None) -> Breaker:
    """The same for the coordinator."""

    def strike(running: Running) -> bool:
        return running.has_read(after_records, after) and running.kill_coordinator()

    return strike


def kill_both(first: tuple[str, int], second: tuple[str, int], *, after_records: int, checkpoints: int) -> Breaker:
    """The same for the workers of two instances at once, when their state has its copies."""

    def strike(running: Running) -> bool:
        owners = [running.job.owner_of(*first), running.job.owner_of(*second)]
        if running.progress.checkpoints < checkpoints or not running.has_read(after_records) or None in owners:
            return False
        for owner in owners:
            running.kill(owner)
        return True

    return strike


def scale(operator: str, instances: int, *, after_records: int) -> Breaker:
    """Ask for so many instances once so many records were read and all spares are there."""

    def ask(running: Running) -> bool:
        if not running.has_read(after_records) or not running.is_complete():
            return False
        running.job.scale(operator, instances)
        return True

    return ask


def see(*kinds: str) -> Breaker:
    """Breaks nothing: it waits until an event of each of the kinds has happened."""
    return lambda running: all(map(running.saw, kinds))


def kinds(outcome: JobOutcome) -> list[str]:
    """The kinds of all events, in order."""
    return [event.kind for event in outcome.events]
