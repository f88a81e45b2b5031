"""A job that runs beside the program that started it: looked after by a thread, waited for and stopped by others."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dstream.attended import AttendedJob
from elastic.dashboard.launch import failure
from elastic.dashboard.lines import LineProgress
from elastic.report import JobOutcome
from elastic.scenario.directory import claimed_directory
from elastic.scenario.printing import Printer
from elastic.scenario.runner import STOP_S

POLL_S = 0.05

TOLD = frozenset({"stalled", "moving"})
"""Events that whoever started the job is told of on stderr: else it would stand still without a word."""


class Running:
    """One job, from its start to its end.

    Args:
        make: Gives the job, not yet started.
        directory: The job directory, which belongs to this job from now on.
        resume: Go on with the job that was stopped or killed in it.

    Raises:
        UserError: A source or sink cannot be used, another job runs in the directory, or there is nothing to resume.
    """

    def __init__(self, make: Callable[[], AttendedJob], directory: Path, *, resume: bool = False) -> None:
        self._stopping, self._ended = threading.Event(), threading.Event()
        self._graceful, self._abort_at_s = True, math.inf
        self._outcome: JobOutcome | None = None
        self._error: BaseException | None = None
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(claimed_directory(directory, resume=resume))
            self._job = make()
            stack.callback(self._job.close)
            self._job.start()
        except BaseException:
            stack.close()
            raise
        self._lines = LineProgress(sys.stderr, self._job.plan.name)
        self._printer = Printer(self._job.plan, directory)
        self._thread = threading.Thread(target=self._watch, args=(stack,), name=f"job {directory.name}", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None) -> bool:
        """Whether the job has ended, after so long at most.

        Raises:
            JobFailedError: It failed; the kind of the error says how, where there is a name for it.
            KeyboardInterrupt: Ctrl-C, while it waited; what was complete a second later is committed.
            Exception: What was called by it raised.
        """
        try:
            ended = self._ended.wait(timeout_s)
        except KeyboardInterrupt:
            with contextlib.suppress(Exception):  # who stops it is told of that alone
                self._abort_at_s = time.monotonic() + STOP_S
                self.stop(graceful=True)
            raise
        if not ended:
            return False
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._outcome is not None and self._outcome.status == "failed":
            raise failure(self._outcome)
        return True

    def stop(self, *, graceful: bool) -> None:
        """The job has ended: after what was read has been committed, or at once."""
        self._graceful = self._graceful and graceful
        self._stopping.set()
        if not self._job.is_calling:  # a function that it calls stops the job after itself
            self._thread.join()

    def _watch(self, stack: contextlib.ExitStack) -> None:
        try:
            with stack:
                self._outcome = self._until_ended()
        except BaseException as error:  # noqa: BLE001 (raised by wait, in the thread that waits)
            self._error = error
        finally:
            self._ended.set()

    def _until_ended(self) -> JobOutcome:
        told = False
        while True:
            progress = self._job.poll(POLL_S)
            for event in progress.events:
                if event.kind in TOLD:
                    self._lines.note(str(event))
            self._printer.print()
            if progress.finished:
                return self._job.outcome()
            if self._stopping.is_set() and (not self._graceful or time.monotonic() > self._abort_at_s):
                self._job.abort()
                return self._job.outcome()
            if self._stopping.is_set() and not told:
                told = True
                self._job.stop(patient=self._abort_at_s == math.inf)
