"""A simulated worker: production's host and source drivers, in a process that can die, hang and come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from elastic.errors import FencedError, UserError
from elastic.instance.driver import PartitionFeed, SourceDriver
from elastic.instance.host import Host
from elastic.instance.source import SourceInstance
from elastic.plan import Plan
from elastic.protocol import (
    Close,
    Command,
    Commit,
    Fenced,
    Finish,
    Forget,
    Freeze,
    Load,
    Open,
    Peers,
    Persist,
    Send,
    Standings,
    Start,
    Tell,
)
from elastic.testing.invariants import Watch
from elastic.testing.world import (
    CheckpointDisk,
    LogStore,
    MemorySpill,
    SimulatedLog,
    SimulatedWriter,
    TargetStore,
    World,
)

STEP_S = 0.0005
"""A worker looks at its instances so soon after something has happened, at most."""

NUDGE_S = 0.25
REPORT_S = 0.2
WRITE_S, SLOW_WRITE_S = 0.004, 0.1


@dataclass(slots=True)
class Machine:
    """What all workers of a simulated cluster share: time, disks, and who watches them.

    Attributes:
        tick_zero_s: Unix time of virtual time 0.
        commit_ticks: File sinks commit at multiples of so many ticks only.
        slow_disk: Whether targets take their time.
        make_host: Makes what runs on a worker, of its number.
    """

    world: World
    plan: Plan
    tick_zero_s: float
    commit_ticks: int
    slow_disk: bool
    logs: dict[tuple[str, int], LogStore] = field(default_factory=dict)
    targets: dict[str, TargetStore] = field(default_factory=dict)
    checkpoints: CheckpointDisk = field(default_factory=CheckpointDisk)
    make_host: Callable[[int], Host] | None = None

    def clock(self) -> float:
        """Unix time, as workers see it."""
        return self.tick_zero_s + self.world.now

    def disk_s(self) -> float:
        """How long a target takes."""
        return self.world.random.random() * (SLOW_WRITE_S if self.slow_disk else WRITE_S)


class Stalling(Protocol):
    """Watches over what does not return."""

    def committing(self, victim: SimulatedWorker, instance: int) -> None:
        """A commit has begun on a target that stalls."""


class Carrier(Protocol):
    """Takes a worker's messages to where they go."""

    @property
    def stalling(self) -> Stalling:
        """Who watches over what does not return."""

    def carry(self, source: SimulatedWorker, command: Send) -> None:
        """To another worker."""

    def tell(self, source: SimulatedWorker, message: Any) -> None:
        """To the coordinator."""


