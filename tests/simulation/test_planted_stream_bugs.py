"""Bugs that are planted into the D-Streams scheduler and its workers, and must be found by the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dstream.protocol import Account, Unguard
from dstream.scheduler import copies, guarding, ledger, memory, retention, stillness, succession
from dstream.testing.simulator import simulate
from dstream.worker import host
from elastic import Query
from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import from_list
from elastic.coordinator.ending import Ending
from elastic.plan import Settings
from elastic.protocol import Send
from elastic.scenario.models import DStream
from elastic.testing.faults import FaultKind
from elastic.testing.trials import random_trial

Plant = Callable[[pytest.MonkeyPatch], None]


def order_before_all_have_answered(patch: pytest.MonkeyPatch) -> None:
    """A new scheduler takes what nobody has told it of yet for lost, and positions for where it began."""
    patch.setattr(succession.Succession, "heard", lambda self, worker, _: self.waiting.discard(worker) or [])


def take_the_last_order_for_done(patch: pytest.MonkeyPatch) -> None:
    """A sink's account tells what it was given, not what its target holds."""

    def account(blocks: Any, states: Any, sinks: Any, *rest: Any) -> Account:
        return Account(blocks, states, tuple((id, 1 << 20, given) for id, _, given in sinks), *rest)

    patch.setattr(host, "Account", account)


def safe_when_done(patch: pytest.MonkeyPatch) -> None:
    """What is safe is journalled as if state were kept after every interval."""
    original = memory.facts_of

    def facts_of(known: ledger.Ledger, ending: Ending) -> Any:
        facts = original(known, ending)
        return {**facts, "safe": facts["done"] // known.plan.checkpoint_intervals * known.plan.checkpoint_intervals}

    patch.setattr("dstream.scheduler.machine.facts_of", facts_of)


def trim_what_is_complete(patch: pytest.MonkeyPatch) -> None:
    """The input log is trimmed through the last complete interval, as if nothing complete could be lost."""
    original = retention.Retention.advance

    def advance(self: retention.Retention) -> list[object]:
        plan, done = self._ledger.plan, self._ledger.progress.done
        sent = [action for action in original(self) if isinstance(action, Send)]
        return [Send(a.worker, replace(a.message, safe_tick=plan.last_tick(done))) for a in sent]

    patch.setattr(retention.Retention, "advance", advance)


def leave_orders_as_they_are(patch: pytest.MonkeyPatch) -> None:
    """Blocks that a lost worker was to read stay ordered."""
    patch.setattr(ledger.Ledger, "untell", lambda *_: None)


def leave_lost_copies_as_they_are(patch: pytest.MonkeyPatch) -> None:
    """Where a worker is lost that kept copies of others' state, no other one keeps them."""
    patch.setattr(guarding.Guarding, "guard", lambda _: [])


def drop_copies_too_early(patch: pytest.MonkeyPatch) -> None:
    """Those who keep copies of others' state drop them at once when more becomes safe."""

    def released(self: guarding.Guarding, held: ledger.Held) -> list[object]:
        keepers = copies.holders(held.record)
        return [Send(w, Unguard(self._ledger.epoch, held.stage.id, held.partition)) for w in keepers]

    patch.setattr(guarding.Guarding, "_released", released)


def overlook_targets(patch: pytest.MonkeyPatch) -> None:
    """Nobody is told of a target that does not return."""
    original = stillness.Stillness._stuck

    def stuck(self: stillness.Stillness, now_s: float) -> Any:
        return [(key, stall) for key, stall in original(self, now_s) if stall.what != "sink"]

    patch.setattr(stillness.Stillness, "_stuck", stuck)


CRASHES: tuple[FaultKind, ...] = ("crash", "double crash", "crash in recovery")
SUCCESSIONS: tuple[FaultKind, ...] = ("coordinator crash", "coordinator crash", "crash")
KILLS: tuple[FaultKind, ...] = ("everything killed", "crash")
STALLS: tuple[FaultKind, ...] = ("stalled code", "stalled target", "crash")

PLANTED: list[tuple[Plant, tuple[FaultKind, ...], int]] = [
    (order_before_all_have_answered, SUCCESSIONS, 0),
    (take_the_last_order_for_done, SUCCESSIONS, 28),
    (safe_when_done, KILLS, 2),
    (trim_what_is_complete, CRASHES, 1),
    (leave_orders_as_they_are, CRASHES, 1),
    (overlook_targets, STALLS, 0),
]
"""Each with the faults that concern it, and a seed to begin with, so that it is found soon."""

SEEDS = 60


def is_found(seed: int, kinds: tuple[FaultKind, ...]) -> bool:
    """Whether the seed's job ends other than it should."""
    trial = random_trial(seed)
    section = DStream.model_validate({"interval": "50ms", "checkpoint": 1 + seed % 4, "tasks": 5})
    result = simulate(
        trial.query, seed, workers=trial.workers, faults=4, kinds=kinds, within_s=trial.within_s,
        settings=trial.settings, dstream=section,
    )  # fmt: skip
    return result.wrong is not None


def is_found_without_disk(seed: int) -> bool:
    """The same of a job that goes on for long after workers were lost."""
    query = Query("long")
    numbers = query.source(from_list([n % 9 for n in range(300)], rate="100/s"))
    numbers.key_by().count(emit="50ms").sink(DiscardSink())
    settings = Settings(key_groups=16, disk="off")
    section = DStream.model_validate({"interval": "50ms", "checkpoint": 2, "tasks": 3})
    result = simulate(
        query, seed, faults=2, kinds=("crash", "crash in recovery"), within_s=1.5, settings=settings, dstream=section
    )
    return result.wrong is not None


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "kinds", "first"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_the_simulator_finds_a_bug_planted_into_the_scheduler(
    plant: Plant, kinds: tuple[FaultKind, ...], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    assert any(is_found(seed, kinds) for seed in (*range(first, SEEDS), *range(first)))


@pytest.mark.slow
def test_without_a_planted_bug_state_is_lost_only_with_all_that_had_it() -> None:
    assert not any(is_found_without_disk(seed) for seed in range(8))


@pytest.mark.parametrize("plant", [leave_lost_copies_as_they_are, drop_copies_too_early])
def test_the_simulator_finds_that_copies_of_state_are_missing(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert any(is_found_without_disk(seed) for seed in range(20))


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [CRASHES, SUCCESSIONS, KILLS, STALLS], ids=lambda kinds: kinds[0])
def test_without_a_planted_bug_nothing_is_found_in_jobs_in_intervals(kinds: tuple[FaultKind, ...]) -> None:
    assert not any(is_found(seed, kinds) for seed in range(3))
