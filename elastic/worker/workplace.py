"""A worker while a job runs: the host, and all by which its commands are carried out and answered."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TypeAlias

from elastic.connectors.base import SinkContext
from elastic.errors import FencedError, UserError
from elastic.instance.host import Host
from elastic.instance.sink import SinkInstance
from elastic.instance.source import SourceInstance
from elastic.operators.failure import bug, connector_error
from elastic.protocol import (
    Close,
    Command,
    Commit,
    Failed,
    Fenced,
    Finish,
    Forget,
    Freeze,
    Load,
    Open,
    Part,
    Persist,
    Rejoin,
    Send,
    Standings,
    Start,
    Stored,
    Tell,
)
from elastic.wire.clock import JobClock
from elastic.wire.control import COORDINATOR
from elastic.wire.sockets import Hub
from elastic.worker.checkpoint_files import CHECKPOINTS, CheckpointFiles
from elastic.worker.disk import DiskFailed, DiskThread, Loaded, Persisted
from elastic.worker.sources import Sources
from elastic.worker.spill import SpillFiles
from elastic.worker.statistics import Statistics
from elastic.worker.targets import Committed, Opened, PromptTarget, TargetFailed, TargetThread
from elastic.worker.watchdog import Watchdog

TargetAnswer: TypeAlias = Opened | Committed | TargetFailed
DiskAnswer: TypeAlias = Persisted | Loaded | DiskFailed

REPORT_S, IDLE_REPORT_S = 0.2, 1.0
"""So often the coordinator hears of a worker: while it reads, and while it does not."""

NUDGE_S = 1.0
"""So often producers that have closed nothing are asked again."""

SLICE_S = 0.05
"""A worker consumes before it reads more; only after so long does it look at sockets and sources again."""


class Workplace:
    """Everything that one worker has of one job. All of it is done in one thread, but for disks and targets.

    Args:
        host: What runs here.
        hub: Sockets to the other workers and to the coordinator.
        clock: Unix time that never runs backwards, seconds.
        watchdog: Is told what the thread is doing.
        directory: The job directory.
        keep_log: What all consumers are past stays in the input logs.
    """

    def __init__(
        self, host: Host, hub: Hub, clock: JobClock, watchdog: Watchdog, directory: Path, *, keep_log: bool
    ) -> None:
        self._host, self._hub, self._clock, self._directory = host, hub, clock, directory
        self._watchdog, self._activity = watchdog, watchdog.activity()
        self._statistics = Statistics(host.worker)
        self._sources = Sources(host.plan, directory / "log", clock, self._statistics, keep_log=keep_log)
        self._targets: dict[int, TargetThread | PromptTarget] = {}
        self._answers: deque[TargetAnswer | DiskAnswer] = deque()
        self._local: deque[object] = deque()
        self._reported_s = self._nudge_at = 0.0
        settings, self._disk = host.plan.settings, None
        if settings.disk != "off":
            files = CheckpointFiles(directory / CHECKPOINTS, sync=settings.disk == "sync")
            self._disk = DiskThread(files, self._answer)
        if settings.spill_bytes:
            host.spill = SpillFiles(directory / "spill", settings.spill_bytes, settings.memory_bytes)

    def close(self) -> None:
        """Nothing more is done."""
        self._watchdog.close()
        self._sources.close_all()

    # -- work ----------------------------------------------------------------------------------------------------------

    def work(self) -> bool:
        """One slice of work; whether there is more to do at once."""
        self._drain_local()
        self._take_answers()
        busy = self._step_instances()
        busy |= self._step_sources()
        self._execute(self._host.relieve())
        now = self._clock()
        if now >= self._nudge_at:
            self._nudge_at = now + NUDGE_S
            self._execute(self._host.nudge())
        if now >= self._report_due_s:
            self._take_answers()  # a target that has answered while code was busy is not to be reported as slow
            self._report(now)
        if not busy or self._host.backups.is_pressing:
            folded, commands = self._host.backups.tidy()
            self._execute(commands)
            busy |= folded
        return busy or bool(self._local) or bool(self._answers)

    def _take_answers(self) -> None:
        """What targets and disk have done meanwhile."""
        while self._answers:
            self._on_answer(self._answers.popleft())

    @property
    def idle_s(self) -> float:
        """So long there is nothing to do, if no message comes."""
        return max(0.0, min(self._report_due_s, self._sources.wakes_at) - self._clock())

    def _step_instances(self) -> bool:
        """Step keyed and sink instances in turn until none has anything to do or the slice is over."""
        host, until = self._host, time.perf_counter() + SLICE_S
        busy = True
        while busy and time.perf_counter() < until:
            busy = False
            for id in host.due():
                if (instance := host.instances.get(id)) is None:
                    continue
                began = time.perf_counter()
                self._activity.now = ("step", id, instance.tau, began)
                moved, commands = host.step(id)
                self._execute(commands)
                self._activity.now = None
                if moved:
                    busy = True
                    self._statistics.busy_s[id] += time.perf_counter() - began
                if isinstance(instance, SinkInstance):
                    self._statistics.settle(instance, self._clock())
            moved, commands = host.step_tasks(self._begins)
            self._execute(commands)
            self._activity.now = None
            busy |= moved
            self._drain_local()
        return busy

    def _begins(self, whose: int | tuple[str, int], tick: int) -> None:
        """A task begins after a tick: that of an instance, or of an operator's partition."""
        self._activity.now = ("step", whose, tick, time.perf_counter())

    def _step_sources(self) -> bool:
        busy = False
        for id, driver in self._sources.due():
            began = time.perf_counter()
            self._activity.now = ("step", id, driver.instance.tau, began)
            try:
                commands = driver.step()
            except Exception as error:  # noqa: BLE001 (a bug of ours is raised again)
                commands = self._fail(id, _met(driver.instance.operator, error))
            self._execute(commands)
            self._activity.now = None
            self._statistics.busy_s[id] += time.perf_counter() - began
            busy |= self._sources.is_due(id, driver)
        return busy

    # -- reports -------------------------------------------------------------------------------------------------------

    def report_soon(self) -> None:
        """The coordinator wants to hear of this worker at once."""
        self._reported_s = 0.0

    @property
    def _report_due_s(self) -> float:
        """When the coordinator is to hear of this worker again."""
        return self._reported_s + (REPORT_S if self._statistics.active else IDLE_REPORT_S)

    def _report(self, now: float) -> None:
        self._reported_s = now
        self._hub.send(COORDINATOR, self._statistics.report(self._host, self._sources, now))
        self._hub.send(COORDINATOR, Standings(self._host.standings()))

    # -- messages ------------------------------------------------------------------------------------------------------

    def handle(self, sender: int, message: object) -> None:
        """A message of another worker, or of the coordinator, which is -1."""
        if isinstance(message, Stored):
            self._statistics.stored(message.instance, message.tick)
        if isinstance(message, Part | Start):  # a state is restored, a log read
            self._activity.now = ("message", message.instance, 0, time.perf_counter())
        self._execute(self._host.handle(sender, message))
        self._activity.now = None
        match message:
            case Freeze() | Finish():
                self._execute(self._sources.heard(message))
            case Rejoin():
                self._statistics.tell_again()

    def _drain_local(self) -> None:
        """Deliver what instances of this worker sent one another, without a socket between."""
        while self._local:
            self.handle(self._host.worker, self._local.popleft())

    # -- commands ------------------------------------------------------------------------------------------------------

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send():
                    self._statistics.sent(command)
                    if command.worker == self._host.worker:
                        self._local.append(command.message)
                    else:
                        self._hub.send(str(command.worker), command.message)
                case Tell():
                    self._hub.send(COORDINATOR, command.message)
                case Open():
                    self._open(command.start)
                case Commit():
                    self._targets[command.instance].commit(command)
                case Persist() | Load() | Forget():
                    assert self._disk is not None
                    self._disk.do(command)
                case Close():
                    self._close(command.instance)

    def _open(self, start: Start) -> None:
        if self._host.plan.operators[start.operator].kind == "sink":
            self._targets[start.instance] = self._target(start)
            return
        try:
            feeds = self._sources.feeds(start)
        except Exception as error:  # noqa: BLE001 (a bug of ours is raised again)
            self._execute(self._fail(start.instance, _met(start.operator, error)))
            return
        self._execute(self._host.source_opened(start, [feed.log.floor for feed in feeds]))
        if isinstance(instance := self._host.instances.get(start.instance), SourceInstance):
            self._sources.begin(start, instance, feeds)

    def _target(self, start: Start) -> TargetThread | PromptTarget:
        plan = self._host.plan
        context = SinkContext(
            plan.run_id, plan.name, start.operator, plan.settings.key_groups, plan.settings.tick_ms, self._directory
        )
        sink = plan.operators[start.operator].logic
        if not sink.waits:
            return PromptTarget(sink, context, start, self._answers.append, self._clock)
        return TargetThread(sink, context, start, self._answer, self._clock, self._watchdog)

    def _close(self, id: int) -> None:
        self._sources.close(id)
        if (target := self._targets.pop(id, None)) is not None:
            target.close(timeout_s=0.0)

    # -- answers of targets and disk, failures -------------------------------------------------------------------------

    def _answer(self, answer: TargetAnswer | DiskAnswer) -> None:
        self._answers.append(answer)
        self._hub.wake()

    def _on_answer(self, answer: TargetAnswer | DiskAnswer) -> None:
        match answer:
            case Opened():
                self._execute(self._host.sink_opened(answer.start, answer.committed, answer.rows))
            case Committed():
                self._on_committed(answer)
            case TargetFailed():
                self._execute(self._fail(answer.instance, answer.error))
            case Persisted():
                self._execute(self._host.persisted(answer.instance, answer.term, answer.tick))
            case Loaded():
                self._execute(self._host.loaded(answer.reconfigure, answer.instance, answer.checkpoint))
            case DiskFailed() if isinstance(answer.error, FencedError):
                self._execute(self._host.refused(answer.instance))
            case DiskFailed():
                self._execute([Tell(Failed(answer.instance, "", 0, answer.text))])

    def _on_committed(self, answer: Committed) -> None:
        id = answer.instance
        self._statistics.target_s[id] += answer.took_s
        self._execute(self._host.committed(id, answer.through, answer.rows, final=answer.final))
        if isinstance(instance := self._host.instances.get(id), SinkInstance):
            self._statistics.settle(instance, answer.at_s)

    def _fail(self, id: int, error: Exception) -> list[Command]:
        """What an instance met that cannot go on: its successor, a mistake of the user's, or one of ours."""
        match error:
            case FencedError():
                return self._host.end(Fenced(id))
            case UserError():
                return self._host.fail(id, error)
        found = self._host.instances.get(id)
        operator, tick = (found.operator, found.tau) if found is not None else ("", 0)
        return self._host.end(Failed(id, operator, tick, bug(error)))


def _met(source: str, error: Exception) -> Exception:
    """What is to be told of an error that a source met; one that is neither the user's nor foreseen is raised."""
    told = connector_error(error, f"source {source!r}")
    if not isinstance(told, UserError | FencedError):
        raise error
    return told