class SimulatedWorker:
    """One worker: a host, its drivers and writers, and whether it lives, hangs or is gone."""

    def __init__(self, number: int, machine: Machine, carrier: Carrier, watch: Watch) -> None:
        self.number, self.name = number, f"worker {number}"
        self._machine, self._world, self._carrier, self._watch = machine, machine.world, carrier, watch
        self.host = Host(number, machine.plan) if machine.make_host is None else machine.make_host(number)
        if machine.plan.settings.spill_bytes:
            self.host.spill = MemorySpill(machine.plan.settings.spill_bytes)
        self._drivers: dict[int, SourceDriver] = {}
        self._finishes: dict[int, Finish] = {}
        self._writers: dict[int, SimulatedWriter] = {}
        self.alive, self.hung, self.declared_lost = True, False, False
        self._inbox: list[tuple[int, Any]] = []
        self._known: set[int] = set()
        self._working = False
        self._wakes_at = 0.0
        self._disk_at = 0.0
        self.stalled_targets: dict[int, float] = {}
        self.commits_since: dict[int, float] = {}
        self._world.after(self._chance.random() * NUDGE_S, self._nudge)
        self._world.after(self._chance.random() * REPORT_S, self._report)

    @property
    def _chance(self) -> Random:
        return self._world.random

    def receive(self, sender: int, message: Any) -> None:
        """A message has arrived."""
        if not self.alive:
            return
        if self.hung:
            self._inbox.append((sender, message))
            return
        if isinstance(message, Peers):
            self._known = set(message.addresses)
            return
        commands = self.host.handle(sender, message)
        self._watch.saw(self.host, message, commands)
        self._execute(commands)
        match message:
            case Freeze() if message.instance in self._drivers:
                self._execute(self._drivers[message.instance].on_freeze())
            case Finish():
                self._finishes[message.instance] = message
                if message.instance in self._drivers:
                    self._drivers[message.instance].on_finish(message)
        self.work_soon()

    def resume(self) -> None:
        """It was only stopped: what has arrived meanwhile is handled now, by a worker that may be a zombie."""
        self.hung = False
        inbox, self._inbox = self._inbox, []
        for sender, message in inbox:
            self.receive(sender, message)
        self.work_soon()

    # -- work ----------------------------------------------------------------------------------------------------------

    def work_soon(self) -> None:
        """Have the worker look at its instances in a moment."""
        if not self._working:
            self._working = True
            self._world.after(STEP_S * self._chance.random(), self._work)

    def _work(self) -> None:
        self._working = False
        if not self.alive or self.hung:
            return
        busy = False
        for id in self.host.due():
            moved, commands = self.host.step(id)
            busy |= moved
            self._execute(commands)
        moved, commands = self.host.step_tasks()
        busy |= moved
        self._execute(commands)
        stepped, now_s = busy, self._machine.clock()
        for id, driver in list(self._drivers.items()):
            if driver.wakes_at <= now_s:
                stepped = True
                self._execute(self._guarded(id, driver.step))
        if stepped:  # whatever else happens, nothing has moved and buffers have not grown
            self._execute(self.host.relieve())
            self._watch.worked(self.host)
        if not busy or self.host.backups.is_pressing:
            folded, commands = self.host.backups.tidy()
            busy |= folded
            self._execute(commands)
        if busy:
            self.work_soon()
        elif self._drivers:
            self._wake_at(min(d.wakes_at for d in self._drivers.values()) - self._machine.tick_zero_s)

    def _wake_at(self, time_s: float) -> None:
        """Have the worker look at its sources then, unless it is to do so earlier."""
        soonest = max(time_s, self._world.now + STEP_S)
        if not self._world.now < self._wakes_at <= soonest:
            self._wakes_at = soonest
            self._world.at(soonest, self.work_soon)

    def _guarded(self, id: int, work: Callable[[], list[Command]]) -> list[Command]:
        """What ``work`` of an instance gives, or what its shell makes of its end."""
        try:
            return work()
        except FencedError:
            return self.host.end(Fenced(id))
        except UserError as error:
            return self.host.fail(id, error)

    def _nudge(self) -> None:
        if self.alive:
            if not self.hung:
                self._execute(self.host.nudge())
                self.work_soon()
            self._world.after(NUDGE_S, self._nudge)

    def _report(self) -> None:
        if self.alive:
            if not self.hung:
                self._carrier.tell(self, Standings(self.host.standings()))
                for instance in self.host.instances.values():
                    if isinstance(instance, SourceInstance):
                        instance.tell()  # so that the log may be trimmed past it
            self._world.after(REPORT_S, self._report)

    # -- commands ------------------------------------------------------------------------------------------------------

    def _execute(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Send() if command.worker == self.number:
                    self._world.after(0.0, lambda m=command.message: self.receive(self.number, m))  # type: ignore[misc]
                case Send() if command.worker in self._known:
                    self._carrier.carry(self, command)
                case Tell():
                    self._carrier.tell(self, command.message)
                case Open():
                    start = command.start
                    self._execute(self._guarded(start.instance, lambda s=start: self._open(s)))  # type: ignore[misc]
                case Commit():
                    self._begin_commit(command)
                case Persist() | Load() | Forget():
                    self._on_disk(command)
                case Close():
                    self._drivers.pop(command.instance, None)
                    self._writers.pop(command.instance, None)

    def _begin_commit(self, command: Commit) -> None:
        takes_s = self._machine.disk_s()
        self.commits_since[command.instance] = self._world.now
        if (stalled_s := self.stalled_targets.pop(command.instance, 0.0) - self._world.now) > takes_s:
            takes_s = stalled_s
            self._carrier.stalling.committing(self, command.instance)
        self._world.after(takes_s, lambda: self._committed(command))

    def _on_disk(self, command: Persist | Load | Forget) -> None:
        """The worker's disk thread does one thing after the other; what it has not done is lost with the worker."""
        self._disk_at = max(self._disk_at, self._world.now) + self._machine.disk_s()
        self._world.at(self._disk_at, lambda: self._disk_done(command))

    def _disk_done(self, command: Persist | Load | Forget) -> None:
        if not self.alive:
            return
        if self.hung:
            self._world.after(WRITE_S, lambda: self._disk_done(command))
            return
        disk, host = self._machine.checkpoints, self.host
        match command:
            case Persist(instance, term, checkpoint):
                if disk.write(instance, term, checkpoint, compact=command.compact):
                    commands = host.persisted(instance, term, checkpoint.tick)
                    self._watch.stored(commands)
                    self._execute(commands)
                else:
                    self._execute(host.refused(instance))
            case Load():
                found = disk.read(command.instance, command.term)
                self._execute(host.loaded(command.reconfigure, command.instance, found))
            case Forget():
                disk.remove(command.instance)
        self.work_soon()

    def _open(self, start: Start) -> list[Command]:
        if self._machine.plan.operators[start.operator].kind == "source":
            return self._open_source(start)
        store = self._machine.targets[start.operator]
        writer = SimulatedWriter(store, start.interval, start.generation, self._machine.commit_ticks)
        self._writers[start.instance] = writer
        self._world.after(self._machine.disk_s(), lambda: self._opened(start, writer))
        return []

    def _opened(self, start: Start, writer: SimulatedWriter) -> None:
        if self.alive:
            self._execute(self.host.sink_opened(start, writer.committed()))
            self.work_soon()

    def _open_source(self, start: Start) -> list[Command]:
        plan, id = self._machine.plan, start.instance
        feeds = []
        for n, partition in enumerate(plan.operators[start.operator].partitions):
            interval = plan.partition_interval(start.operator, n)
            if start.interval.low <= interval.low < start.interval.high:
                log = SimulatedLog(self._machine.logs[start.operator, n], start.generation)
                feeds.append(PartitionFeed(interval, partition.open(), log))
        commands = self.host.source_opened(start, [feed.log.floor for feed in feeds])
        instance = self.host.instances.get(id)
        if isinstance(instance, SourceInstance):
            finish = start.final or self._finishes.get(id)
            clock = self._machine.clock
            self._drivers[id] = SourceDriver(plan, instance, feeds, clock, lambda _: None, finish)
        return commands

    def _committed(self, command: Commit) -> None:
        """The target has got to it."""
        id = command.instance
        writer = self._writers.get(id)
        if not self.alive or writer is None:
            return
        if self.hung:  # the write happens when it goes on
            self._world.after(WRITE_S, lambda: self._committed(command))
            return
        del self.commits_since[id]
        self._execute(self._guarded(id, lambda: self._commit(writer, command)))
        self.work_soon()

    def _commit(self, writer: SimulatedWriter, command: Commit) -> list[Command]:
        through = writer.commit(command.ticks, command.through, final=command.final)
        count = sum(len(batch) for _, batch in command.ticks)
        return self.host.committed(command.instance, through, count, final=command.final)
