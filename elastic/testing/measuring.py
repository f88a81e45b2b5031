"""What a scaling policy is told of a simulated job: how busy its instances would have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic.coordinator.events import Measured
from elastic.server.loads import Loads
from elastic.wire.control import InstanceStats, WorkerReport

if TYPE_CHECKING:
    from elastic.coordinator.machine import Coordinator
    from elastic.testing.simulator import Simulation

COSTS_S = (0.01, 0.02, 0.05)
"""Time that a record takes while it is dear: a hundred a second are too many for one instance, or for two."""

CHEAP_S = 0.0001


class Measuring:
    """Reports of all workers to whoever is the coordinator, and what the policy makes of them.

    Instances count records as in production, and a policy looks at them through the same figures; the time that
    records take is drawn, since none passes in a simulated step. From some moment on they take next to none, so that
    there is a reason to scale in, too.
    """

    def __init__(self, simulation: Simulation, period_s: float) -> None:
        self._simulation, self._world, self._period_s = simulation, simulation.world, period_s
        chance = self._world.random
        self._cost_s, self._cheap_from_s = chance.choice(COSTS_S), chance.random()
        self._busy_s: dict[int, float] = {}
        self._counted: dict[int, int] = {}
        self._told: Coordinator | None = None
        self._loads: Loads | None = None
        self._world.after(period_s, self._measure)

    def _measure(self) -> None:
        simulation, world = self._simulation, self._world
        if self._told is not simulation.coordinator:  # its shell has begun to measure anew
            self._told = simulation.coordinator
            self._loads = Loads(simulation.plan, self._told.members, self._period_s)
        assert self._loads is not None
        for worker in simulation.workers.values():
            if worker.alive and not worker.hung and not worker.declared_lost:
                stats = tuple(self._stats(id, i.operator, i.records_in) for id, i in worker.host.instances.items())
                self._loads.report(WorkerReport(worker.number, world.now, stats, (), (), (), 0))
        if (loads := self._loads.over(simulation.machine.clock())) is not None:
            simulation.handle(Measured(loads))
        world.after(self._period_s, self._measure)

    def _stats(self, instance: int, operator: str, records: int) -> InstanceStats:
        """Counters of an instance since it started."""
        new = records - self._counted.get(instance, 0)
        cost_s = self._cost_s if self._world.now < self._cheap_from_s else CHEAP_S
        self._counted[instance] = records
        self._busy_s[instance] = busy_s = self._busy_s.get(instance, 0.0) + new * cost_s
        return InstanceStats(instance, operator, records, 0, busy_s, 0)
