"""The coordinator's event loop: messages, exits and heartbeats in; messages, journal entries and processes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle

from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    EndWorker,
    Event,
    Heard,
    Journal,
    Measured,
    Record,
    Recovered,
    SpawnWorker,
    StopRequested,
    Told,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.memory import STATE
from elastic.coordinator.silence import EXIT_NEWS_S
from elastic.errors import UserError
from elastic.operators.failure import ENDINGS, user_trace
from elastic.plan import Plan
from elastic.protocol import CaughtUp, Finished, Rejoin, Running, Send, Started, Stuck
from elastic.server.attendance import Attendance
from elastic.server.bulletin import Bulletin, refuse
from elastic.server.clients import Clients
from elastic.server.figures import Figures
from elastic.server.journal import CLOCK, ENDED, FACTS, JOURNAL, JournalError, JournalFile
from elastic.server.latency import LatencyTracker
from elastic.server.loads import Loads
from elastic.server.machine import MakeMachine
from elastic.server.recoveries import Recoveries
from elastic.wire.clock import JobClock
from elastic.wire.control import (
    COMMAND,
    FIRST_EXTRA,
    Crashed,
    DrainWorker,
    EndRequest,
    Hello,
    Inquire,
    JoinJob,
    KillWorker,
    Note,
    Numbered,
    Ready,
    Refused,
    ScaleJob,
    Setup,
    Shutdown,
    SpawnRequest,
    StopJob,
    WorkerExited,
    WorkerReport,
    codec,
)
from elastic.wire.sockets import Hub
from elastic.worker.stacks import held_by
from elastic.worker.watchdog import dump_path

STATUS_S = 0.2
"""So often the command is told how the job does, and what takes time is looked at."""

CANNOT_LOAD = "the query cannot be loaded in the processes that run it: a module that it needs raises there"


@dataclass(frozen=True, slots=True)
class Takeover:
    """There was a coordinator before this one.

    Attributes:
        alive: Address of each worker process that lives, by number.
        resumed: The whole job had ended, or was killed; else it runs on.
        cause: What became of that coordinator.
        ended: Of workers that were seen to end since it last heard of any: how, and when by the machine's clock.
    """

    alive: dict[int, str]
    resumed: bool
    cause: str
    ended: dict[int, tuple[str, float]]


class Server:
    """One job's coordinator process.

    Args:
        plan: As built by the query; tick 0 is set when all workers are there.
        setup: What every worker is told first.
        make_machine: Makes what decides, of the plan and the numbers of workers and spares.
        messages: Which the execution model sends beside the core's.
        strategy: How that model recovers, in the report.
        takeover: This is not the job's first coordinator.
    """

    def __init__(
        self, address: str, command: str, plan: Plan, setup: Setup, workers: int, spares: int,
        make_machine: MakeMachine = Coordinator, messages: Sequence[type] = (), strategy: str = "checkpoint",
        takeover: Takeover | None = None,
    ) -> None:  # fmt: skip
        self._journal = JournalFile(Path(setup.directory) / JOURNAL, sync=plan.settings.disk == "sync")
        facts = None if takeover is None else self._journal.newest(FACTS)
        self._takeover = takeover
        same_clock = takeover is not None and not takeover.resumed
        self._clock = JobClock(self._journal.newest(CLOCK) if same_clock else None)
        self._journal.keep(CLOCK, self._clock.offset_s)
        self._journal.keep(ENDED, None)
        self._hub = Hub("coordinator", address, codec(messages))
        self._hub.connect(COMMAND, command)
        if facts is not None:
            since_s = facts["since_s"] if same_clock else self._clock()
            plan = replace(plan, tick_zero_s=facts["tick_zero_s"], since_s=since_s)
        self._plan, self._setup, self._wanted = plan, setup, workers
        self._machine = make_machine(plan, workers, spares, facts)
        sinks = [(n, i) for n, o in plan.operators.items() if o.kind == "sink" for i in range(o.parallelism)]
        latency = LatencyTracker(plan, sinks)
        members, oversight = self._machine.members, self._machine.oversight
        self._figures = Figures(plan, members, plan.since_s, latency, oversight, Recoveries(strategy))
        policy = plan.settings.scaling
        self._loads = None if policy is None else Loads(plan, self._machine.members, policy.period_s)
        self._attendance = Attendance(self._hub, self._clock, members, setup, plan.settings.heartbeat_ms)
        self._clients = Clients(self._hub, self._machine, self._figures, self._attendance.greeted, self._handle)
        self._bulletin = Bulletin(self._hub, self._journal, members, self._figures, self._clock, command)
        self._unaccounted: set[int] = set()
        self._status_at = 0.0
        self._end: EndJob | None = None

    def run(self) -> None:
        """Coordinate until the job has ended and the command says goodbye."""
        try:
            if self._takeover is not None:
                self._take_over(self._takeover)
            running = True
            while running:
                longest = EXIT_NEWS_S if self._attendance.suspects else STATUS_S
                self._hub.wait(max(0.0, min(self._status_at - self._clock(), longest)))
                for sender, message in self._hub.receive(500):
                    running = running and not isinstance(message, Shutdown)
                    self._on_message(sender, message)
                for worker in self._attendance.zombies():
                    self._handle(WorkerBack(worker))
                for hung in self._attendance.hung():
                    self._lose(*hung)
                if self._clock() >= self._status_at:
                    self._status_at = self._clock() + STATUS_S
                    self._look_into_dumps()
                    self._clients.forget(self._clock())
                    self._handle(ClockTick())
                    self._measure()
                    self._bulletin.tell(self._end)
        except JournalError as error:
            self._bulletin.give_up(str(error))
        finally:
            self._journal.close()
            self._attendance.close()
            self._hub.close()

    def _take_over(self, takeover: Takeover) -> None:
        """Go on where the coordinator before this one was: who runs is asked what he has, who waits says hello."""
        members = self._machine.members
        known = {w.id: w.address for w in members.workers.values() if not w.lost}
        if not takeover.resumed:
            self._bulletin.recall()
        alive = {id: at for id, at in known.items() if id in takeover.alive or id >= FIRST_EXTRA}
        alive = {} if takeover.resumed else alive
        starting = {id: at for id, at in takeover.alive.items() if id not in members.workers}
        self._unaccounted = set(alive)
        for id, at in {**alive, **starting}.items():
            self._hub.connect(str(id), at)
            self._hub.send(str(id), Rejoin(self._machine.epoch))
        for id, at in alive.items():
            self._attendance.adopt(id, at)
        if members.workers or members.instances:
            ended = {id: WorkerLost(id, how, self._clock.at(at_s)) for id, (how, at_s) in takeover.ended.items()}
            self._handle(Recovered(frozenset(alive), frozenset(starting), takeover.resumed, takeover.cause, ended))

    def _look_into_dumps(self) -> None:
        """What silent workers hold their interpreters with, as far as files in the job directory tell it."""
        now, oversight = self._clock(), self._machine.oversight
        for worker in oversight.whereabouts.silent(now):
            if (found := held_by(dump_path(Path(self._setup.directory), worker))) is not None:
                lines, user = found
                self._handle(Heard(worker, Stuck(worker, 0, "worker", 0, now, lines, user)))

    def _measure(self) -> None:
        if self._loads is None or not self._plan.tick_zero_s or self._end is not None:
            return
        if (loads := self._loads.over(self._clock())) is not None:
            self._handle(Measured(loads))

    # -- what comes in -------------------------------------------------------------------------------------------------

    def _on_message(self, sender: str, message: object) -> None:
        now = self._clock()
        match message:
            case Numbered():
                self._on_numbered(sender, message, now)
            case Hello():
                self._attendance.greet(message)
            case Ready():
                if self._attendance.prepared(message.worker):
                    self._on_ready(message.worker)
            case Refused() | Crashed():
                self._on_broken(message)
            case WorkerReport():
                self._on_report(message)
            case WorkerExited():
                self._lose(message.worker, message.reason, self._clock.at(message.monotonic_s))
                self._attendance.forget(message.worker)
            case StopJob():
                self._handle(StopRequested(message.patient))
            case ScaleJob() | Inquire() | DrainWorker() | KillWorker() | JoinJob():
                self._clients.on_question(message, now)
            case Note():
                at_s = self._clock.at(message.monotonic_s)
                self._figures.record(Record(message.kind, worker=message.worker, cause=message.cause, at_s=at_s), now)
            case Shutdown():
                pass
            case _ if (worker := sender.partition(" ")[0]).isdigit():
                self._on_news(int(worker), message, now)

    def _on_numbered(self, sender: str, numbered: Numbered, now_s: float) -> None:
        """The command's messages are heard each once and in order, whichever coordinator they reach."""
        if sender != COMMAND:
            self._clients.on_question(numbered.message, now_s, numbered.number)
        elif numbered.number == self._bulletin.heard + 1:
            self._on_message(sender, numbered.message)
            self._bulletin.hear(numbered.number)

    def _on_report(self, report: WorkerReport) -> None:
        if report.worker in self._unaccounted:
            return  # with its account it tells again what the coordinator before this one may have heard alone
        self._figures.report(report)
        if self._loads is not None:
            self._loads.report(report)

    def _on_news(self, worker: int, message: object, now_s: float) -> None:
        """What the machine is to hear; some of it is counted and timed too."""
        match message:
            case Started():
                self._figures.started(message, now_s)
            case CaughtUp():
                self._figures.caught_up(message)
            case Finished():
                self._figures.finished(message, now_s)
            case Running():
                self._unaccounted.discard(worker)
        self._handle(Heard(worker, message))

    def _on_broken(self, message: Refused | Crashed) -> None:
        """A worker cannot even begin, or has met a bug of ours; without one that somebody added the job can do."""
        if isinstance(message, Crashed):
            text = f"worker {message.worker} ended by a bug in elastic; please report it\n{message.error}"
        else:
            text = f"{CANNOT_LOAD}\n{message.error}"
        if isinstance(message, Crashed) or message.worker < FIRST_EXTRA:
            self._act([EndJob("failed", text)])
        else:
            self._act([Record("warning", worker=message.worker, cause=text), EndWorker(message.worker)])

    def _on_ready(self, worker: int) -> None:
        """Tick 0 is when the last of the wanted workers is ready; those that come later are told when it was."""
        ready = self._attendance.ready
        if not self._plan.tick_zero_s and len(ready) >= self._wanted:
            self._plan = replace(self._plan, tick_zero_s=(now := self._clock()), since_s=now)
            self._machine.members.plan = self._machine.plan = self._figures.plan = self._plan
            self._figures.latency.tick_zero_s = self._figures.tick_zero_s = self._plan.tick_zero_s
            for early in sorted(ready):
                self._join(early)
        elif self._plan.tick_zero_s:
            self._join(worker)

    def _join(self, worker: int) -> None:
        address = self._attendance.begin(worker, self._plan)
        self._handle(WorkerJoined(worker, address, extra=worker >= FIRST_EXTRA))

    def _lose(self, worker: int, reason: str, last_seen_s: float) -> None:
        self._attendance.cleared(worker)
        self._figures.forget_worker(worker)
        self._handle(WorkerLost(worker, reason, last_seen_s))

    # -- what goes out -------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        self._act(self._machine.handle(event, self._clock()))

    def _act(self, actions: list[object]) -> None:
        now = self._clock()
        for action in actions:
            match action:
                case Send():
                    self._hub.send(str(action.worker), action.message)
                case Journal() if action.kind == STATE:
                    self._journal.keep(FACTS, action.body)
                case Journal():
                    self._journal.write(action, now)
                    self._figures.journalled(action, now)
                case Told():
                    self._figures.told(action, now)
                case Record():
                    self._figures.record(action, now)
                case SpawnWorker():
                    self._hub.send(COMMAND, SpawnRequest(action.cause))
                case EndWorker():
                    self._hub.send(str(action.worker), Shutdown())
                    self._hub.send(COMMAND, EndRequest(action.worker))
                case EndJob():
                    self._finish(action)
        self._bulletin.keep_events()

    def _finish(self, end: EndJob) -> None:
        if self._end is None:
            self._end = self._machine.ended = end
            self._journal.keep(ENDED, end.status)
            self._bulletin.tell_last(end)


