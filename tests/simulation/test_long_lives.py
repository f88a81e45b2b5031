"""A job of weeks: whatever is counted per tick, message or checkpoint is also forgotten."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from types import FunctionType, MethodType, ModuleType
from typing import Any

import pytest

from elastic import Context, Operator, Query, ValueState, sinks, sources
from elastic.plan import Plan, Settings
from elastic.testing.invariants import Watch
from elastic.testing.operators import Fold
from elastic.testing.simulator import Simulation
from elastic.testing.story import Story
from elastic.testing.verdict import Copies
from elastic.testing.world import CheckpointDisk, LogStore, TargetStore, World
from elastic.windows import sliding

KEEP_ALL = (World, Story, Watch, LogStore, TargetStore, CheckpointDisk, Plan)
"""The simulated disks, and who watches: they are to remember everything."""


class Passing(Operator):
    """Keeps something of a key, and forgets it at once."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        state.set(value)
        state.clear()


def unprotected() -> Plan:
    """A job without checkpoints, of ever other keys that it does not keep."""
    query = Query("weeks")
    rows = query.source(sources.generator(keys=1 << 30, distribution="uniform", rate="200/s"), name="S")
    rows.key_by(lambda row: row["key"]).apply(Passing(), name="A").sink(sinks.discard(), name="K")
    return query.plan(workers=2, settings=Settings(tick_ms=10, checkpoint_ms=0, key_groups=4))


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


@pytest.mark.parametrize("plan", [job, unprotected], ids=lambda plan: plan.__name__)
def test_a_job_that_has_run_for_longer_holds_no_more_than_before(
    plan: Callable[[], Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Copies, "check", lambda *_: None)  # without checkpoints there are none
    simulation = Simulation(plan(), 0, workers=2, spares=0)
    simulation._tick()

    def least(begin_s: float) -> int:
        """Within half a second, since what is under way comes and goes with checkpoints and acknowledgements."""
        sizes = []
        for n in range(8):
            simulation.world.run(begin_s + n * 0.07, lambda: False)
            sizes.append(held(simulation))
        return min(sizes)

    before, after = least(0.8), least(2.4)

    assert after < before + 100, f"{before} things became {after} in 160 ticks"
