"""A whole job in one process under a virtual clock, broken in ways that a seed decides.

Hosts, instances, source drivers and the coordinator are those of production; only sockets, processes, disks and clocks
are simulated. Whatever happens, the sinks must hold, tick by tick, what the reference run over the same log gives, and
the job must end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from elastic.batch import rows
from elastic.connectors.base import LogEntry
from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    EndWorker,
    Event,
    Heard,
    Record,
    SpawnWorker,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.machine import Coordinator
from elastic.errors import FencedError
from elastic.instance.driver import PartitionFeed, SourceDriver
from elastic.instance.host import Host
from elastic.instance.source import SourceInstance
from elastic.plan import Plan, Settings
from elastic.protocol import Close, Command, Commit, Fenced, Finish, Freeze, Open, Peers, Send, Start, Tell
from elastic.query import Query
from elastic.testing.reference import ReferenceRun
from elastic.testing.world import LogStore, SimulatedLog, SimulatedWriter, TargetStore, World
from elastic.wire.control import codec

EPOCH_S = 1_000_000.0
DEADLINE_S = 60.0
"""A job of a second of input must have ended after a virtual minute, whatever failed."""

STEP_S = 0.0005
NUDGE_S = 0.25

FaultKind = Literal["crash", "double crash", "hang", "suspect", "break link", "slow link"]
FAULTS: tuple[FaultKind, ...] = ("crash", "crash", "double crash", "hang", "suspect", "break link", "slow link")


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What came of a simulated job.

    Attributes:
        seed: Replays it.
        status: ``done``, ``failed``, or ``stalled`` if it never ended.
        error: What the job said when it failed.
        sinks, expected: Rows by tick of each sink; of the job, and of the reference run.
        story: Everything that happened, one line each.
        excused: The job failed and had every reason to: an instance and every copy of its checkpoint were gone.
    """

    seed: int
    status: str
    error: str | None
    sinks: dict[str, dict[int, list[Any]]]
    expected: dict[str, dict[int, list[Any]]]
    story: tuple[str, ...]
    faults: int
    excused: bool = False

    @property
    def wrong(self) -> str | None:
        """What is wrong with the outcome; None if nothing is."""
        if self.excused:
            return None
        if self.status != "done":
            return f"the job {self.status}: {self.error}"
        for sink, expected in self.expected.items():
            found = self.sinks[sink]
            for tick in sorted(expected.keys() | found.keys()):
                if expected.get(tick, []) != found.get(tick, []):
                    return f"{sink} differs at tick {tick}: {found.get(tick)} instead of {expected.get(tick)}"
        return None


