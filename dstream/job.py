"""A job of this model on processes of this machine: the elastic model's, with a scheduler and task hosts inside."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from dstream.interval_file import INTERVALS, IntervalFile
from dstream.news import NewsWriter
from dstream.plan import StreamPlan
from dstream.protocol import MESSAGES
from dstream.scheduler.machine import Scheduler
from dstream.scheduler.observer import Observer
from dstream.worker.state_files import STATE
from elastic.cluster.job import LocalJob
from elastic.coordinator.events import Event, Recovered, Told
from elastic.coordinator.memory import Facts
from elastic.plan import Plan
from elastic.server import shell


class StreamJob(LocalJob):
    """One job; its plan is a ``StreamPlan``."""

    COORDINATOR_ENTRY = "dstream.job:coordinate"
    STATE = (*LocalJob.STATE, STATE)
    WORKER_ENTRY = "dstream.worker.shell:main"
    PRELOAD = (*LocalJob.PRELOAD, "dstream.worker.shell", "dstream.job", "dstream.operators", "dstream.hand_over")


class RecordedScheduler(Scheduler):
    """Writes down every interval that is complete, and what listeners are told."""

    def __init__(
        self, plan: StreamPlan, workers: int, spares: int, facts: Facts | None, file: IntervalFile,
        news: NewsWriter | None,
    ) -> None:  # fmt: skip
        super().__init__(plan, workers, spares, facts)
        self._file, self._news, self._observer = file, news, Observer(self._ledger)

    def handle(self, event: Event, now_s: float) -> list[object]:
        actions = super().handle(event, now_s)
        for action in actions:
            if isinstance(action, Told) and action.kind == "interval":
                self._file.add({name: value for name, value in action.body.items() if name != "instances"})
        if self._news is not None:
            self._news.add(self._observer.notes(event, actions))
        if isinstance(event, Recovered) and not event.resumed:  # the report may know less than the file
            actions += [Told("interval", {**figures, "instances": []}) for figures in self._file.newest]
        return actions


def coordinate(address: str, command: str, job: str, takeover: dict[str, Any] | None = None) -> None:
    """Schedule one job until it has ended; the entry point of the coordinator's process."""
    directory = Path(job).parent
    with ExitStack() as stack:

        def make_scheduler(plan: Plan, workers: int, spares: int, facts: Facts | None) -> Scheduler:
            assert isinstance(plan, StreamPlan)
            file = stack.enter_context(closing(IntervalFile(directory / INTERVALS)))
            news = stack.enter_context(closing(NewsWriter(directory))) if plan.heard else None
            return RecordedScheduler(plan, workers, spares, facts, file, news)

        shell.coordinate(address, command, job, make_scheduler, MESSAGES, "lineage", shell.takeover_of(takeover))
