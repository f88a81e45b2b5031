"""The worker's event loop: messages to the host, the host's commands to sockets, disks and targets."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cloudpickle
import pyarrow as pa

from elastic.connectors.base import SinkContext
from elastic.connectors.input_log import InputLog
from elastic.errors import FencedError, UserError
from elastic.instance.driver import PartitionFeed, SourceDriver
from elastic.instance.host import Host
from elastic.instance.sink import SinkInstance
from elastic.instance.source import SourceInstance
from elastic.operators.failure import ENDINGS, user_trace
from elastic.plan import Plan
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
    Peers,
    Persist,
    Rejoin,
    Send,
    Standings,
    Start,
    Stored,
    Tell,
)
from elastic.wire.clock import JobClock
from elastic.wire.control import (
    COORDINATOR,
    Begin,
    Crashed,
    Die,
    DrainWorker,
    Hello,
    Ready,
    Refused,
    ReportNow,
    Setup,
    Shutdown,
    codec,
)
from elastic.wire.sockets import Hub
from elastic.worker.allocator import keep_freed_memory, touch_memory
from elastic.worker.checkpoint_files import CheckpointFiles
from elastic.worker.disk import DiskFailed, DiskThread, Loaded, Persisted
from elastic.worker.spill import SpillFiles
from elastic.worker.statistics import Statistics
from elastic.worker.targets import Committed, Opened, TargetFailed, TargetThread
from elastic.worker.watchdog import Activity, Watchdog, dump_path

TargetAnswer: TypeAlias = Opened | Committed | TargetFailed
DiskAnswer: TypeAlias = Persisted | Loaded | DiskFailed

CHECKPOINTS = "checkpoints"
"""The folder of the job directory where they lie."""

REPORT_S, IDLE_REPORT_S = 0.2, 1.0
LAST_WORDS_S = 0.2
NUDGE_S = 1.0
SLICE_S = 0.05
"""A worker consumes before it reads more; only after so long does it look at sockets and sources again."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker's process has that a host may need.

    Attributes:
        directory: The job directory.
        clock: Unix time that never runs backwards, seconds.
        wake: Has the worker look at its host soon; may be called from any thread.
    """

    directory: Path
    clock: Callable[[], float]
    wake: Callable[[], None]


MakeHost: TypeAlias = Callable[[int, Plan, Surroundings], Host]


class Worker:
    """One worker process. Everything happens in one thread, but for commits to targets."""

    def __init__(
        self, worker: int, address: str, coordinator: str, pid: int,
        make_host: MakeHost | None = None, messages: Sequence[type] = (),
    ) -> None:  # fmt: skip
        """Say hello.

        Args:
            worker: Number of this worker.
            address: Where it listens.
            coordinator: Where the coordinator listens.
            pid: Of this process.
            make_host: Makes what runs here, for an execution model that runs more than instances.
            messages: Which that model sends beside the core's.
        """
        self.id = worker
        self._make_host = make_host or (lambda worker, plan, _: Host(worker, plan))
        self._hub = Hub(str(worker), address, codec(messages))
        self._hub.connect(COORDINATOR, coordinator)
        self._hello = Hello(worker, address, pid)
        self._hub.send(COORDINATOR, self._hello)
        self._clock = JobClock()
        self._host: Host | None = None
        self._statistics = Statistics(worker)
        self._drivers: dict[int, SourceDriver] = {}
        self._finishes: dict[int, Finish] = {}
        self._targets: dict[int, TargetThread] = {}
        self._answers: deque[TargetAnswer | DiskAnswer] = deque()
        self._disk: DiskThread | None = None
        self._local: deque[object] = deque()
        self._reported_s = self._nudge_at = 0.0
        self._peers: set[int] = set()
        self._running = True
        self._leaves = False
        self._address, self._coordinator = address, coordinator
        self._watchdog: Watchdog | None = None
        self._activity = Activity()

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until told to shut down."""
        try:
            while self._running:
                busy = self._work()
                if self._leaves:
                    self._leaves = False
                    self._hub.send(COORDINATOR, DrainWorker(self.id))
                self._hub.wait(0.0 if busy else self._idle_s())
                for sender, message in self._hub.receive(256):
                    self._on_message(sender, message)
        except Exception as error:  # the worker's one guard: a bug of ours ends the job aloud instead of looping
            self._hub.send(COORDINATOR, Crashed(self.id, "".join(traceback.format_exception(error))))
            time.sleep(LAST_WORDS_S)
            raise
        finally:
            if self._watchdog is not None:
                self._watchdog.close()
            for driver in self._drivers.values():
                driver.close()
            self._hub.close()

    def leave(self) -> None:
        """Ask to be drained, and go on until then. May be called from a signal handler."""
        self._leaves = True
        self._hub.wake()

    def _idle_s(self) -> float:
        wakes = [self._report_due_s, *(driver.wakes_at for driver in self._drivers.values())]
        return max(0.0, min(wakes) - self._clock()) if self._host is not None else 1.0

    @property
    def _report_due_s(self) -> float:
        """When the coordinator is to hear of this worker again."""
        return self._reported_s + (REPORT_S if self._statistics.active else IDLE_REPORT_S)

    def _work(self) -> bool:
        """One slice of work; whether there is more to do at once."""
        if self._host is None:
            return False
        self._drain_local()
        while self._answers:
            self._on_answer(self._answers.popleft())
        busy = self._step_instances(self._host)
        busy |= self._step_sources()
        self._execute(self._host.relieve())
        now = self._clock()
        if now >= self._nudge_at:
            self._nudge_at = now + NUDGE_S
            self._execute(self._host.nudge())
        if now >= self._report_due_s:
            self._reported_s = now
            repaired = {id: driver.repaired for id, driver in self._drivers.items()}
            self._hub.send(COORDINATOR, self._statistics.report(self._host, repaired, now))
            self._hub.send(COORDINATOR, Standings(self._host.standings()))
        if not busy or self._host.backups.is_pressing:
            folded, commands = self._host.backups.tidy()
            self._execute(commands)
            busy |= folded
        return busy or bool(self._local)

    def _step_instances(self, host: Host) -> bool:
        """Step keyed and sink instances in turn until none has anything to do or the slice is over."""
        until = time.perf_counter() + SLICE_S
        busy = True
        while busy and time.perf_counter() < until:
            busy = False
            for id, instance in list(host.instances.items()):
                if isinstance(instance, SourceInstance):
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
            moved, commands = host.step_tasks()
            self._execute(commands)
            busy |= moved
            self._drain_local()
        return busy

    def _step_sources(self) -> bool:
        busy = False
        for id, driver in list(self._drivers.items()):
            if driver.wakes_at > self._clock():
                continue
            began = time.perf_counter()
            self._activity.now = ("step", id, driver.instance.tau, began)
            try:
                commands = driver.step()
            except UserError as error:
                commands = self._fail(id, error)
            except FencedError:
                commands = self._on_fenced(id)
            self._execute(commands)
            self._activity.now = None
            self._statistics.busy_s[id] += time.perf_counter() - began
            busy |= id in self._drivers and driver.wakes_at <= self._clock()
        return busy

    # -- messages ------------------------------------------------------------------------------------------------------

    def _on_message(self, sender: str, message: object) -> None:
        match message:
            case Setup():
                self._set_up(message)
            case Begin():
                self._begin(message)
            case ReportNow():
                self._reported_s = 0.0
            case Shutdown():
                self._running = False
            case Die():
                os.kill(os.getpid(), signal.SIGKILL)
            case Peers():
                self._on_peers(message)
            case Rejoin():
                self._hub.send(COORDINATOR, self._hello)
                if self._host is not None:
                    self._handle(-1, message)
            case _ if self._host is not None:
                self._handle(int(sender) if sender.isdigit() else -1, message)

    def _handle(self, sender: int, message: object) -> None:
        assert self._host is not None
        if isinstance(message, Stored):
            self._statistics.stored(message.instance, message.tick)
        if isinstance(message, Part | Start):  # a state is restored, a log read
            self._activity.now = ("message", message.instance, 0, time.perf_counter())
        self._execute(self._host.handle(sender, message))
        self._activity.now = None
        match message:
            case Freeze() if message.instance in self._drivers:
                self._execute(self._drivers[message.instance].on_freeze())
            case Finish():
                self._finishes[message.instance] = message
                if message.instance in self._drivers:
                    self._drivers[message.instance].on_finish(message)

    def _set_up(self, setup: Setup) -> None:
        sys.path[:0] = [p for p in setup.path if p not in sys.path]
        try:
            plan: Plan = cloudpickle.loads(setup.plan)
        except (Exception, *ENDINGS) as error:  # noqa: BLE001 (a module of the user's may raise anything when it is imported)
            self._hub.send(COORDINATOR, Refused(self.id, user_trace(error).rstrip()))
            return
        self._directory = Path(setup.directory)
        self._keep_log = setup.keep_log
        self._plan = plan
        touch_memory(plan.settings.memory_bytes)
        self._hub.send(COORDINATOR, Ready(self.id))

    def _begin(self, begin: Begin) -> None:
        if self._host is not None:
            return  # said by a coordinator that was lost before it could note it
        self._clock.follow(begin.now_s, begin.monotonic_s)
        surroundings = Surroundings(self._directory, self._clock, self._hub.wake)
        self._host = self._make_host(
            self.id, replace(self._plan, epoch_s=begin.epoch_s, since_s=begin.since_s), surroundings
        )
        if (disk := self._plan.settings.disk) != "off":
            files = CheckpointFiles(self._directory / CHECKPOINTS, sync=disk == "sync")
            self._disk = DiskThread(files, self._answer)
        settings = self._plan.settings
        if settings.spill_bytes:
            self._host.spill = SpillFiles(self._directory / "spill", settings.spill_bytes, settings.memory_bytes)
        dump = dump_path(self._directory, self.id)
        after_s = self._plan.settings.stall_after_ms / 1000
        self._watchdog = Watchdog(self.id, f"{self._address}.w", self._coordinator, after_s, self._clock, dump)
        self._activity = self._watchdog.activity()

    def _on_peers(self, peers: Peers) -> None:
        for worker, address in peers.addresses.items():
            if worker != self.id:
                self._hub.connect(str(worker), address)
        for worker in self._peers - peers.addresses.keys():
            self._hub.drop(str(worker))
        self._peers = set(peers.addresses)

    # -- commands ------------------------------------------------------------------------------------------------------

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Send():
                    self._statistics.sent(command)
                    if command.worker == self.id:
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

    def _drain_local(self) -> None:
        """Deliver what instances of this worker sent one another, without a socket between."""
        while self._local:
            self._handle(self.id, self._local.popleft())

    def _open(self, start: Start) -> None:
        assert self._host is not None
        plan = self._host.plan
        operator = plan.operators[start.operator]
        if operator.kind == "sink":
            assert self._watchdog is not None
            context = SinkContext(
                plan.run_id, plan.name, start.operator, plan.settings.key_groups, plan.settings.tick_ms, self._directory
            )
            self._targets[start.instance] = TargetThread(
                operator.logic, context, start, self._answer, self._clock, self._watchdog
            )
            return
        try:
            feeds = self._feeds(plan, start)
        except UserError as error:
            self._execute(self._fail(start.instance, error))
            return
        except FencedError:
            self._execute(self._on_fenced(start.instance))
            return
        base = max((feed.log.floor for feed in feeds), default=0)  # consumers are past it on all of them
        self._execute(self._host.source_opened(start, base))
        instance = self._host.instances.get(start.instance)
        if not isinstance(instance, SourceInstance):
            return
        id = start.instance
        finish = start.final or self._finishes.get(id)
        self._drivers[id] = SourceDriver(
            plan, instance, feeds, self._clock, lambda mark: self._statistics.read(id, mark), finish
        )

    def _feeds(self, plan: Plan, start: Start) -> list[PartitionFeed]:
        feeds = []
        for n, partition in enumerate(plan.operators[start.operator].partitions):
            interval = plan.partition_interval(start.operator, n)
            if start.interval.low <= interval.low < start.interval.high:
                log = InputLog.open(
                    self._directory / "log", start.operator, n, start.generation,
                    keep=self._keep_log, sync=plan.settings.disk == "sync",
                )  # fmt: skip
                feeds.append(PartitionFeed(interval, partition.open(), log))
        return feeds

    def _close(self, id: int) -> None:
        if (driver := self._drivers.pop(id, None)) is not None:
            driver.close()
        if (target := self._targets.pop(id, None)) is not None:
            target.close(timeout_s=0.0)

    # -- answers of targets, failures ----------------------------------------------------------------------------------

    def _answer(self, answer: TargetAnswer | DiskAnswer) -> None:
        self._answers.append(answer)
        self._hub.wake()

    def _on_answer(self, answer: TargetAnswer | DiskAnswer) -> None:
        assert self._host is not None
        match answer:
            case Opened():
                self._execute(self._host.sink_opened(answer.start, answer.committed))
            case Committed():
                id = answer.instance
                self._statistics.target_s[id] += answer.took_s
                self._execute(self._host.committed(id, answer.through, answer.rows, final=answer.final))
                if isinstance(instance := self._host.instances.get(id), SinkInstance):
                    self._statistics.settle(instance, answer.at_s)
            case Persisted():
                self._execute(self._host.persisted(answer.instance, answer.term, answer.tick))
            case Loaded():
                self._execute(self._host.loaded(answer.reconfigure, answer.instance, answer.checkpoint))
            case DiskFailed() if isinstance(answer.error, FencedError):
                self._execute(self._host.refused(answer.instance))
            case DiskFailed():
                self._execute([Tell(Failed(answer.instance, "", 0, str(answer.error)))])
            case TargetFailed():
                if isinstance(answer.error, FencedError):
                    self._execute(self._on_fenced(answer.instance))
                else:
                    self._execute(self._fail(answer.instance, answer.error))

    def _on_fenced(self, id: int) -> list[Command]:
        assert self._host is not None
        return self._host.end(Fenced(id))

    def _fail(self, id: int, error: Exception) -> list[Command]:
        assert self._host is not None
        if isinstance(error, UserError):
            return self._host.fail(id, error)
        found = self._host.instances.get(id)
        operator, tick = (found.operator, found.tau) if found is not None else ("", 0)
        text = "".join(traceback.format_exception(error))
        return self._host.end(Failed(id, operator, tick, text, user=False))


def main(worker: int, address: str, coordinator: str) -> None:
    """Be a worker until told to end; the entry point of the process."""
    make(worker, address, coordinator).run()


def make(
    worker: int, address: str, coordinator: str, make_host: MakeHost | None = None, messages: Sequence[type] = ()
) -> Worker:
    """The worker that this process is to be, which has said hello; the process is made fit for it."""
    keep_freed_memory()
    pa.set_cpu_count(1)  # a worker is one core's worth; its neighbours are busy too
    pa.set_io_thread_count(1)
    return Worker(worker, address, coordinator, os.getpid(), make_host, messages)
