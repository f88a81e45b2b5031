"""What can fail in a simulated cluster, and when it does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from elastic.protocol import (
    Align,
    Aligned,
    Copied,
    Copy,
    Cut,
    CutDone,
    Exhausted,
    Fetch,
    Finish,
    Finished,
    Freeze,
    Frozen,
    Join,
    Part,
    SetHolder,
    Start,
    Started,
    Store,
    Stored,
)
from elastic.testing.story import FAULT

if TYPE_CHECKING:
    from elastic.testing.simulator import Simulation
    from elastic.testing.worker import SimulatedWorker

FaultKind: TypeAlias = Literal[
    "crash", "double crash", "hang", "suspect", "break link", "slow link",
    "crash in recovery", "crash in checkpoint", "crash at the end", "scale out", "scale in", "drain",
    "crash in drain", "join", "coordinator crash", "everything killed",
    "stalled code", "stalled target", "pair crash", "pair crash in scaling",
]  # fmt: skip

FAULTS: tuple[FaultKind, ...] = (
    "crash", "crash", "double crash", "hang", "suspect", "break link", "slow link",
    "crash in recovery", "crash in checkpoint", "crash at the end", "scale out", "scale out", "scale in",
    "drain", "crash in drain", "join",
    "coordinator crash", "coordinator crash", "everything killed",
    "stalled code", "stalled target", "pair crash", "pair crash in scaling",
)  # fmt: skip

SOON_S, LATER_S = 0.003, 0.05
"""Whoever is to die around a message may do so before it arrives, or after what follows from it has begun."""


def is_moment(kind: str, message: object) -> bool:
    """Whether a worker that sends a message, or is sent it, is to die around it."""
    match message:
        case Start() | Started():
            return kind in {"crash in recovery", "pair crash in scaling"} and bool(message.cause)  # not at the first
        case Fetch() | Part() | CutDone() | Align() | Aligned() | Join():
            return kind in {"crash in recovery", "pair crash in scaling"}
        case Cut() | Copy() | Copied():
            return kind == "pair crash in scaling"
        case Store() if message.checkpoint.final:
            return kind in {"crash in checkpoint", "crash at the end"}
        case Store() | Stored():
            return kind == "crash in checkpoint"
        case SetHolder():
            return kind == "crash in drain"
        case Exhausted() | Freeze() | Frozen() | Finish() | Finished():
            return kind == "crash at the end"
    return False


@dataclass(frozen=True, slots=True)
class _Armed:
    kind: str
    countdown: int


class Faults:
    """Breaks a simulation: at moments that are drawn in advance, or around messages that matter.

    Args:
        kinds: What may happen; the more often a kind is named, the likelier it is.
    """

    def __init__(self, simulation: Simulation, kinds: tuple[FaultKind, ...]) -> None:
        self._simulation, self._world, self._kinds = simulation, simulation.world, kinds
        self._armed: list[_Armed] = []

    def schedule(self, count: int, within_s: float) -> None:
        """Have so many faults happen in the first ``within_s`` seconds."""
        for _ in range(count):
            kind = self._world.random.choice(self._kinds)
            self._world.at(self._world.random.random() * within_s, lambda k=kind: self._break(k))  # type: ignore[misc]

    def sent(self, message: object, ends: tuple[SimulatedWorker, ...]) -> None:
        """A message is under way between these workers (one, if the other end is the coordinator)."""
        for armed in self._armed:
            if not is_moment(armed.kind, message):
                continue
            self._armed.remove(armed)
            if armed.countdown:
                self._armed.append(_Armed(armed.kind, armed.countdown - 1))
            elif armed.kind == "pair crash in scaling":
                self._crash_pair(armed.kind)
            else:
                self._crash_soon(self._world.random.choice(ends), armed.kind)
            return

    def _crash_soon(self, victim: SimulatedWorker, kind: str) -> None:
        within_s = self._world.random.choice((SOON_S, LATER_S))
        self._world.after(self._world.random.random() * within_s, lambda: self._crash(victim, kind))

    def _break(self, kind: FaultKind) -> None:
        chance, simulation = self._world.random, self._simulation
        living = [w for w in simulation.workers.values() if w.alive and not w.hung and not w.declared_lost]
        if not living:
            return
        victim = chance.choice(living)
        match kind:
            case "crash":
                self._crash(victim, kind)
            case "double crash":
                self._crash(victim, kind)
                others = [w for w in living if w is not victim]
                if others:
                    self._world.after(chance.random() * 0.3, lambda: self._crash(chance.choice(others), kind))
            case "hang":
                self._tell(f"{victim.name} hangs")
                victim.hung = True
                self._world.after(0.05 + chance.random() * 0.1, lambda: simulation.lose(victim, "does not answer"))
                self._world.after(0.1 + chance.random() * 0.6, lambda: simulation.wake(victim))
            case "scale out" | "scale in":
                simulation.scale(chance, -1 if kind == "scale in" else chance.choice((1, 1, 2)))
            case "drain" | "join":
                simulation.drain(victim) if kind == "drain" else simulation.join()
            case "coordinator crash" | "everything killed":
                self._end_coordinator(kind)
            case "stalled code" | "stalled target":
                simulation.stalling.begin(victim, kind)
            case "suspect":
                self._tell(f"{victim.name} is taken for dead")
                simulation.lose(victim, "is suspected")
                self._world.after(chance.random() * 0.5, lambda: simulation.wake(victim))
            case "break link":
                self._break_links(victim, living)
            case "slow link":
                other = chance.choice(living)
                self._tell(f"the link from {victim.name} to {other.name} is slow from now on")
                self._world.slow_links.add((victim.name, other.name))
            case "pair crash":
                self._crash_pair(kind)
            case _:
                self._arm(kind, victim)

    def _arm(self, kind: FaultKind, victim: SimulatedWorker) -> None:
        """Have somebody die around one of the next messages of a kind, which there may have to be a reason for."""
        chance = self._world.random
        within = {"crash in checkpoint": 10, "crash at the end": 20, "pair crash in scaling": 12}
        if kind == "crash in recovery":
            self._crash(victim, kind)
        elif kind == "crash in drain":
            self._simulation.drain(victim)
        elif kind == "pair crash in scaling":
            self._simulation.scale(chance, chance.choice((-1, -1, 1, 2)))
        self._armed.append(_Armed(kind, chance.randrange(within.get(kind, 3))))

    def _crash_pair(self, kind: str) -> None:
        """An instance and its newest copy are gone at once; of those that are being replaced, if there are any."""
        members, running = self._simulation.coordinator.members, self._simulation.coordinator.reconfigurer.running
        changing = [(p, old) for p in running.values() for old in p.olds if members.is_stateful(old)]
        pairs = [(old.worker, old.holder) for _, old in changing]
        pairs += [(place, procedure.at) for procedure, _ in changing for place in procedure.places.values()]
        pairs = pairs or [(record.worker, record.holder) for record in members.of_kind("keyed")]
        if not pairs:
            return
        within_s = self._world.random.choice((SOON_S, LATER_S))
        for victim in [self._simulation.workers[w] for w in self._world.random.choice(pairs) if w is not None]:
            self._world.after(self._world.random.random() * within_s, partial(self._crash, victim, kind))

    def _end_coordinator(self, kind: FaultKind) -> None:
        simulation = self._simulation
        if kind == "coordinator crash":
            self._tell("the coordinator is gone")
            simulation.crash_coordinator(self._world.random)
        elif simulation.can_be_resumed:
            self._tell("everything is killed")
            simulation.kill_everything(self._world.random)

    def _break_links(self, victim: SimulatedWorker, others: list[SimulatedWorker]) -> None:
        for other in others:
            for source, target in ((victim, other), (other, victim)):
                if self._world.random.random() < 0.5:
                    self._tell(f"what is under way from {source.name} to {target.name} is lost")
                    self._world.break_link(source.name, target.name)

    def _crash(self, victim: SimulatedWorker, kind: str) -> None:
        if not victim.alive:
            return
        self._tell(f"{victim.name} is gone ({kind})")
        victim.alive = False
        for other in self._simulation.workers.values():
            if self._world.random.random() < 0.5:
                self._world.break_link(victim.name, other.name)
        self._world.after(self._world.random.random() * 0.05, lambda: self._simulation.lose(victim, "was killed"))

    def _tell(self, text: str) -> None:
        self._world.story.tell(self._world.now, FAULT, text)