class SimulatedWorker:
    """One worker: a host, its drivers and writers, and whether it lives, hangs or is gone."""

    def __init__(self, number: int, simulation: Simulation) -> None:
        self.number, self.name = number, f"worker {number}"
        self._simulation, self._world = simulation, simulation.world
        self.host = Host(number, simulation.plan)
        self._drivers: dict[int, SourceDriver] = {}
        self._finishes: dict[int, Finish] = {}
        self._writers: dict[int, SimulatedWriter] = {}
        self.alive, self.hung, self.declared_lost = True, False, False
        self._inbox: list[tuple[int, Any]] = []
        self._known: set[int] = set()
        self._working = False
        self._world.after(self._world.random.random() * NUDGE_S, self._nudge)

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
        self._execute(self.host.handle(sender, message))
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

    def work_soon(self) -> None:
        """Have the worker look at its instances in a moment."""
        if not self._working:
            self._working = True
            self._world.after(STEP_S * self._world.random.random(), self._work)

    def _work(self) -> None:
        self._working = False
        if not self.alive or self.hung:
            return
        busy = False
        for id in list(self.host.instances):
            if id in self.host.instances and not isinstance(self.host.instances[id], SourceInstance):
                moved, commands = self.host.step(id)
                busy |= moved
                self._execute(commands)
        for id, driver in list(self._drivers.items()):
            if driver.wakes_at <= self._simulation.clock():
                try:
                    commands = driver.step()
                except FencedError:
                    commands = [Tell(Fenced(id)), *self.host.drop(id)]
                self._execute(commands)
        self.host.backups.tidy()
        if busy:
            self.work_soon()
        elif self._drivers:
            wake = max(min(d.wakes_at for d in self._drivers.values()) - EPOCH_S, self._world.now + STEP_S)
            self._world.at(wake, self.work_soon)

    def _nudge(self) -> None:
        if self.alive:
            if not self.hung:
                self._execute(self.host.nudge())
                self.work_soon()
            self._world.after(NUDGE_S, self._nudge)

    def _execute(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Send():
                    if command.worker == self.number:
                        self._world.after(0.0, lambda c=command: self.receive(self.number, c.message))  # type: ignore[misc]
                    elif command.worker in self._known:
                        self._simulation.carry(self, command)
                case Tell():
                    self._simulation.tell(self, command.message)
                case Open():
                    self._open(command.start)
                case Commit():
                    self._commit(command)
                case Close():
                    self._drivers.pop(command.instance, None)
                    self._writers.pop(command.instance, None)

    def _open(self, start: Start) -> None:
        plan = self._simulation.plan
        try:
            if plan.operators[start.operator].kind == "source":
                self._open_source(plan, start)
            else:
                store = self._simulation.targets[start.operator]
                writer = SimulatedWriter(store, start.interval, start.generation, self._simulation.period)
                self._writers[start.instance] = writer
                self._world.after(self._simulation.disk_s(), lambda: self._opened(start, writer))
        except FencedError:
            self._execute([Tell(Fenced(start.instance)), *self.host.drop(start.instance)])

    def _opened(self, start: Start, writer: SimulatedWriter) -> None:
        if self.alive:
            self._execute(self.host.sink_opened(start, writer.committed()))
            self.work_soon()

    def _open_source(self, plan: Plan, start: Start) -> None:
        feeds = []
        for n, partition in enumerate(plan.operators[start.operator].partitions):
            interval = plan.partition_interval(start.operator, n)
            if start.interval.low <= interval.low < start.interval.high:
                log = SimulatedLog(self._simulation.logs[start.operator, n], start.generation)
                feeds.append(PartitionFeed(interval, partition.open(), log))
        base = min(feed.log.floor for feed in feeds)
        self._execute(self.host.source_opened(start, base))
        instance = self.host.instances.get(start.instance)
        if isinstance(instance, SourceInstance):
            finish = start.final or self._finishes.get(start.instance)
            clock = self._simulation.clock
            self._drivers[start.instance] = SourceDriver(plan, instance, feeds, clock, lambda _: None, finish)

    def _commit(self, command: Commit) -> None:
        self._world.after(self._simulation.disk_s(), lambda: self._committed(command))

    def _committed(self, command: Commit) -> None:
        writer = self._writers.get(command.instance)
        if not self.alive or writer is None:
            return
        if self.hung:  # the write happens when it goes on
            self._world.after(0.05, lambda: self._committed(command))
            return
        try:
            through = writer.commit(command.ticks, command.through, final=command.final)
        except FencedError:
            self._execute([Tell(Fenced(command.instance)), *self.host.drop(command.instance)])
            return
        count = sum(len(batch) for _, batch in command.ticks)
        self._execute(self.host.committed(command.instance, through, count, final=command.final))
        self.work_soon()


@dataclass(slots=True)
class Story:
    """What happened, for whoever has to find out why."""

    lines: list[str] = field(default_factory=list)

    def tell(self, now: float, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{now:8.4f} {text}")


class Simulation:
    """One job in one simulated world.

    Args:
        plan: What runs; ``Settings`` with few key groups and short checkpoints make more happen.
        seed: Decides everything.
        workers, spares: Of the cluster.
        faults: How many; which and when is the seed's choice.
    """

    def __init__(self, plan: Plan, seed: int, *, workers: int = 3, spares: int = 1, faults: int = 3) -> None:
        self.world, self.seed = World(seed), seed
        self.plan = replace(plan, epoch_s=EPOCH_S)
        self.logs = {(name, n): LogStore() for name, o in plan.operators.items() for n in range(len(o.partitions))}
        groups = plan.settings.key_groups
        self.targets = {name: TargetStore(groups) for name, o in plan.operators.items() if o.kind == "sink"}
        self.workers: dict[int, SimulatedWorker] = {}
        self.coordinator = Coordinator(self.plan, workers, spares)
        self.story = Story()
        chance = self.world.random
        self.period = chance.choice((1, 1, 7))
        self._slow_disk = chance.random() < 0.2
        self._codec = codec() if chance.random() < 0.1 else None
        self._end: EndJob | None = None
        self._faults = faults
        self._next_worker = 0
        for _ in range(workers + spares):
            self._spawn()

    def clock(self) -> float:
        """Unix time, as workers see it."""
        return EPOCH_S + self.world.now

    def disk_s(self) -> float:
        """How long a target takes."""
        return self.world.random.random() * (0.1 if self._slow_disk else 0.004)

    # -- messages ------------------------------------------------------------------------------------------------------

    def carry(self, source: SimulatedWorker, command: Send) -> None:
        """A message from worker to worker."""
        message = self._wired(command.message)
        target = self.workers[command.worker]
        self.world.send(source.name, target.name, lambda: target.receive(source.number, message))

    def tell(self, source: SimulatedWorker, message: Any) -> None:
        """A message to the coordinator."""
        message = self._wired(message)
        self.world.send(source.name, "coordinator", lambda: self._handle(Heard(source.number, message)))

    def _wired(self, message: Any) -> Any:
        return message if self._codec is None else self._codec.decode(self._codec.encode(message))

    def _handle(self, event: Event) -> None:
        if not isinstance(event, ClockTick):
            self.story.tell(self.world.now, f"coordinator hears {event}"[:300])
        for action in self.coordinator.handle(event, self.world.now):
            match action:
                case Send():
                    target, message = self.workers[action.worker], self._wired(action.message)
                    self.story.tell(self.world.now, f"coordinator tells {target.name} {message}"[:300])
                    self.world.send("coordinator", target.name, lambda t=target, m=message: t.receive(-1, m))  # type: ignore[misc]
                case SpawnWorker():
                    self.world.after(0.02 + self.world.random.random() * 0.3, self._spawn)
                case EndWorker():
                    self.workers[action.worker].alive = False
                case Record():
                    self.story.tell(self.world.now, f"event {action}"[:300])
                case EndJob():
                    self._end = action

    def _spawn(self) -> None:
        worker = SimulatedWorker(self._next_worker, self)
        self.workers[worker.number] = worker
        self._next_worker += 1
        self.world.send(worker.name, "coordinator", lambda: self._handle(WorkerJoined(worker.number, worker.name)))

    # -- faults --------------------------------------------------------------------------------------------------------

    def _break(self, kind: FaultKind) -> None:
        chance = self.world.random
        living = [w for w in self.workers.values() if w.alive and not w.hung and not w.declared_lost]
        if not living:
            return
        victim = chance.choice(living)
        self.story.tell(self.world.now, f"FAULT {kind} of {victim.name}")
        match kind:
            case "crash":
                self._crash(victim)
            case "double crash":
                self._crash(victim)
                others = [w for w in living if w is not victim]
                if others:
                    self.world.after(chance.random() * 0.3, lambda: self._crash(chance.choice(others)))
            case "hang":
                victim.hung = True
                self.world.after(0.05 + chance.random() * 0.1, lambda: self._lose(victim, "does not answer"))
                self.world.after(0.1 + chance.random() * 0.6, lambda: self._wake(victim))
            case "suspect":
                self._lose(victim, "is suspected")
                self.world.after(chance.random() * 0.5, lambda: self._wake(victim))
            case "break link":
                for other in living:
                    if chance.random() < 0.5:
                        self.world.break_link(victim.name, other.name)
                    if chance.random() < 0.5:
                        self.world.break_link(other.name, victim.name)
            case "slow link":
                self.world.slow_links.add((victim.name, chance.choice(living).name))

    def _crash(self, victim: SimulatedWorker) -> None:
        if not victim.alive:
            return
        victim.alive = False
        for other in (*self.workers.values(),):
            if self.world.random.random() < 0.5:
                self.world.break_link(victim.name, other.name)
        self.world.after(self.world.random.random() * 0.05, lambda: self._lose(victim, "was killed"))

    def _lose(self, victim: SimulatedWorker, reason: str) -> None:
        if not victim.declared_lost:
            victim.declared_lost = True
            self._handle(WorkerLost(victim.number, reason, self.world.now))

    def _wake(self, victim: SimulatedWorker) -> None:
        if victim.alive:
            victim.resume()
            self.world.after(self.world.random.random() * 0.1, lambda: self._handle(WorkerBack(victim.number)))

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(self) -> SimulationResult:
        """From the first worker's hello to the job's end."""
        for _ in range(self._faults):
            kind = self.world.random.choice(FAULTS)
            self.world.at(self.world.random.random() * 1.0, lambda k=kind: self._break(k))  # type: ignore[misc]
        self._tick()
        self.world.run(DEADLINE_S, lambda: self._end is not None)
        end = self._end or EndJob("stalled", f"not ended after {DEADLINE_S:g} s: {self._positions()}")
        sinks = {name: store.rows() for name, store in self.targets.items()}
        excused = end.status == "failed" and self._has_excuse(end.error or "")
        expected = self._expected() if end.status == "done" else {}
        story = tuple(self.story.lines)
        return SimulationResult(self.seed, end.status, end.error, sinks, expected, story, self._faults, excused)

    def _tick(self) -> None:
        self._handle(ClockTick())
        if self._end is None:
            self.world.after(0.05, self._tick)

    def _expected(self) -> dict[str, dict[int, list[Any]]]:
        logs: dict[tuple[str, int], list[LogEntry]] = {key: store.entries for key, store in self.logs.items()}
        reference = ReferenceRun(self.plan).replay(logs)
        return {
            name: {tick: rows(batch.values) for tick, batch in ticks if batch.values is not None}
            for name, ticks in reference.items()
        }

    def _has_excuse(self, error: str) -> bool:
        """Whether two or more workers were gone together, or none was left: judged from the world, not by the job."""
        gone = [w for w in self.workers.values() if w.declared_lost]
        return len(gone) >= 2 and ("is lost" in error or "no worker is left" in error or "was lost" in error)

    def _positions(self) -> str:
        return "; ".join(
            f"{w.name}: " + ", ".join(f"{i.operator}#{i.id} τ={i.tau}" for i in w.host.instances.values())
            for w in self.workers.values()
            if w.alive
        )


def simulate(
    query: Query, seed: int, *, workers: int = 3, spares: int = 1, faults: int = 3, settings: Settings | None = None
) -> SimulationResult:
    """Run a query of the user's in a simulated cluster that fails as the seed says; ``result.wrong`` says what broke.

    Sources are read as they are; sinks are simulated, and what they got is in the result. User code must be
    deterministic, as on a real cluster.

    Args:
        query: What runs. Give its sources a ``rate``: faults fall into the first second, and should meet a running job.
        seed: The same seed gives the same history.
        workers: Of the cluster.
        spares: Beside them.
        faults: How many.
        settings: Small ones make more happen; by default ticks of 10 ms, 16 key groups, a checkpoint every 100 ms.
    """
    settings = settings or Settings(tick_ms=10, checkpoint_ms=100, key_groups=16)
    plan = query.plan(workers=workers, settings=settings)
    return Simulation(plan, seed, workers=workers, spares=spares, faults=faults).run()
