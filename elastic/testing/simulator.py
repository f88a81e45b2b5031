"""A whole job in one process under a virtual clock, broken in ways that a seed decides.

Hosts, instances, source drivers and the coordinator are those of production; only sockets, processes, disks and clocks
are simulated. Whatever happens, the sinks must hold, tick by tick, what the reference run over the same log gives, and
the job must end.
"""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

from elastic.batch import Batch
from elastic.coordinator.events import (
    ClockTick,
    DrainRequested,
    EndJob,
    EndWorker,
    Event,
    Heard,
    Journal,
    Record,
    Recovered,
    ScaleRequested,
    SpawnWorker,
    StopRequested,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.memory import STATE, Facts
from elastic.instance.host import AnyInstance
from elastic.instance.keyed import KeyedInstance
from elastic.plan import Plan, Settings
from elastic.protocol import Send, Started
from elastic.query import Query
from elastic.testing.faults import FAULTS, FaultKind, Faults
from elastic.testing.invariants import InvariantError, Watch
from elastic.testing.measuring import Measuring
from elastic.testing.reference import ReferenceRun
from elastic.testing.stalling import Stalling
from elastic.testing.verdict import Copies, SimulationResult, expected_rows
from elastic.testing.worker import Machine, SimulatedWorker
from elastic.testing.world import CODEC, LogStore, TargetStore, World

TICK_ZERO_S = 1_000_000.0
DEADLINE_S = 60.0
"""A job of seconds of input must have ended after a virtual minute, whatever failed."""

CLOCK_TICK_S = 0.05


class Simulation:
    """One job in one simulated world.

    Args:
        plan: What runs; ``Settings`` with few key groups and short checkpoints make more happen.
        seed: Decides everything.
        workers, spares: Of the cluster.
    """

    def __init__(self, plan: Plan, seed: int, *, workers: int = 3, spares: int = 1) -> None:
        self.world, self.seed = World(seed), seed
        chance = self.world.random
        self.plan = plan = replace(plan, tick_zero_s=TICK_ZERO_S)
        self.machine = Machine(self.world, plan, TICK_ZERO_S, chance.choice((1, 1, 7)), slow_disk=chance.random() < 0.2)
        self.machine.logs = {(name, n): LogStore() for name, o in plan.operators.items() for n in _each(o.partitions)}
        groups = plan.settings.key_groups
        self.machine.targets = {name: TargetStore(groups) for name, o in plan.operators.items() if o.kind == "sink"}
        self._watch = self._make_watch()
        self.stalling = Stalling(self)
        self._codec = CODEC if chance.random() < 0.1 else None
        self._faults: Faults | None = None
        self._cluster = (workers, spares)
        self.workers: dict[int, SimulatedWorker] = {}
        self.coordinator = self._make_coordinator()
        self.is_down = False
        self._journal: Facts | None = None
        self._copies = self._make_copies()
        self._end: EndJob | None = None
        self._measure()
        for _ in range(workers + spares):
            self._spawn()

    # -- what is simulated: another execution model puts its own in their place ---------------------------------------

    def _make_watch(self) -> Watch:
        """Who holds every step against the invariants."""
        return Watch(self.plan, self.machine.logs, self.machine.targets)

    def _make_coordinator(self, facts: Facts | None = None) -> Coordinator:
        """What decides; ``facts`` is what an earlier incarnation has journalled."""
        return Coordinator(self.plan, *self._cluster, facts)

    @property
    def can_be_resumed(self) -> bool:
        """Whether all that the job keeps outlives its processes."""
        return self.plan.settings.disk != "off" and self.plan.settings.checkpoint_ticks > 0

    def runs_user_code(self, instance: AnyInstance) -> bool:
        """Whether an instance may call a function of the user's that does not return."""
        return isinstance(instance, KeyedInstance)

    def _make_copies(self) -> Copies:
        """Who judges the coordinator when it gives up."""
        return Copies(self.plan, self, self.workers, self.machine.checkpoints)

    def _measure(self) -> None:
        """What a policy is to decide by is measured."""
        if (policy := self.plan.settings.scaling) is not None:
            Measuring(self, policy.period_s)

    def _clean_run(self) -> Mapping[str, Sequence[tuple[int, Batch]]]:
        """What each sink gets of all that is logged, without failures."""
        return ReferenceRun(self.plan).replay({key: store.entries for key, store in self.machine.logs.items()})

    # -- messages ------------------------------------------------------------------------------------------------------

    def carry(self, source: SimulatedWorker, command: Send) -> None:
        """A message from worker to worker."""
        target, message = self.workers[command.worker], self._wired(command.message)

        def arrive() -> None:
            self._tell(target.name, f"hears {source.name}:", message)
            target.receive(source.number, message)

        self.world.send(source.name, target.name, arrive)
        self._sent(message, source, target)

    def tell(self, source: SimulatedWorker, message: Any) -> None:
        """A message to the coordinator."""
        message = self._wired(message)
        self.world.send(source.name, "coordinator", lambda: self.handle(Heard(source.number, message)))
        self._sent(message, source)

    def _order(self, command: Send) -> None:
        """A message from the coordinator."""
        target, message = self.workers[command.worker], self._wired(command.message)

        def arrive() -> None:
            self._tell(target.name, "is told:", message)
            target.receive(-1, message)

        self.world.send("coordinator", target.name, arrive)
        self._watch.ordered(message)
        self._sent(message, target)

    def _wired(self, message: Any) -> Any:
        return message if self._codec is None else self._codec.decode(self._codec.encode(message))

    def _sent(self, message: Any, *ends: SimulatedWorker) -> None:
        if self._faults is not None:
            self._faults.sent(message, ends)

    def _tell(self, who: str, *what: Any) -> None:
        self.world.story.tell(self.world.now, who, *what)

    # -- the coordinator -----------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Have the coordinator handle an event, if there is one now, and do what it says."""
        if self.is_down:
            return
        if not isinstance(event, ClockTick):
            self._tell("coordinator", "handles", event)
        if isinstance(event, Heard) and isinstance(event.message, Started):
            self._copies.started(event.message.instance)
        for action in self.coordinator.handle(event, self.world.now):
            match action:
                case Send():
                    self._order(action)
                case SpawnWorker():
                    self.world.after(0.02 + self.world.random.random() * 0.3, self._spawn)
                case EndWorker():
                    ended = self.workers[action.worker]
                    ended.alive, ended.declared_lost = False, True
                case Journal() if action.kind == STATE:
                    self._journal = action.body
                case Journal() if action.kind == "assignment":
                    self.world.story.instances(action.body)
                    self._watch.assigned(self.coordinator.members, action.body["operator"])
                case Record():
                    self._tell("event", action)
                case EndJob():
                    self._tell("event", action)
                    self._end = action

    def _spawn(self, *, extra: bool = False) -> None:
        worker = SimulatedWorker(len(self.workers), self.machine, self, self._watch)
        self.workers[worker.number] = worker
        self._say_hello(worker, extra=extra)

    def _say_hello(self, worker: SimulatedWorker, *, extra: bool = False) -> None:
        hello = WorkerJoined(worker.number, worker.name, extra)
        self.world.send(worker.name, "coordinator", lambda: self.handle(hello))

    def crash_coordinator(self, chance: Random) -> None:
        """The coordinator is gone, with all that was not journalled; after a while another one takes over."""
        if self.is_down:
            return
        self.is_down = True
        for worker in self.workers.values():
            for link in ((worker.name, "coordinator"), ("coordinator", worker.name)):
                if chance.random() < 0.5:
                    self.world.break_link(*link)
        self.world.after(0.01 + chance.random() * 0.4, lambda: self._take_over(resumed=False))

    def kill_everything(self, chance: Random) -> None:
        """No process of the job is left; after a while the job is resumed."""
        self.is_down = True
        for worker in self.workers.values():
            worker.alive, worker.declared_lost = False, True
            self.world.break_link(worker.name, "coordinator")
        self.world.after(0.5 + chance.random() * 0.5, lambda: self._take_over(resumed=True))

    def _take_over(self, *, resumed: bool) -> None:
        """A coordinator begins where the journal ends; workers that never joined say hello again."""
        if not self.is_down:
            return
        facts = None if self._journal is None else json.loads(json.dumps(self._journal))  # as from a file
        self.coordinator, self.is_down = self._make_coordinator(facts), False
        known = {id for id, worker in self.coordinator.members.workers.items() if not worker.lost}
        alive = {w.number for w in self.workers.values() if w.alive and not w.declared_lost}
        starting = frozenset(alive - self.coordinator.members.workers.keys())
        for worker in self.workers.values():  # of others their end is told as soon as somebody hears it
            if not worker.alive and not worker.declared_lost and worker.number in self.coordinator.members.workers:
                worker.declared_lost = True
                self._copies.lost(self._watch)
        if facts is not None:
            self.handle(Recovered(frozenset(alive & known), starting, resumed=resumed))
        for number in sorted(starting):
            self._say_hello(self.workers[number])
        if facts is None and not alive:
            for _ in range(sum(self._cluster)):
                self._spawn()

    def lose(self, victim: SimulatedWorker, reason: str) -> None:
        """The coordinator is told that a worker is dead, which may be wrong."""
        if self.is_down:
            self.world.after(CLOCK_TICK_S, lambda: self.lose(victim, reason))
        elif not victim.declared_lost:
            victim.declared_lost = True
            self._copies.lost(self._watch)
            self.handle(WorkerLost(victim.number, reason, self.world.now))

    def scale(self, chance: Random, more: int) -> None:
        """Some operator is to get so many instances more, or fewer."""
        operator = chance.choice([name for name, o in self.plan.operators.items() if o.kind != "sink"])
        wanted = len(self.coordinator.members.assignment(operator)) + more
        self.handle(ScaleRequested(operator, max(1, wanted)))

    def drain(self, victim: SimulatedWorker) -> None:
        """The worker is to go once nothing depends on it."""
        self.handle(DrainRequested(victim.number))

    def join(self) -> None:
        """Somebody adds a worker."""
        self._spawn(extra=True)

    def wake(self, victim: SimulatedWorker) -> None:
        """A worker that hung, or was taken for dead, goes on; sooner or later that is noticed."""
        if victim.alive:
            victim.resume()
            self.world.after(self.world.random.random() * 0.1, lambda: self._notice(victim))

    def _notice(self, victim: SimulatedWorker) -> None:
        if self.is_down:
            self.world.after(CLOCK_TICK_S, lambda: self._notice(victim))
        else:
            self.handle(WorkerBack(victim.number))

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(
        self, faults: int = 3, kinds: tuple[FaultKind, ...] = FAULTS, *, within_s: float = 1.0,
        stop_at_s: float | None = None,
    ) -> SimulationResult:  # fmt: skip
        """From the first worker's hello to the job's end."""
        self._faults = Faults(self, kinds)
        self._faults.schedule(faults, within_s)
        if stop_at_s is not None:
            self.world.at(stop_at_s, self._stop)
        concerned: str | None = None
        status: str
        try:
            self._tick()
            with _garbage_kept():
                self.world.run(DEADLINE_S, lambda: self._end is not None)
            if self._end is not None:
                status, said = self._end.status, self._end.error
            else:
                concerned, positions = self._positions()
                status, said = "stalled", f"not ended after {DEADLINE_S:g} s: {positions}"
        except InvariantError as error:
            status, said = "broken", str(error)
        except Exception:  # noqa: BLE001 (a bug anywhere is to be told with the seed that finds it)
            status, said = "broken", traceback.format_exc()
        return self._judge(status, said, faults, concerned)

    def _stop(self) -> None:
        if self.is_down:
            self.world.after(CLOCK_TICK_S, self._stop)
        else:
            self.handle(StopRequested())

    def _judge(self, status: str, said: str | None, faults: int, concerned: str | None) -> SimulationResult:
        targets, error = self.machine.targets, said or ""
        sinks = {name: store.rows() for name, store in targets.items()}
        expected = {}
        if status in {"done", "interrupted"}:
            expected = expected_rows(self._clean_run(), targets, stopped=status == "interrupted")
        excused = status == "failed" and self._copies.excuse(error, self._watch)
        named = concerned or next(
            (o for o in reversed(self.plan.operators) if f"{o}#" in error or f" {o} " in error), None
        )
        return SimulationResult(
            self.seed, status, said, sinks, expected, faults, excused, named, self.world.story
        )  # fmt: skip

    def _tick(self) -> None:
        self.world.story.cause = 0
        self.handle(ClockTick())
        if not self.is_down:
            self._copies.check(self.world.now, self._watch)
        if self._end is None:
            self.world.after(CLOCK_TICK_S, self._tick)

    def _positions(self) -> tuple[str | None, str]:
        """The operator that is furthest behind, and where everybody is."""
        living = [w for w in self.workers.values() if w.alive and not w.declared_lost]
        instances = [i for w in living for i in w.host.instances.values()]
        last = min(instances, key=lambda i: i.tau, default=None)
        texts = [
            f"{w.name}: " + ", ".join(f"{i.operator} τ={i.tau}" for i in w.host.instances.values()) for w in living
        ]
        return None if last is None else last.operator, "; ".join(texts)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """No search for garbage: a run keeps its whole history, and looking through it again and again takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _each(items: Sequence[object]) -> range:
    return range(len(items))


def simulate(
    query: Query, seed: int, *, workers: int = 3, spares: int = 1, faults: int = 3,
    kinds: Sequence[FaultKind] = FAULTS, within_s: float = 1.0, stop_at_s: float | None = None,
    settings: Settings | None = None,
) -> SimulationResult:  # fmt: skip
    """Run a query of the user's in a simulated cluster that fails as the seed says; ``result.wrong`` says what broke.

    Sources are read as they are; sinks are simulated, and what they got is in the result. User code must be
    deterministic, as on a real cluster.

    Args:
        query: What runs. Give its sources a ``rate``: faults should meet a running job.
        seed: The same seed gives the same history.
        workers: Of the cluster.
        spares: Beside them.
        faults: How many.
        kinds: Which faults may happen; each as likely as it is named often.
        within_s: Faults fall into the first so many virtual seconds.
        stop_at_s: When the job is stopped, in virtual seconds; None if it runs to its end.
        settings: Small ones make more happen; by default ticks of 10 ms, 16 key groups, a checkpoint every 100 ms.
    """
    settings = settings or Settings(tick_ms=10, checkpoint_ms=100, key_groups=16, stall_after_ms=400)
    plan = query.plan(workers=workers, settings=settings)
    simulation = Simulation(plan, seed, workers=workers, spares=spares)
    return simulation.run(faults, tuple(kinds), within_s=within_s, stop_at_s=stop_at_s)