def main(address: str, command: str, job: str, takeover: dict[str, Any] | None = None) -> None:
    """Coordinate one job until it has ended; the entry point of the process.

    Args:
        address: Where it listens.
        command: Where the command does.
        job: File with what is to run.
        takeover: The fields of a ``Takeover``, as JSON gives them.
    """
    coordinate(address, command, job, takeover=takeover_of(takeover))


def takeover_of(told: dict[str, Any] | None) -> Takeover | None:
    """What the arguments of a coordinator's process say of the one before it."""
    if told is None:
        return None
    alive, ended = ({int(id): of for id, of in told[key].items()} for key in ("alive", "ended"))
    return Takeover(alive, told["resumed"], told["cause"], ended)


def coordinate(
    address: str, command: str, job: str,
    make_machine: MakeMachine = Coordinator, messages: Sequence[type] = (), strategy: str = "checkpoint",
    takeover: Takeover | None = None,
) -> None:  # fmt: skip
    """Coordinate the job that the command has written down; the arguments after it are those of ``Server``."""
    try:
        plan, setup, workers, spares = cloudpickle.loads(Path(job).read_bytes())
    except (Exception, *ENDINGS) as error:  # noqa: BLE001 (a module of the user's may raise anything when it is imported)
        refuse(address, command, f"{CANNOT_LOAD}\n{user_trace(error).rstrip()}")
        return
    try:
        server = Server(address, command, plan, setup, workers, spares, make_machine, messages, strategy, takeover)
    except UserError as error:  # of the journal
        refuse(address, command, str(error))
        return
    server.run()
