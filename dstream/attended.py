"""A job whose process of origin is called with what it commits: functions, listeners, rows that are remembered."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from dstream.calling import Caller
from dstream.interval_file import INTERVALS
from dstream.job import StreamJob
from dstream.news import NewsReader
from dstream.outputs import Callbacks
from dstream.plan import StreamPlan
from elastic.report import JobOutcome, Progress
from elastic.scenario.verify import context_of


class AttendedJob(StreamJob):
    """A job that calls a program's functions while it is looked at.

    Args:
        outputs: What is called.
    """

    def __init__(
        self, plan: StreamPlan, outputs: Callbacks, *, workers: int, spares: int, directory: Path, keep_log: bool,
        resume: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(plan, workers=workers, spares=spares, directory=directory, keep_log=keep_log, resume=resume)
        self._outputs, self._interval_ticks = outputs, plan.interval_ticks
        self._caller = Caller(outputs, self.plan.settings.stall_after_ms / 1000)
        self._stack = ExitStack()

    @property
    def is_calling(self) -> bool:
        """Whether who asks is one of the functions."""
        return self._caller.is_this_thread

    def start(self) -> None:
        """The processes are started."""
        figures = self._stack.enter_context((self._directory / INTERVALS).open("a+", encoding="utf-8"))
        news = self._stack.enter_context(closing(NewsReader(self._directory)))
        self._outputs.open(lambda operator: context_of(self.plan, operator, self._directory), figures, news)
        self._stack.callback(self._caller.close)
        super().start()

    def poll(self, timeout_s: float) -> Progress:
        """The newest progress; it is finished once functions were called with everything.

        Raises:
            Exception: What a function raised.
        """
        progress = super().poll(timeout_s)
        if self.plan.tick_zero_s:  # who resumes a job has to be told first when that began
            self._caller.call(self.plan.tick_zero_s, last=progress.finished)
        elif progress.finished:  # it has come to nothing
            return progress
        if self._caller.error is not None:
            raise self._caller.error
        stalls, events = self._caller.stalls(self._at_s, lambda interval: (interval - 1) * self._interval_ticks)
        progress = self._tell(events)
        return replace(progress, stalls=progress.stalls + stalls, finished=progress.finished and self._caller.done)

    def outcome(self) -> JobOutcome:
        """How the job ended; functions that stood still are among the stalls."""
        outcome = super().outcome()
        return replace(outcome, stalls=outcome.stalls + self._caller.all)

    def close(self) -> None:
        """Nothing of the job is left."""
        super().close()
        self._stack.close()
