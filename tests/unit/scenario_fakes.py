"""A job without processes: it plays back progress, and notes what is done to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from elastic.connectors.base import Partition, Sink, SinkContext, Source, Writer
from elastic.keys import KeyInterval
from elastic.plan import Plan
from elastic.query import Query
from elastic.report import JobOutcome, Progress


class Nothing(Source):
    """A source with one partition, which nobody opens."""

    name = "nothing"

    def partitions(self, count: int) -> Sequence[Partition]:
        return [NoPartition()]


class NoPartition(Partition):
    name = "nothing[0]"

    def open(self) -> None:  # type: ignore[override]
        raise AssertionError("no job runs in these tests")


class Nowhere(Sink):
    """A sink that nobody opens; what it holds is made up."""

    name = "nowhere"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        raise AssertionError("no job runs in these tests")

    def contents(self, context: SinkContext) -> dict[str, int]:
        return {"a": 1}


def count_query(name: str = "counting") -> Query:
    """A query with the operators nothing, count and nowhere."""
    query = Query(name)
    query.source(Nothing()).key_by().count().sink(Nowhere())
    return query


@dataclass
class FakeJob:
    """Satisfies ``JobControl``: one ``Progress`` of ``script`` a poll; then it has finished, or goes on until stopped.

    Attributes:
        actions: What was done to it, in order.
        signals: After how many polls this process gets SIGINT.
        deaf: Does not end when it is told to stop.
    """

    plan: Plan
    directory: Path
    script: list[Progress] = field(default_factory=list)
    result: JobOutcome = field(default_factory=lambda: JobOutcome("done", wall_s=1.0))
    owners: dict[tuple[str, int], int] = field(default_factory=dict)
    signals: tuple[int, ...] = ()
    endless: bool = False
    deaf: bool = False
    actions: list[str] = field(default_factory=list)
    polls: int = 0

    def wake(self) -> None:
        """A poll never waits."""

    @property
    def log_directory(self) -> Path:
        return self.directory / "log"

    def start(self) -> None:
        self.actions.append("start")

    def poll(self, timeout_s: float) -> Progress:
        self.polls += 1
        for _ in range(self.signals.count(self.polls)):
            os.kill(os.getpid(), signal.SIGINT)
        if self.script:
            return self.script.pop(0)
        stopped = "stop" in self.actions and not self.deaf
        return Progress(at_s=self.polls * timeout_s, finished=stopped or not self.endless)

    def owner_of(self, operator: str, instance: int) -> int | None:
        return self.owners.get((operator, instance))

    def kill(self, worker: int) -> None:
        self.actions.append(f"kill {worker}")

    def kill_coordinator(self) -> None:
        self.actions.append("kill the coordinator")

    def pause_coordinator(self) -> None:
        self.actions.append("pause the coordinator")

    def pause(self, worker: int) -> None:
        self.actions.append(f"pause {worker}")

    def resume(self, worker: int) -> None:
        self.actions.append(f"resume {worker}")

    def scale(self, operator: str, instances: int) -> None:
        self.actions.append(f"scale {operator} {instances}")

    def drain(self, worker: int) -> None:
        self.actions.append(f"drain {worker}")

    def join(self) -> None:
        self.actions.append("join")

    def stop(self) -> None:
        self.actions.append("stop")

    def abort(self) -> None:
        self.actions.append("abort")

    def outcome(self) -> JobOutcome:
        if {"stop", "abort"} & set(self.actions):
            return replace(self.result, status="interrupted")
        return self.result

    def close(self) -> None:
        self.actions.append("close")


class Start:
    """Satisfies ``StartJob``: makes a ``FakeJob`` and keeps it for the test to look at."""

    def __init__(self, **settings: object) -> None:
        self._settings = settings
        self.job: FakeJob

    def __call__(
        self, plan: Plan, *, workers: int, spares: int, directory: Path, keep_log: bool, resume: bool
    ) -> FakeJob:
        self.keep_log = keep_log
        self.job = FakeJob(plan, directory, **self._settings)  # type: ignore[arg-type]
        return self.job


@dataclass
class Notes:
    """Satisfies ``Watcher``: keeps what it is told."""

    notes: list[str] = field(default_factory=list)
    seen: list[Progress] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        """Nothing to restore."""
