"""A job on processes of this machine, as the command sees it: start, watch, break, stop, and leave nothing behind."""

from __future__ import annotations

import pickle
import shutil
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle

from elastic.cluster.local import LocalProcesses
from elastic.cluster.remote import announce, withdraw
from elastic.cluster.saved import Identity, SavedJob
from elastic.cluster.vigil import Vigil, is_stopped
from elastic.cluster.wishes import Wishes
from elastic.connectors.base import Sink, SinkContext
from elastic.errors import UserError
from elastic.operators.failure import connector_error
from elastic.plan import Plan
from elastic.report import JobEvent, JobOutcome, Progress, Status
from elastic.wire.control import (
    COMMAND,
    COORDINATOR,
    DrainWorker,
    EndRequest,
    JoinJob,
    KillWorker,
    Note,
    ScaleJob,
    Setup,
    Shutdown,
    SpawnRequest,
    StatusReport,
    StopJob,
    WorkerExited,
    codec,
)
from elastic.wire.sockets import Hub, ipc_address
from elastic.worker.checkpoint_files import CHECKPOINTS
from elastic.worker.tallies import TALLIES

PRELOAD = (
    "elastic.worker.shell",
    "elastic.server.shell",
    "elastic.query",
    "elastic.connectors.sources",
    "elastic.connectors.sinks",
    "numpy.ma",  # which NumPy imports when it first sorts out what is unique: 10 ms of the first tick
    "zmq.utils.garbage",  # and pyzmq when it first sends without a copy
)
"""Imported once, for the coordinator and all workers."""


MAX_TAKEOVERS, TAKEOVERS_WITHIN_S = 5, 60.0
"""A coordinator that is lost more often than that is not replaced: something ends each of them."""


