"""Taking workers out of a job: where their instances and their checkpoints go, and when they end."""

from __future__ import annotations

from typing import Any

import pytest

from elastic.coordinator.draining import SURPLUS_S
from elastic.coordinator.events import (
    ClockTick,
    DrainRequested,
    EndJob,
    EndWorker,
    Heard,
    Record,
    ScaleRequested,
    SpawnWorker,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.membership import InstanceRecord
from elastic.protocol import Cut, CutDone, Hold, Protected, Release, Retire, SetHolder, Start, Started
from tests.unit.test_scaling import count, job, sent


def protected(spares: int = 2, **settings: Any) -> Coordinator:
    """A job whose counters have a checkpoint each."""
    coordinator = job(spares, **settings)
    for record in count(coordinator):
        assert record.holder is not None
        coordinator.handle(Heard(record.worker, Protected(record.id, record.holder)), 0.5)
    return coordinator


def on(coordinator: Coordinator, worker: int) -> list[InstanceRecord]:
    return [r for r in coordinator.members.instances.values() if r.worker == worker]


def moved(coordinator: Coordinator, worker: int) -> list[object]:
    """Drain a worker, and have its counter restored elsewhere; what follows from the last of it."""
    actions = coordinator.handle(DrainRequested(worker), 1.0)
    for record in [r for r in coordinator.members.instances.values() if not r.running]:
        coordinator.handle(Heard(record.worker, Started(record.id, 7, 0, record.cause)), 1.0)
    ((holder, cut),) = sent(actions, Cut)
    assert isinstance(cut, Cut)
    actions = coordinator.handle(Heard(holder, CutDone(cut.reconfigure, 7, lost=False)), 1.1)
    ((place, start),) = sent(actions, Start)
    assert isinstance(start, Start)
    return coordinator.handle(Heard(place, Started(start.instance, 7, 5, start.cause)), 1.2)


def test_what_runs_on_the_worker_moves_to_one_spare_and_the_counter_only_once_it_is_restored() -> None:
    coordinator = protected()
    before = on(coordinator, 0)

    actions = coordinator.handle(DrainRequested(0), 1.0)

    (spare,) = {w for w, m in sent(actions, Start)}
    assert spare in (2, 3)
    assert [r.operator for r in on(coordinator, 0)] == ["count"]
    retired = {m.instance for _, m in sent(actions, Retire) if isinstance(m, Retire)}
    assert retired == {r.id for r in before if r.operator != "count"}
    assert len(sent(actions, Cut)) == 1
    assert not any(isinstance(a, EndWorker) for a in actions)
    assert not any(isinstance(a, SpawnWorker) for a in actions), "a process that starts takes a core of what restores"


def test_the_job_keeps_as_many_workers_as_it_wants_once_all_has_moved() -> None:
    coordinator = protected()

    assert sum(isinstance(a, SpawnWorker) for a in moved(coordinator, 0)) == 1


def test_a_checkpoint_is_kept_until_another_worker_has_a_newer_one_and_then_the_worker_ends() -> None:
    coordinator = protected()

    actions = moved(coordinator, 0)

    other = count(coordinator)[0] if count(coordinator)[0].former == 0 else count(coordinator)[1]
    assert other.former == 0
    assert other.holder not in (0, other.worker, None)
    assert (other.worker, SetHolder(1, other.id, other.holder, other.term)) in sent(actions, SetHolder)
    assert (other.holder, Hold(1, other.id, fresh=False, term=other.term)) in sent(actions, Hold)
    assert not any(isinstance(a, EndWorker) for a in coordinator.handle(ClockTick(), 1.3))

    actions = coordinator.handle(Heard(other.worker, Protected(other.id, other.holder)), 1.4)

    assert (0, Release(1, other.id)) in sent(actions, Release)
    assert EndWorker(0) in actions
    assert any(isinstance(a, Record) and a.kind == "drained" for a in actions)
    assert not any(isinstance(a, EndJob | Record) for a in coordinator.handle(WorkerLost(0, "has exited", 1.5), 1.5))


def test_a_holder_whose_first_checkpoint_was_not_heard_of_yet_is_asked_before_it_counts_as_nothing() -> None:
    coordinator = job(2, disk="off")
    moved(coordinator, 0)
    other = next(r for r in count(coordinator) if r.former == 0)
    holder = other.holder
    assert other.fresh
    assert holder is not None

    ((_, cut),) = sent(coordinator.handle(WorkerLost(other.worker, "was killed", 1.3), 1.3), Cut)
    assert isinstance(cut, Cut)
    actions = coordinator.handle(Heard(holder, CutDone(cut.reconfigure, 0, lost=True)), 1.4)

    assert sent(actions, Cut) == [(0, cut)]


def test_a_new_holder_is_told_that_nothing_stands_for_tick_zero_only_where_there_is_none_before_it() -> None:
    coordinator = job(2)
    actions = moved(coordinator, 0)

    other = next(r for r in count(coordinator) if r.former == 0)

    assert (other.holder, Hold(1, other.id, fresh=False, term=other.term)) in sent(actions, Hold)


def test_an_instance_that_dies_before_its_new_holder_has_anything_is_restored_from_the_one_before() -> None:
    coordinator = protected(disk="off")
    moved(coordinator, 0)
    other = next(r for r in count(coordinator) if r.former == 0)

    ((holder, cut),) = sent(coordinator.handle(WorkerLost(other.worker, "was killed", 1.3), 1.3), Cut)
    assert holder == other.holder
    assert isinstance(cut, Cut)
    actions = coordinator.handle(Heard(holder, CutDone(cut.reconfigure, 0, lost=True)), 1.4)

    assert sent(actions, Cut) == [(0, cut)]
    actions = coordinator.handle(Heard(0, CutDone(cut.reconfigure, 7, lost=False)), 1.5)
    assert any(isinstance(m, Start) and m.part_at == 0 for _, m in sent(actions, Start))


def test_if_the_new_holder_goes_too_the_one_before_is_asked_at_once() -> None:
    coordinator = protected(spares=3, disk="off")
    moved(coordinator, 0)
    other = next(r for r in count(coordinator) if r.former == 0)
    holder = other.holder
    assert holder is not None

    coordinator.handle(WorkerLost(other.worker, "was killed", 1.3), 1.3)
    actions = coordinator.handle(WorkerLost(holder, "was killed", 1.4), 1.4)

    assert not any(isinstance(a, EndJob) for a in actions)
    assert [w for w, m in sent(actions, Cut) if isinstance(m, Cut) and m.instance == other.id] == [0]


def test_a_worker_that_dies_while_it_is_drained_is_recovered_from_like_any_other() -> None:
    coordinator = protected()
    coordinator.handle(DrainRequested(0), 1.0)

    actions = coordinator.handle(WorkerLost(0, "was killed", 1.1), 1.1)

    assert not any(isinstance(a, EndJob) for a in actions)
    assert any(isinstance(a, Record) and a.kind == "detected" for a in actions)


@pytest.mark.parametrize(
    ("worker", "settings", "problem"),
    [
        (9, {}, "there is no worker 9; this job has 0, 1, 2, 3"),
        (0, {"checkpoint_ms": 0}, "worker 0 has keyed state and checkpoints are off"),
    ],
)
def test_what_cannot_be_drained_is_refused_with_the_reason(worker: int, settings: Any, problem: str) -> None:
    coordinator = job(**settings)

    assert problem in str(coordinator.draining.refusal(worker))
    (warning,) = coordinator.handle(DrainRequested(worker), 1.0)
    assert isinstance(warning, Record)
    assert problem in str(warning.cause)


def test_a_spare_without_anything_ends_at_once_and_is_replaced() -> None:
    coordinator = protected(spares=4)

    actions = coordinator.handle(DrainRequested(5), 1.0)

    assert EndWorker(5) in actions
    assert sum(isinstance(a, SpawnWorker) for a in actions) == 1


def test_spares_that_scaling_freed_are_kept_for_a_while_and_then_as_many_as_are_wanted() -> None:
    coordinator = protected(spares=1)
    coordinator.handle(WorkerJoined(7, "w7"), 2.0)

    assert not any(isinstance(a, EndWorker) for a in coordinator.handle(ClockTick(), 2.1))
    actions = coordinator.handle(ClockTick(), 2.1 + SURPLUS_S)

    assert [a.worker for a in actions if isinstance(a, EndWorker)] == [7]
    assert len(coordinator.members.spares) == 1


def test_a_worker_that_somebody_added_stays_and_is_a_spare() -> None:
    coordinator = protected(spares=1)

    coordinator.handle(WorkerJoined(1000, "w1000", extra=True), 2.0)
    coordinator.handle(ClockTick(), 2.1)
    actions = coordinator.handle(ClockTick(), 2.2 + SURPLUS_S)

    assert not any(isinstance(a, EndWorker | SpawnWorker) for a in actions)
    assert 1000 in coordinator.members.spares
    assert coordinator.scaling.refusal("count", 4) is None
    coordinator.handle(ScaleRequested("count", 4), 9.0)
    actions = coordinator.handle(WorkerLost(1000, "was killed", 9.1), 9.1)
    assert not any(isinstance(a, EndJob) for a in actions)
