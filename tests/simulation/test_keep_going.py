"""Outputs that fail while the others go on: each holds what lineage says, whatever else fails in the cluster."""

from __future__ import annotations

import random
from operator import add, sub
from typing import Any

import pytest

from dstream import StreamingContext
from dstream.outages import Outage, Outages
from dstream.plan import Kind, StreamPlan
from dstream.scheduler.recovery import Recovery
from dstream.testing.simulator import FAULTS, StreamSimulation
from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import from_list
from elastic.testing.faults import FaultKind
from elastic.testing.verdict import SimulationResult

CHUNK = 10


class Refuses:
    """Raises on some rows."""

    def __init__(self, rows: set[Any]) -> None:
        self.rows = rows

    def __call__(self, row: Any) -> Any:
        if row in self.rows:
            raise ValueError(f"refuses {row}")
        return row


def program(seed: int) -> StreamPlan:
    """Steps that raise at some row: before a window, behind one, behind state, in a function of a merge, or nowhere."""
    chance = random.Random(f"refusals {seed}")
    context = StreamingContext(
        chance.choice(("50ms", "100ms")), workers=3, checkpoint=chance.choice((1, 2, 3)), tasks=2, key_groups=16,
        retries=chance.choice((0, 1)), keep_going=True,
    )  # fmt: skip

    def refusing(rows: list[Any]) -> Refuses:
        return Refuses(set(chance.sample(rows, chance.choice((0, 1, 1, 2)))))

    records = [(n % 7, n) for n in range(150)]
    pairs = context.source(from_list(records, rate=f"{150 / chance.choice((0.6, 1.0)):.0f}/s"), name="S")
    early = pairs.map(refusing(records))
    window = early.reduce_by_key_and_window(add, "300ms", inverse=sub, name="W")
    window.save(DiscardSink(), name="window")
    early.delayed("200ms").join(pairs).save(DiscardSink(), name="late")
    totals = pairs.running_reduce(add, name="T")
    totals.save(DiscardSink(), name="totals")
    values = refusing([7 * k + n for k in range(20) for n in range(7)])
    changed = pairs.map_values(values).running_reduce(max, name="M")
    changed.map(refusing([(n, 7 * k + n) for k in range(4, 20) for n in range(7)])).save(DiscardSink(), name="changed")
    changed.union(window).save(DiscardSink(), name="both")
    pairs.save(DiscardSink(), name="all")
    return context.plan()


def run(seed: int, faults: int = 3, kinds: tuple[FaultKind, ...] = FAULTS) -> SimulationResult:
    simulation = StreamSimulation(program(seed), seed, workers=3, spares=1)
    return simulation.run(faults, kinds, within_s=1.2)


def wrong(results: list[SimulationResult]) -> list[str]:
    return [f"seed {r.seed}: {r.wrong}" for r in results if r.wrong is not None]


def test_every_output_ends_with_all_intervals_before_the_first_that_it_cannot_have() -> None:
    results = [run(seed, faults=0) for seed in range(8)]

    assert wrong(results) == []
    assert sum("outputs failed, the others have everything" in (r.error or "") for r in results) >= 5


def test_outputs_end_right_whatever_fails_in_the_cluster() -> None:
    assert wrong([run(seed) for seed in range(100, 108)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", range(200, 250, CHUNK))
def test_outputs_end_right_for_many_seeds(first: int) -> None:
    assert wrong([run(seed) for seed in range(first, first + CHUNK)]) == []


@pytest.mark.slow
def test_the_simulator_finds_that_an_output_which_could_go_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Recovery._give_up

    def blame_all(self: Recovery, name: Any, message: Any) -> Any:
        return original(self, name, type(message)(*[getattr(message, f) for f in message.__slots__[:5]], None))

    monkeypatch.setattr(Recovery, "_give_up", blame_all)

    assert wrong([run(seed, faults=0) for seed in range(6)]) != []


def test_what_nobody_needs_any_more_is_not_computed_and_the_rest_is() -> None:
    plan = program(0)
    stages = {stage.operator: stage for stage in plan.stages if stage.kind is not Kind.TASK}
    outages = Outages(plan)
    source = stages["S"]
    (channel,) = {i.channel for i in stages["T"].inputs}

    failed = outages.add(Outage(source.id, channel, 4, "no"))

    assert [(f.output, f.interval) for f in failed] == [("totals", 4)]
    assert outages.until[stages["T"].id] == 3
    assert not outages.all_failed
