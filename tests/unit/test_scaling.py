"""Scaling out: what is refused, what is cut, and when the old instance is replaced."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from elastic import Query, sinks, sources
from elastic.coordinator.events import Heard, Journal, Record, ScaleRequested, SpawnWorker, WorkerJoined, WorkerLost
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.membership import InstanceRecord
from elastic.keys import KeyInterval, tiles
from elastic.plan import Settings
from elastic.protocol import Cut, CutDone, Hold, Release, Retire, Send, SetHolder, Start, Started, View


def job(spares: int = 2, **settings: Any) -> Coordinator:
    """Two workers with ``count`` on both, and spares; everything runs."""
    query = Query("job")
    query.source(sources.from_list(list(range(10)))).key_by().count().sink(sinks.discard())
    chosen = Settings(**{"key_groups": 16, "checkpoint_ms": 100, **settings})
    coordinator = Coordinator(query.plan(workers=2, settings=chosen), 2, spares)
    for worker in range(2 + spares):
        coordinator.handle(WorkerJoined(worker, f"w{worker}"), 0.0)
    for record in list(coordinator.members.instances.values()):
        coordinator.handle(Heard(record.worker, Started(record.id, 0, 0, "")), 0.1)
    return coordinator


def sent(actions: list[object], kind: type) -> list[tuple[int, object]]:
    return [(a.worker, a.message) for a in actions if isinstance(a, Send) and isinstance(a.message, kind)]


def count(coordinator: Coordinator) -> list[InstanceRecord]:
    return coordinator.members.assignment("count")


def cut(coordinator: Coordinator, instances: int = 3) -> tuple[InstanceRecord, Cut, list[object]]:
    """Ask for a scale out, and have the checkpoint cut: the instance, the cut, and what follows from it."""
    actions = coordinator.handle(ScaleRequested("count", instances), 1.0)
    ((holder, message),) = sent(actions, Cut)
    assert isinstance(message, Cut)
    old = next(i for i in count(coordinator) if i.id == message.instance)
    return old, message, coordinator.handle(Heard(holder, CutDone(message.reconfigure, 7, lost=False)), 1.1)


@pytest.mark.parametrize(
    ("operator", "instances", "problem"),
    [
        ("cuont", 3, "there is no operator 'cuont'; this job has from_list, count, discard"),
        ("from_list", 3, "'from_list' is a source: only keyed operators are scaled"),
        ("count", 1, "'count' has 2 instances; a running operator cannot be given fewer"),
        ("count", 5, "5 would need 3 spares; there are 2"),
        ("count", 17, "at most 16 instances, one for each key group"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_reason(operator: str, instances: int, problem: str) -> None:
    coordinator = job()

    assert problem in str(coordinator.scaling.refusal(operator, instances))
    (warning,) = coordinator.handle(ScaleRequested(operator, instances), 1.0)
    assert isinstance(warning, Record)
    assert problem in str(warning.cause)


def test_nothing_is_cut_where_there_are_no_checkpoints() -> None:
    assert "checkpoints are off" in str(job(checkpoint_ms=0).scaling.refusal("count", 3))


def test_the_parts_are_restored_before_anything_else_changes() -> None:
    coordinator = job()
    before = count(coordinator)

    old, message, actions = cut(coordinator)

    starts = sent(actions, Start)
    assert tiles([interval for _, interval in message.parts], old.interval)
    assert [worker for worker, _ in starts] == [old.worker, 2]
    assert all(isinstance(s, Start) and s.views == () and s.part_at == old.holder for _, s in starts)
    assert count(coordinator) == before
    assert sent(actions, Retire) == sent(actions, View) == []


def test_the_last_part_that_is_restored_brings_the_switch() -> None:
    coordinator = job()
    old, message, _ = cut(coordinator)
    (first, _), (second, _) = message.parts

    assert sent(coordinator.handle(Heard(old.worker, Started(first, 7, 5, "")), 1.2), View) == []
    actions = coordinator.handle(Heard(2, Started(second, 7, 5, "")), 1.3)

    assert sent(actions, Retire) == [(old.worker, Retire(1, old.id))]
    assert tiles([i.interval for i in count(coordinator)], KeyInterval(0, 16))
    assert [i.index for i in count(coordinator)] == [0, 1, 2]
    consumers = {m.instance for _, m in sent(actions, View) if isinstance(m, View) and m.edge == 1}
    assert consumers == {i.id for i in coordinator.members.assignment("discard")}
    assert any(isinstance(a, Record) and a.kind == "scaled_out" for a in actions)
    assert any(isinstance(a, Journal) and a.kind == "scaled" for a in actions)
    assert any(isinstance(a, SpawnWorker) for a in actions), "a spare came into use"


@pytest.mark.parametrize("victim", ["holder", "place"])
def test_a_loss_calls_a_scale_out_off_while_the_old_instance_lives_and_it_is_tried_again(victim: str) -> None:
    coordinator = job()
    old, message, _ = cut(coordinator)
    holder = old.holder
    assert holder is not None
    lost = holder if victim == "holder" else 2

    actions = coordinator.handle(WorkerLost(lost, "was killed", 1.2), 1.2)

    assert old in count(coordinator)
    assert (old.worker, SetHolder(1, old.id, old.holder)) in sent(actions, SetHolder)
    assert old.holder not in (lost, None) or victim == "place"
    retired = {m.instance for _, m in sent(actions, Retire) if isinstance(m, Retire)}
    assert message.parts[0][0] in retired
    if victim == "place":
        released = [m.instance for w, m in sent(actions, Release) if isinstance(m, Release)]
        assert released == [id for id, _ in message.parts]
        held = [m.instance for w, m in sent(actions, Hold) if isinstance(m, Hold)]
        assert old.id in held
    assert any(isinstance(a, Journal) and a.kind == "aborted" for a in actions)


def test_an_instance_that_dies_while_it_is_cut_is_replaced_by_its_parts() -> None:
    coordinator = job()
    old, message, _ = cut(coordinator)
    coordinator.handle(Heard(2, Started(message.parts[1][0], 7, 5, "")), 1.2)

    actions = coordinator.handle(WorkerLost(old.worker, "was killed", 1.3), 1.3)

    assert old not in count(coordinator)
    assert message.parts[1][0] in {i.id for i in count(coordinator)}
    (again,) = [m for _, m in sent(actions, Cut) if isinstance(m, Cut) and m.instance == message.parts[0][0]]
    assert again.parts[0][1] == message.parts[0][1], "the part that was on the lost worker is recovered as any instance"


def test_a_checkpoint_that_is_not_known_to_be_stored_is_not_cut() -> None:
    coordinator = job()
    for record in count(coordinator):
        record.fresh = record.protected = False

    assert sent(coordinator.handle(ScaleRequested("count", 3), 1.0), Cut) == []
    for record in count(coordinator):
        record.protected = True
    assert len(sent(coordinator.handle(ScaleRequested("count", 3), 1.1), Cut)) == 1


def test_the_widest_instances_are_cut_first() -> None:
    coordinator = job()

    widths = []
    for wanted in itertools.count(3):
        if coordinator.scaling.refusal("count", wanted) is not None:
            break
        old, message, _ = cut(coordinator, wanted)
        widths.append(old.interval.high - old.interval.low)
        for id, interval in message.parts:
            place = coordinator.reconfigurer.running[message.reconfigure].places[id]
            assert interval.high > interval.low
            coordinator.handle(Heard(place, Started(id, 7, 0, "")), 1.2)

    assert widths == [8, 8]
