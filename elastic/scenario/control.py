"""What a run needs of the job it watches and breaks, whatever execution model is behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from elastic.plan import Plan
from elastic.report import JobOutcome, Progress


class JobControl(Protocol):
    """A job on worker processes, seen from the command. Every method is called from one thread."""

    @property
    def plan(self) -> Plan:
        """The plan as it runs: with the run's id and the time of tick 0."""

    @property
    def log_directory(self) -> Path:
        """Where the input log is kept, if that was asked for."""

    def start(self) -> None:
        """The coordinator and the workers are being started; ``poll`` tells when they run.

        Raises:
            UserError: A sink cannot be used, or a process cannot be started.
        """

    def poll(self, timeout_s: float) -> Progress:
        """The newest progress: at once if there is news, else after ``timeout_s`` or ``wake``.

        Each event is in one ``Progress`` only.
        """

    def wake(self) -> None:
        """The current or next ``poll`` returns at once. May be called in a signal handler, and from other threads."""

    def owner_of(self, operator: str, instance: int) -> int | None:
        """Number of the worker that holds the instance now; None while it is being restored, or if there is none."""

    def kill(self, worker: int) -> None:
        """SIGKILL has been sent to the worker; one that is gone, or never was, is left alone."""

    def kill_coordinator(self) -> None:
        """SIGKILL has been sent to the coordinator."""

    def pause_coordinator(self) -> None:
        """SIGSTOP has been sent to the coordinator; after a heartbeat it is replaced."""

    def pause(self, worker: int) -> None:
        """SIGSTOP has been sent to the worker."""

    def resume(self, worker: int) -> None:
        """SIGCONT has been sent to the worker."""

    def scale(self, operator: str, instances: int) -> None:
        """The operator has been asked onto so many instances; a warning follows if that cannot be."""

    def drain(self, worker: int) -> None:
        """The worker has been asked to leave; a warning follows if it cannot."""

    def join(self) -> None:
        """A worker is being added, beyond those that the job keeps."""

    def stop(self) -> None:
        """Sources have been told to end; what is complete is committed, within a second."""

    def abort(self) -> None:
        """All processes of the job have been ended at once."""

    def outcome(self) -> JobOutcome:
        """How the job ended; only after a ``Progress`` that is finished, or after ``abort``."""

    def close(self) -> None:
        """No process, socket or temporary file of the job is left."""


class StartJob(Protocol):
    """How an execution model makes a job of a plan; nothing runs before its ``start``."""

    def __call__(
        self, plan: Plan, *, workers: int, spares: int, directory: Path, keep_log: bool, resume: bool
    ) -> JobControl:
        """The job, not yet started.

        Args:
            plan: What runs.
            workers: Processes that share the work.
            spares: Processes that stand by.
            directory: The job directory; exists, and belongs to this run alone.
            keep_log: Keep the whole input log, so that the run can be held against a clean one.
            resume: Go on with the job that the directory keeps.

        Raises:
            UserError: There is nothing to resume, or it does not fit the plan.
        """


class Watcher(Protocol):
    """Who looks on while a job runs."""

    def progress(self, progress: Progress) -> None:
        """Called several times a second, with every ``Progress``."""

    def note(self, text: str) -> None:
        """Something to say that is no event of the job: a warning, or what is being waited for."""

    def close(self) -> None:
        """The terminal is as it was before."""
