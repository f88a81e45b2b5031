"""RDDs that are too large for one process, computed by workers: a job of one interval, gone when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dstream.graph import StreamGraph
from dstream.hand_over import HandOver, handed_over, unpacked
from dstream.job import StreamJob
from dstream.model import TASKS_PER_WORKER
from dstream.plan import Kind
from elastic.errors import JobFailedError
from elastic.plan import Settings
from elastic.report import Progress
from elastic.scenario.printing import Printer
from elastic.scenario.verify import context_of

POLL_S = 0.05


@dataclass(frozen=True)
class JobWorkers:
    """Starts so many workers for each action.

    Attributes:
        retries: How often a task is tried again after user code has raised in it.
    """

    workers: int
    settings: Settings
    retries: int

    def rows(self, graph: StreamGraph) -> list[Any]:
        """What the graph's only output gets.

        Raises:
            JobFailedError: User code raised, or the input cannot be read.
        """
        (end,) = (draft for draft in graph.drafts if draft.kind is Kind.SINK)
        end.logic = sink = HandOver("collect", waits=False)
        with TemporaryDirectory(prefix="elastic-") as directory:
            job = self._run(graph, Path(directory))
            reader = sink.reader(context_of(job.plan, end.name, Path(directory)))
            return [row for _, data in handed_over(reader) for row in unpacked(data)]

    def save(self, graph: StreamGraph) -> None:
        """What the graph's only output gets is in its target.

        Raises:
            JobFailedError: User code raised, the input cannot be read, or the target cannot be written.
        """
        with TemporaryDirectory(prefix="elastic-") as directory:
            self._run(graph, Path(directory))

    def _run(self, graph: StreamGraph, directory: Path) -> StreamJob:
        plan = graph.plan(
            self.workers, self.settings, interval_ticks=1, checkpoint_intervals=1,
            tasks=TASKS_PER_WORKER * self.workers, retries=self.retries, batch=True,
        )  # fmt: skip
        job = StreamJob(plan, workers=self.workers, spares=0, directory=directory, keep_log=False)
        try:
            job.start()
            printer, progress = Printer(job.plan, directory), Progress()
            while not progress.finished:
                progress = job.poll(POLL_S)
                printer.print()
            outcome = job.outcome()
        finally:
            job.close()
        if outcome.status != "done":
            raise JobFailedError(outcome.error or f"the job was {outcome.status}")
        return job
