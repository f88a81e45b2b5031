"""A job of weeks: whatever is counted per tick, message or checkpoint is also forgotten."""

from __future__ import annotations

import gc
from collections import deque
from types import FunctionType, MethodType, ModuleType

from elastic import Query, sinks, sources
from elastic.plan import Plan, Settings
from elastic.testing.invariants import Watch
from elastic.testing.operators import Fold
from elastic.testing.simulator import Simulation
from elastic.testing.story import Story
from elastic.testing.world import CheckpointDisk, LogStore, TargetStore, World
from elastic.windows import sliding

KEEP_ALL = (World, Story, Watch, LogStore, TargetStore, CheckpointDisk, Plan)
"""The simulated disks, and who watches: they are to remember everything."""


def job() -> Plan:
    """A fold, a count and windows of rows that never end."""
    query = Query("weeks")
    rows = query.source(sources.generator(keys=20, rate="100/s"), name="S").map(lambda row: (row["key"], row["value"]))
    folded = rows.key_by(lambda row: row[0]).apply(Fold(), name="A")
    folded.key_by(lambda row: row[0] % 7).count(emit="50ms", name="C").sink(sinks.discard(), name="K")
    windows = rows.key_by(lambda row: row[0]).window(sliding("150ms", "50ms"))
    windows.sum(lambda row: row[1], name="W").sink(sinks.discard(), name="L")
    return query.plan(workers=2, settings=Settings(tick_ms=10, checkpoint_ms=100, key_groups=4))


def held(simulation: Simulation) -> int:
    """How many things lie in all that coordinator, workers and instances refer to."""
    found, seen = 0, set[int]()
    todo: list[object] = [simulation.coordinator]
    for worker in simulation.workers.values():
        todo += [worker.host, *worker._drivers.values()]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, (*KEEP_ALL, type, ModuleType, FunctionType, MethodType)):
            continue
        seen.add(id(thing))
        if isinstance(thing, list | dict | set | deque):
            found += len(thing)
        todo += gc.get_referents(thing)
    return found


def test_a_job_that_has_run_for_longer_holds_no_more_than_before() -> None:
    simulation = Simulation(job(), 0, workers=2, spares=0)
    simulation._tick()

    def least(begin_s: float) -> int:
        """Within a fifth of a second, since what is under way comes and goes with checkpoints and windows."""
        sizes = []
        for n in range(8):
            simulation.world.run(begin_s + n * 0.025, lambda: False)
            sizes.append(held(simulation))
        return min(sizes)

    before, after = least(0.8), least(2.6)

    assert after < before + 100, f"{before} things became {after} in 180 ticks"
