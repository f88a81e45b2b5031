"""Simulated jobs under seeded faults: whatever fails, the sinks hold what the clean run over the same log gives."""

from __future__ import annotations

from collections import Counter

import pytest

from elastic.coordinator.events import Record
from elastic.testing import world
from elastic.testing.__main__ import run_seed, wrong_in
from elastic.testing.story import FAULT
from elastic.testing.trials import random_trial
from elastic.testing.verdict import SimulationResult

CHUNK, SEEDS = 20, 1000


def test_simulated_jobs_end_right_whatever_fails() -> None:
    found = [text for seed in range(CHUNK) if (text := wrong_in(seed)) is not None]

    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(CHUNK, SEEDS - 3 * CHUNK, CHUNK))
def test_simulated_jobs_end_right_for_many_seeds(first: int) -> None:
    found = [text for seed in range(first, first + CHUNK) if (text := wrong_in(seed)) is not None]

    assert not found, "\n".join(found)


def test_a_seed_replays_its_history() -> None:
    assert run_seed(3).story == run_seed(3).story


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_whatever_can_go_wrong_does_in_some_of_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """And few of them end with an excuse: a simulator in which nothing happens would find nothing."""
    spills: Counter[str] = Counter()
    original = world.MemorySpill.put

    def put(self: world.MemorySpill, batch: object) -> object:
        spills["put"] += 1
        return original(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(world.MemorySpill, "put", put)
    seeds = range(SEEDS - 3 * CHUNK, SEEDS)
    results = [run_seed(seed) for seed in seeds]

    assert [f"seed {r.seed}: {r.wrong}" for r in results if r.wrong is not None] == []
    assert sum(r.status == "done" for r in results) >= len(results) * 2 / 3
    assert all(r.faults >= 2 for r in results)
    assert all(max(map(max, filter(None, r.expected.values()))) >= 20 for r in results if r.status == "done")
    seen = sum((_kinds(result) for result in results), Counter[str]())
    assert {
        "recovering", "checkpoint_lost", "fenced", "stalled", "scaled_out", "scaled_in", "drained",
        "coordinator_recovered", "job_resumed",
    } <= seen.keys()  # fmt: skip
    assert spills["put"] > 100
    by_policy = sum((_kinds(r) for r in results if random_trial(r.seed).settings.scaling is not None), Counter[str]())
    assert {"scaled_out", "scaled_in"} <= by_policy.keys()


def _kinds(result: SimulationResult) -> Counter[str]:
    """Kinds of events of a job, and how many faults it had."""
    told = [line.what[0] for line in result.history.lines if line.who == "event"]
    faults = sum(line.who == FAULT for line in result.history.lines)
    return Counter({"fault": faults}) + Counter(each.kind for each in told if isinstance(each, Record))


def test_the_seeds_have_every_kind_of_job_and_of_cluster() -> None:
    """At least three operators, two faults and fifty ticks; timers, windows, joins; spills, copies, disks, policies."""
    trials = [random_trial(seed) for seed in range(SEEDS)]

    assert all(t.faults >= 2 and t.within_s * 1000 / t.settings.tick_ms >= 50 for t in trials)
    assert all(len(t.query.plan(workers=1).operators) >= 3 for t in trials[:100])
    jobs = Counter(t.query.name for t in trials)
    assert len(jobs) >= 11
    assert min(jobs.values()) >= SEEDS // 20
    settings = [t.settings for t in trials]
    rare = [
        sum(s.scaling is not None for s in settings),
        sum(s.copies == 2 for s in settings),
        sum(s.disk == "off" for s in settings),
        sum(s.disk != "off" for s in settings),
        sum(s.recovery_parts > 1 for s in settings),
        sum(s.memory_bytes < 1 << 20 for s in settings),
        sum(s.spill_bytes == 0 for s in settings),
        sum(t.stop_at_s is not None for t in trials),
    ]
    assert min(rare) >= SEEDS // 20
