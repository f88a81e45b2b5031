"""A job of this model on processes of this machine: the elastic model's, with a scheduler and task hosts inside."""

from __future__ import annotations

from dstream.plan import StreamPlan
from dstream.protocol import MESSAGES
from dstream.scheduler.machine import Scheduler
from elastic.cluster.job import JobControl
from elastic.coordinator.memory import Facts
from elastic.plan import Plan
from elastic.server import shell


class StreamJob(JobControl):
    """One job; its plan is a ``StreamPlan``."""

    COORDINATOR_ENTRY = "dstream.job:coordinate"
    TAKES_OVER = False
    WORKER_ENTRY = "dstream.worker.shell:main"
    PRELOAD = (*JobControl.PRELOAD, "dstream.worker.shell", "dstream.job", "dstream.operators", "dstream.outputs")


def make_scheduler(plan: Plan, workers: int, spares: int, facts: Facts | None) -> Scheduler:
    """What decides in the coordinator's process."""
    assert isinstance(plan, StreamPlan)
    assert facts is None
    return Scheduler(plan, workers, spares)


def coordinate(address: str, command: str, job: str) -> None:
    """Schedule one job until it has ended; the entry point of the coordinator's process."""
    shell.coordinate(address, command, job, make_scheduler, MESSAGES, "lineage")
