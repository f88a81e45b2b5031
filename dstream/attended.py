"""A job whose process of origin is called with what it commits: functions, listeners, rows that are remembered."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from dstream.interval_file import INTERVALS
from dstream.job import StreamJob
from dstream.news import NewsReader
from dstream.outputs import Callbacks
from dstream.plan import StreamPlan
from elastic.report import Progress
from elastic.scenario.verify import context_of


class AttendedJob(StreamJob):
    """A job that calls a program's functions whenever it is looked at.

    Args:
        outputs: What is called.
    """

    def __init__(
        self, plan: StreamPlan, outputs: Callbacks, *, workers: int, spares: int, directory: Path, keep_log: bool,
        resume: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(plan, workers=workers, spares=spares, directory=directory, keep_log=keep_log, resume=resume)
        self._outputs = outputs
        self._stack = ExitStack()

    def start(self) -> None:
        """The processes are started."""
        figures = self._stack.enter_context((self._directory / INTERVALS).open("a+", encoding="utf-8"))
        news = self._stack.enter_context(closing(NewsReader(self._directory)))
        self._outputs.open(lambda operator: context_of(self.plan, operator, self._directory), figures, news)
        super().start()

    def poll(self, timeout_s: float) -> Progress:
        """The newest progress; functions were called with everything up to it.

        Raises:
            Exception: What a function raised.
        """
        progress = super().poll(timeout_s)
        if self.plan.tick_zero_s:  # who resumes a job has to be told first when that began
            self._outputs.call(self.plan.tick_zero_s)
        return progress

    def close(self) -> None:
        """Nothing of the job is left."""
        super().close()
        self._stack.close()
