"""Both models agree: one query over one recorded input log gives the same in every interval, with and without faults.

Queries are the simulator's own: operators of one's own, timers, windows, several inputs, order that matters.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

import dstream.operators
from dstream.local import replay
from dstream.logic import Given
from dstream.model import cut
from dstream.plan import StreamPlan
from dstream.testing.simulator import FAULTS, StreamSimulation
from elastic.batch import Batch, rows
from elastic.connectors.base import LogEntry
from elastic.scenario.models import DStream
from elastic.testing.simulator import Simulation
from elastic.testing.trials import Trial, random_trial

SEEDS = 18
WANTED = {"timers", "panes", "inputs", "two-sources", "diamond"}
"""Operators with timers; windows; several inputs; order that matters."""

Rows = Mapping[str, Mapping[int, list[Any]]]
Logs = Mapping[tuple[str, int], list[LogEntry]]


@dataclass(frozen=True)
class Recorded:
    """A run of the elastic model under faults: its input log, and what its sinks hold, by tick."""

    trial: Trial
    logs: Logs
    sinks: Rows

    tick_zero_s: float

    def cut(self, **section: Any) -> StreamPlan:
        plan = self.trial.query.plan(workers=self.trial.workers, settings=self.trial.settings)
        return cut(replace(plan, tick_zero_s=self.tick_zero_s), self.trial.workers, DStream.model_validate(section))

    @property
    def last(self) -> int:
        """The tick that ended the stream."""
        return max(entries[-1].tick for entries in self.logs.values())


@cache
def recorded(seed: int) -> Recorded:
    trial = random_trial(seed)
    plan = trial.query.plan(workers=trial.workers, settings=trial.settings)
    simulation = Simulation(plan, seed, workers=trial.workers, spares=trial.spares)
    result = simulation.run(trial.faults, FAULTS, within_s=trial.within_s)
    assert result.wrong is None, f"seed {seed}: {result.wrong}"
    logs = {key: list(store.entries) for key, store in simulation.machine.logs.items()}
    return Recorded(trial, logs, result.sinks if result.status == "done" else {}, simulation.plan.tick_zero_s)


def by_interval(sinks: Rows, plan: StreamPlan, through: int) -> dict[tuple[str, int], list[tuple[int, list[Any]]]]:
    """(tick, rows) of each sink and interval that has any, of ticks through one; rows of a tick in one order."""
    found: dict[tuple[str, int], list[tuple[int, list[Any]]]] = {}
    for name, ticks in sinks.items():
        for tick in sorted(tick for tick, there in ticks.items() if there and tick <= through):
            found.setdefault((name, plan.interval_of(tick)), []).append((tick, sorted(ticks[tick], key=repr)))
    return found


def as_rows(found: Mapping[str, list[tuple[int, Batch]]]) -> Rows:
    sinks: dict[str, dict[int, list[Any]]] = {}
    for name, ticks in found.items():
        sinks[name] = {}
        for tick, batch in ticks:
            sinks[name].setdefault(tick, []).extend(rows(batch.values or []))
    return sinks


def resumable(logs: Logs) -> dict[tuple[str, int], list[LogEntry]]:
    """What was read, without what says that the job ended there: whoever runs it again ends a little later."""
    kept = {key: [e for e in entries if e.records or not e.final] for key, entries in logs.items()}
    return {key: [e._replace(final=False) for e in entries] for key, entries in kept.items()}


@pytest.mark.slow
def test_what_faults_left_in_the_elastic_model_is_what_tasks_give_interval_by_interval() -> None:
    """However intervals and tasks are cut, in queries of many kinds."""
    runs = [run for seed in range(SEEDS) if (run := recorded(seed)).sinks]
    chance = random.Random(SEEDS)

    for n, run in enumerate(runs):
        for interval in ("20ms", "50ms", "120ms", "5s")[n % 2 :: 2]:
            plan = run.cut(interval=interval, tasks=chance.randint(1, 9))
            found = as_rows(replay(plan, run.logs))
            assert by_interval(found, plan, run.last) == by_interval(run.sinks, plan, run.last), run.trial

    assert {run.trial.query.name for run in runs} >= WANTED


@pytest.mark.parametrize("seed", range(0, SEEDS, 3))
def test_either_model_under_faults_of_its_own_gives_the_same_over_one_log(seed: int) -> None:
    run = recorded(seed)
    plan = run.cut(interval="50ms", checkpoint=2, tasks=5)
    streams = StreamSimulation(plan, seed + 1000, workers=run.trial.workers, spares=run.trial.spares)
    for key, store in streams.machine.logs.items():
        store.entries[:] = resumable(run.logs)[key]

    result = streams.run(3, FAULTS, within_s=0.3)

    assert result.wrong is None, result.wrong
    if run.sinks and result.status == "done":
        before = run.last - 1  # in the last tick one of them ends, and the other goes on
        assert by_interval(result.sinks, plan, before) == by_interval(run.sinks, plan, before)


def test_an_interval_that_was_processed_as_one_batch_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks_of = dstream.operators.ticks_of

    def at_once(given: Given, numbers: Any) -> dict[int, list[tuple[int, Batch]]]:
        arrived = ticks_of(given, numbers)
        return {given.through: [item for tick in arrived for item in arrived[tick]]} if arrived else {}

    monkeypatch.setattr(dstream.operators, "ticks_of", at_once)
    runs = [recorded(seed) for seed in range(3) if recorded(seed).sinks]
    plans = [run.cut(interval="50ms", tasks=3) for run in runs]

    different = [
        by_interval(as_rows(replay(plan, run.logs)), plan, run.last) != by_interval(run.sinks, plan, run.last)
        for run, plan in zip(runs, plans, strict=True)
    ]

    assert any(different)
