"""What does not fail but does not return either: user code, a target. It must be told, with the right name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from elastic.instance.sink import SinkInstance
from elastic.protocol import Stuck
from elastic.testing.invariants import InvariantError
from elastic.testing.story import FAULT

if TYPE_CHECKING:
    from elastic.coordinator.machine import Coordinator
    from elastic.testing.simulator import Simulation
    from elastic.testing.worker import SimulatedWorker

WATCH_S = 0.1
"""So often a watchdog says again what does not return; messages may be lost."""

SEEN_S = 0.5
"""Within this time after a stall has lasted long enough, it must have been told."""


class Stalling:
    """Has things stall in a simulation, and looks whether the coordinator says so."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation, self._world = simulation, simulation.world
        self._after_s = simulation.plan.settings.stall_after_ms / 1000

    def begin(self, victim: SimulatedWorker, kind: Literal["stalled code", "stalled target"]) -> None:
        """Something on the worker, or that it writes to, stalls from now on for a while."""
        (self._stall_code if kind == "stalled code" else self._stall_target)(victim)

    def _stall_code(self, victim: SimulatedWorker) -> None:
        """User code of some instance does not return, and nothing else on its worker gets its turn."""
        chance = self._world.random
        runs_user_code = self._simulation.runs_user_code
        suspects = [i for i in victim.host.instances.values() if runs_user_code(i) and not i.finished]
        if suspects:
            instance = chance.choice(suspects)
            victim.hung = True
            for_s = self._lasts_s()
            self._tell(f"{instance.operator} on {victim.name} does not return from user code for {for_s:.2f} s")
            self._watch(victim, instance.id, "step", self._world.now, lambda: victim.hung)
            self._world.after(for_s, lambda: self._simulation.wake(victim))

    def _stall_target(self, victim: SimulatedWorker) -> None:
        """The target of some sink takes its time over the next commit."""
        sinks = [i for i in victim.host.instances.values() if isinstance(i, SinkInstance) and not i.finished]
        if sinks:
            instance = self._world.random.choice(sinks)
            for_s = self._lasts_s()
            self._tell(f"the target of {instance.operator} on {victim.name} does not return for {for_s:.2f} s")
            victim.stalled_targets[instance.id] = self._world.now + for_s

    def committing(self, victim: SimulatedWorker, instance: int) -> None:
        """A commit has begun on a target that stalls."""
        since_s = self._world.now
        self._watch(victim, instance, "commit", since_s, lambda: victim.commits_since.get(instance) == since_s)

    def _lasts_s(self) -> float:
        return self._after_s + SEEN_S + self._world.random.random()

    def _watch(
        self, victim: SimulatedWorker, instance: int, what: Literal["step", "commit"], since_s: float,
        lasts: Callable[[], bool],
    ) -> None:  # fmt: skip
        """What a worker's watchdog does while something has not returned."""
        coordinator = self._simulation.coordinator

        def look() -> None:
            if not (victim.alive and lasts() and not victim.declared_lost):
                return
            if coordinator is self._simulation.coordinator and not self._simulation.is_down:
                self._check(coordinator, victim, instance, since_s)
            self._simulation.tell(victim, Stuck(victim.number, instance, what, 0, since_s, ("a line",), user=True))
            self._world.after(WATCH_S, look)

        self._world.after(self._after_s, look)

    def _check(self, coordinator: Coordinator, victim: SimulatedWorker, instance: int, since_s: float) -> None:
        record = coordinator.members.instances.get(instance)
        due = self._world.now - since_s >= self._after_s + SEEN_S
        if due and record is not None and record.worker == victim.number and not coordinator.ending.stopping:
            told = coordinator.oversight.stalls.open.get(instance)
            if told is None:
                raise InvariantError(f"{record.operator} has stood still since {since_s:.2f} s, and nobody was told")

    def _tell(self, text: str) -> None:
        self._world.story.tell(self._world.now, FAULT, text)
