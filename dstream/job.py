"""A job of this model on processes of this machine: the elastic model's, with a scheduler and task hosts inside."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from dstream.plan import StreamPlan
from dstream.protocol import MESSAGES
from dstream.scheduler.machine import Scheduler
from dstream.scheduler.observer import Observer
from elastic.cluster.job import JobControl
from elastic.coordinator.events import Event, Journal
from elastic.coordinator.memory import Facts
from elastic.plan import Plan
from elastic.server import shell


class StreamJob(JobControl):
    """One job; its plan is a ``StreamPlan``."""

    COORDINATOR_ENTRY = "dstream.job:coordinate"
    TAKES_OVER = False
    WORKER_ENTRY = "dstream.worker.shell:main"
    PRELOAD = (*JobControl.PRELOAD, "dstream.worker.shell", "dstream.job", "dstream.operators", "dstream.hand_over")


INTERVALS = "intervals.jsonl"
"""File of the job directory with a line for each interval that is complete."""


NEWS = "news.jsonl"
"""File of the job directory with what listeners are told, if there are any."""


class RecordedScheduler(Scheduler):
    """Writes down every interval that is complete, and what listeners are told."""

    def __init__(self, plan: StreamPlan, workers: int, spares: int, file: TextIO, news: TextIO | None) -> None:
        super().__init__(plan, workers, spares)
        self._file, self._news, self._observer = file, news, Observer(self._ledger)

    def handle(self, event: Event, now_s: float) -> list[object]:
        actions = super().handle(event, now_s)
        for action in actions:
            if isinstance(action, Journal) and action.kind == "interval":
                told = {name: value for name, value in action.body.items() if name != "instances"}
                self._file.write(json.dumps(told) + "\n")
        if self._news is not None:
            self._news.writelines(json.dumps(note) + "\n" for note in self._observer.notes(event, actions))
        return actions


def coordinate(address: str, command: str, job: str) -> None:
    """Schedule one job until it has ended; the entry point of the coordinator's process."""
    with ExitStack() as stack:

        def opened(name: str) -> TextIO:
            return stack.enter_context(Path(job).with_name(name).open("a", encoding="utf-8", buffering=1))

        def make_scheduler(plan: Plan, workers: int, spares: int, facts: Facts | None) -> Scheduler:
            assert isinstance(plan, StreamPlan)
            assert facts is None
            return RecordedScheduler(plan, workers, spares, opened(INTERVALS), opened(NEWS) if plan.heard else None)

        shell.coordinate(address, command, job, make_scheduler, MESSAGES, "lineage")