class LocalJob:
    """One job. Processes: this one, the coordinator, the workers and the spares; all of the latter are its children.

    Args:
        resume: Go on with the job that was stopped or killed in the directory.

    Raises:
        UserError: There is nothing to resume, or its state does not fit the plan.
    """

    COORDINATOR_ENTRY = "elastic.server.shell:main"
    WORKER_ENTRY = "elastic.worker.shell:main"
    PRELOAD: tuple[str, ...] = PRELOAD
    STATE: tuple[str, ...] = (CHECKPOINTS, TALLIES)
    """Folders of the job directory that are needed only as long as the job is not done."""

    def __init__(
        self, plan: Plan, *, workers: int, spares: int, directory: Path, keep_log: bool, resume: bool = False
    ) -> None:
        self._directory = directory.resolve()
        self._saved = SavedJob.read(self._directory) if resume else None
        self._plan = replace(plan, run_id=uuid.uuid4().hex)
        if self._saved is not None:
            if keep_log and not self._saved.identity.keep_log:
                raise UserError(
                    "the result cannot be verified: the job was begun without keeping its whole input log; resume it "
                    "without --verify and expectations of its result, or give it a check of its own"
                )
            self._plan, keep_log = self._saved.identity.fitted(plan), self._saved.identity.keep_log
        self._workers, self._spares, self._keep_log = workers, spares, keep_log
        self._processes: LocalProcesses | None = None
        self._hub: Hub | None = None
        self._prepared: list[tuple[Sink, SinkContext]] = []
        self._next_worker = 0 if self._saved is None else self._saved.next_worker
        self._names: dict[str, int] = {}
        self._alive: dict[int, str] = {}
        self._takeovers: deque[float] = deque(maxlen=MAX_TAKEOVERS)
        self._owners: dict[tuple[str, int], int] = {}
        self._progress = Progress()
        self._events: tuple[JobEvent, ...] = ()
        self._own_events: tuple[JobEvent, ...] = ()  # those of the command itself
        self._heard_s = 0.0
        self._wishes = Wishes()
        self._vigil = Vigil(plan.settings.heartbeat_ms / 1000, self._is_coordinator_stopped, time.monotonic())
        self._outcome: JobOutcome | None = None

    @property
    def plan(self) -> Plan:
        """The plan as it runs: with the run's id and the time of tick 0."""
        return self._plan

    @property
    def log_directory(self) -> Path:
        """Where the input log is kept, if that was asked for."""
        return self._directory / "log"

    def start(self) -> None:
        """Check the targets and start the processes; ``poll`` tells when they run.

        Raises:
            UserError: A sink cannot be used, or a process cannot be started.
        """
        self._processes = processes = LocalProcesses(self._directory / "processes", preload=self.PRELOAD)
        self._hub = Hub(COMMAND, ipc_address(processes.directory, COMMAND), codec())
        self._hub.register(processes.fileno())
        for sink, context in self._sinks():  # before anybody can open one; the processes' parent starts meanwhile
            try:
                sink.prepare(context)
            except Exception as error:
                raise connector_error(error, f"sink {context.operator!r}") from error
            self._prepared.append((sink, context))
        coordinator = ipc_address(processes.directory, COORDINATOR)
        setup = Setup(self._shipped(), str(self._directory), self._keep_log, tuple(sys.path))
        job = self._directory / "job.pickle"
        job.write_bytes(cloudpickle.dumps((self._plan, setup, self._workers, self._spares)))
        began = self._saved is not None and self._saved.began
        shutil.rmtree(self._directory / TALLIES, ignore_errors=True)  # a run counts its own rows
        if self._saved is None:
            Identity.of(self._plan, keep_log=self._keep_log).write(self._directory)
        self._start_coordinator({"alive": {}, "resumed": True, "cause": "", "ended": {}} if began else None)
        self._hub.connect(COORDINATOR, coordinator)
        announce(self._directory, coordinator)
        for _ in range(0 if began else self._workers + self._spares):  # else the coordinator asks for them
            self._spawn_worker(self._next_number())

    def _start_coordinator(self, takeover: dict[str, Any] | None = None) -> None:
        assert self._processes is not None
        assert self._hub is not None
        arguments: dict[str, Any] = {
            "address": ipc_address(self._processes.directory, COORDINATOR),
            "command": self._hub.address,
            "job": str(self._directory / "job.pickle"),
        }
        if takeover is not None:
            arguments["takeover"] = takeover
        self._processes.start(COORDINATOR, self.COORDINATOR_ENTRY, arguments)
        self._vigil.began(time.monotonic())

    def _shipped(self) -> bytes:
        shipped: bytes = cloudpickle.dumps(self._plan)
        return shipped

    def _next_number(self) -> int:
        number, self._next_worker = self._next_worker, self._next_worker + 1
        return number

    def _spawn_worker(self, number: int) -> None:
        assert self._processes is not None
        name = f"worker-{number}"
        self._names[name] = number
        directory = self._processes.directory
        arguments: dict[str, Any] = {
            "worker": number,
            "address": ipc_address(directory, name),
            "coordinator": ipc_address(directory, COORDINATOR),
        }
        self._alive[number] = arguments["address"]
        self._processes.start(name, self.WORKER_ENTRY, arguments)

    def _sinks(self) -> list[tuple[Sink, SinkContext]]:
        plan, settings = self._plan, self._plan.settings
        return [
            (o.logic, SinkContext(plan.run_id, plan.name, name, settings.key_groups, settings.tick_ms, self._directory))
            for name, o in plan.operators.items()
            if o.kind == "sink"
        ]

    # -- watching ------------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> Progress:
        """The newest progress: at once if there is news, else after ``timeout_s`` or ``wake``.

        Each event is in one ``Progress`` only.
        """
        assert self._hub is not None
        self._progress = replace(self._progress, events=())
        self._hub.wait(timeout_s)
        self._on_exits()
        if not self._progress.finished:
            for _, message in self._hub.receive():
                self._on_message(message)
        now_s = time.monotonic()
        self._say_again(now_s)
        if not self._progress.finished:
            self._watch_coordinator(now_s)
        return self._newest

    def wake(self) -> None:
        """The current or next ``poll`` returns at once. May be called in a signal handler, and from other threads."""
        if self._hub is not None:
            self._hub.wake()

    def _say_again(self, now_s: float) -> None:
        """What no coordinator has heard is said again; the user is told if that takes long, or if the job has ended."""
        assert self._hub is not None
        texts = list(self._wishes.undone(now_s) if self._progress.finished else self._wishes.late(now_s))
        self._tell([JobEvent(self._at_s, "warning", cause=text) for text in texts])
        for wish in self._wishes.again(now_s):
            self._hub.send(COORDINATOR, wish)

    @property
    def _at_s(self) -> float:
        """Seconds since tick 0, as of now; 0 before it, and after the end as of then."""
        seen = self._progress
        return seen.at_s + time.monotonic() - self._heard_s if seen.at_s and not seen.finished else seen.at_s

    @property
    def _newest(self) -> Progress:
        """What the coordinator said last; time goes on without it, and so do faults and displays."""
        return replace(self._progress, at_s=self._at_s)

    def _tell(self, events: Iterable[JobEvent]) -> Progress:
        """What this process itself has to tell; the newest progress, with it."""
        told = tuple(events)
        self._own_events += told
        self._progress = replace(self._progress, events=self._progress.events + told)
        return self._newest

    def _watch_coordinator(self, now_s: float) -> None:
        """One that says nothing is told of, and ended for the next to take over. By now all that came has been read."""
        assert self._processes is not None
        if (text := self._vigil.warning(now_s)) is not None:
            self._tell([JobEvent(self._at_s, "warning", cause=text)])
        if self._vigil.gives_up(now_s):
            self._processes.kill(COORDINATOR)

    def _is_coordinator_stopped(self) -> bool:
        return self._processes is not None and is_stopped(self._processes.pids.get(COORDINATOR))

    def _ask(self, wish: object) -> None:
        """A coordinator will act upon it once, be it the next one."""
        assert self._hub is not None
        self._hub.send(COORDINATOR, self._wishes.ask(wish, time.monotonic()))

    def _on_message(self, message: object) -> None:
        match message:
            case StatusReport():
                progress: Progress = pickle.loads(message.progress)  # noqa: S301 (from our own coordinator, over a private socket)
                self._events += progress.events
                self._progress = replace(progress, events=self._progress.events + progress.events)
                self._owners = {(operator, index): worker for operator, index, worker in message.owners}
                self._plan = replace(self._plan, tick_zero_s=message.tick_zero_s)
                self._heard_s = time.monotonic()
                self._vigil.heard(self._heard_s)
                if self._wishes.heard(message.heard):
                    self._ask(JoinJob())
                if message.outcome is not None:
                    self._outcome = pickle.loads(message.outcome)  # noqa: S301 (as above)
            case SpawnRequest():
                if message.worker is None:
                    self._spawn_worker(self._next_number())
                elif self._wishes.numbered_worker():
                    self._spawn_worker(message.worker)
            case EndRequest():
                self.kill(message.worker, note=False)

    def _on_exits(self) -> None:
        assert self._processes is not None
        assert self._hub is not None
        exits = self._processes.poll()
        if self._processes.orphaned and self._outcome is None:
            log = self._directory / "processes" / "parent.log"
            self._fail(
                f"the process that had started the job's others was ended, and they with it (its last words, if any, "
                f"are in {log}); what was committed stays: go on with --resume"
            )
            return
        for exited in exits:
            if exited.name in self._names:
                number = self._names[exited.name]
                self._alive.pop(number, None)
                self._ask(WorkerExited(number, exited.reason, time.monotonic()))
            elif exited.name == COORDINATOR and self._outcome is None:
                self._replace_coordinator(self._vigil.given_up or f"was {exited.reason}")

    def _replace_coordinator(self, reason: str) -> None:
        """Start another coordinator, which reads the journal and goes on; the workers have not stopped meanwhile."""
        now = time.monotonic()
        if len(self._takeovers) == MAX_TAKEOVERS and now - self._takeovers[0] < TAKEOVERS_WITHIN_S:
            log = self._directory / "processes" / f"{COORDINATOR}.log"
            often = f"{MAX_TAKEOVERS + 1} times in {TAKEOVERS_WITHIN_S:g} s"
            self._fail(f"the coordinator {reason}, {often}; its last words are in {log}")
            return
        self._takeovers.append(now)
        exits = (message for message in self._wishes.unheard if isinstance(message, WorkerExited))
        ended = {exited.worker: (exited.reason, exited.monotonic_s) for exited in exits}
        cause = f"the coordinator {reason}"
        self._start_coordinator({"alive": self._alive, "resumed": False, "cause": cause, "ended": ended})
        assert self._hub is not None
        for wish in self._wishes.again(now, replaced=True):
            self._hub.send(COORDINATOR, wish)

    def _fail(self, error: str) -> None:
        """The job has ended here, since there is no coordinator that could say so."""
        self._progress = replace(self._progress, at_s=self._at_s, finished=True)
        self._outcome = self._seen("failed", error)

    def owner_of(self, operator: str, instance: int) -> int | None:
        """Number of the worker that holds the instance now; None while it is being restored, or if there is none."""
        return self._owners.get((operator, instance))

    # -- breaking ------------------------------------------------------------------------------------------------------

    def kill(self, worker: int, *, note: bool = True) -> None:
        """SIGKILL has been sent to the worker; one that is gone, or never was, is left alone."""
        self._signal(worker, signal.SIGKILL, "killed" if note else None)

    def pause(self, worker: int) -> None:
        """SIGSTOP has been sent to the worker."""
        self._signal(worker, signal.SIGSTOP, "paused")

    def resume(self, worker: int) -> None:
        """SIGCONT has been sent to the worker."""
        self._signal(worker, signal.SIGCONT, "resumed")

    def _signal(self, worker: int, number: signal.Signals, kind: str | None) -> None:
        assert self._processes is not None
        assert self._hub is not None
        if f"worker-{worker}" not in self._names:  # somebody else's child; that can be asked to die, not to stop
            if number == signal.SIGKILL and kind is not None:
                self._ask(KillWorker(worker))
            return
        if kind is not None:
            self._ask(Note(kind, worker, number.name, time.monotonic()))
        self._processes.signal(f"worker-{worker}", number)

    def kill_coordinator(self) -> None:
        """SIGKILL has been sent to the coordinator."""
        assert self._processes is not None
        self._processes.kill(COORDINATOR)

    def pause_coordinator(self) -> None:
        """SIGSTOP has been sent to the coordinator; after a heartbeat it is replaced."""
        assert self._processes is not None
        self._processes.pause(COORDINATOR)

    def scale(self, operator: str, instances: int) -> None:
        """The operator has been asked onto so many instances; a warning follows if that cannot be."""
        self._ask(ScaleJob(operator, instances))

    def drain(self, worker: int) -> None:
        """The worker has been asked to leave; a warning follows if it cannot."""
        self._ask(DrainWorker(worker))

    def join(self) -> None:
        """A worker is being added, beyond those that the job keeps; it is started once it has its number."""
        self._ask(JoinJob())

    # -- ending --------------------------------------------------------------------------------------------------------

    def stop(self, *, patient: bool = False) -> None:
        """Sources have been told to end; what is complete is committed, within a second unless one is ``patient``."""
        self._ask(StopJob(patient))

    def abort(self) -> None:
        """All processes of the job have been ended at once."""
        if self._processes is not None:
            self._processes.close()

    def outcome(self) -> JobOutcome:
        """How the job ended; only after a ``Progress`` that is finished, or after ``abort``."""
        found = self._outcome or self._seen("interrupted")
        return replace(found, events=(*found.events, *self._own_events))

    def _seen(self, status: Status, error: str | None = None) -> JobOutcome:
        """What the newest progress tells, where no coordinator is left to tell more."""
        seen = self._progress
        return JobOutcome(
            status,
            error,
            wall_s=seen.at_s,
            records_in=seen.records_in,
            records_out=seen.records_out,
            bytes_in=seen.bytes_in,
            operators=seen.operators,
            failures=seen.failures,
            events=self._events,
        )

    def close(self) -> None:
        """No process, socket or temporary file of the job is left."""
        if self._hub is not None:
            with suppress(UserError):
                self._hub.send(COORDINATOR, Shutdown())
            self._hub.close()
        if self._processes is not None:
            self._processes.close()
        (self._directory / "job.pickle").unlink(missing_ok=True)
        if self._outcome is not None and self._outcome.status == "done":
            for folder in self.STATE:
                shutil.rmtree(self._directory / folder, ignore_errors=True)
        withdraw(self._directory)
        for sink, context in self._prepared:
            try:
                sink.finish(context)
            except Exception as error:
                raise connector_error(error, f"sink {context.operator!r}") from error
