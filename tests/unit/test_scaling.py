"""Scaling out: what is refused, what is cut, and when the old instance is replaced."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from elastic import Query, sinks, sources
from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    Heard,
    Journal,
    Record,
    ScaleRequested,
    SpawnWorker,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.membership import InstanceRecord
from elastic.coordinator.placement import JOIN_DEADLINE_S
from elastic.keys import KeyInterval, tiles
from elastic.plan import Settings
from elastic.protocol import (
    Align,
    Aligned,
    AlignRefused,
    Cut,
    CutDone,
    Fenced,
    GroupLoads,
    Hold,
    Join,
    Protected,
    Release,
    Retire,
    Send,
    SetHolder,
    Start,
    Started,
    View,
)


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
        ("from_list", 3, "at most 2 instances, one for each partition: run with more partitions"),
        ("discard", 3, "'discard' is a sink: only keyed operators and sources are scaled"),
        ("count", 0, "'count' needs at least one instance"),
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


def test_what_is_on_its_way_may_be_asked_for_again() -> None:
    coordinator = job(spares=1)
    cut(coordinator)

    assert coordinator.scaling.refusal("count", 3) is None, "though the spare is taken by now"
    assert coordinator.handle(ScaleRequested("count", 3), 2.0) == []


def test_a_job_that_is_still_being_started_is_not_scaled() -> None:
    query = Query("job")
    query.source(sources.from_list([1])).key_by().count().sink(sinks.discard())

    assert "still being started" in str(Coordinator(query.plan(workers=2), 2, 2).scaling.refusal("count", 3))


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
    assert (old.worker, SetHolder(1, old.id, old.holder, old.term)) in sent(actions, SetHolder)
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


def test_the_present_number_calls_off_what_is_under_way() -> None:
    coordinator = job()
    old, message, _ = cut(coordinator)

    actions = coordinator.handle(ScaleRequested("count", 2), 1.2)

    assert {m.instance for _, m in sent(actions, Retire) if isinstance(m, Retire)} == {id for id, _ in message.parts}
    assert old in count(coordinator)
    for event in (Heard(old.worker, Started(message.parts[0][0], 7, 5, "")), ClockTick()):
        assert sent(coordinator.handle(event, 1.3), Cut) == []
    assert len(count(coordinator)) == 2


def test_a_cut_that_has_become_a_recovery_is_undone_afterwards() -> None:
    coordinator = job()
    ((holder, message),) = sent(coordinator.handle(ScaleRequested("count", 3), 1.0), Cut)
    assert isinstance(message, Cut)
    old = next(i for i in count(coordinator) if i.id == message.instance)
    coordinator.handle(WorkerLost(old.worker, "was killed", 1.1), 1.1)

    coordinator.handle(ScaleRequested("count", 2), 1.2)
    coordinator.handle(Heard(holder, CutDone(message.reconfigure, 7, lost=False)), 1.3)
    assert len(count(coordinator)) == 3
    actions: list[object] = []
    for record in count(coordinator):
        record.protected = True
        actions += coordinator.handle(Heard(record.worker, Started(record.id, 7, 5, record.cause)), 1.4)

    assert len(sent(actions, Align)) == 2


def test_an_instance_is_cut_where_its_measured_load_is_halved() -> None:
    coordinator = job()
    first, second = count(coordinator)
    loads = np.array([30, 40, 30, 20, 20, 20, 20, 20], np.float32)
    coordinator.handle(Heard(first.worker, GroupLoads(first.id, loads)), 0.5)
    coordinator.handle(Heard(second.worker, GroupLoads(second.id, loads / np.float32(10))), 0.5)

    old, message, _ = cut(coordinator)

    assert old == first
    assert [interval for _, interval in message.parts] == [KeyInterval(0, 3), KeyInterval(3, 8)]


def test_several_instances_are_cut_at_once_as_their_loads_ask_for() -> None:
    coordinator = job(spares=4)
    for record, load in zip(count(coordinator), (3.0, 1.0), strict=True):
        coordinator.handle(Heard(record.worker, GroupLoads(record.id, np.full(8, load, np.float32))), 0.5)

    cuts = [m for _, m in sent(coordinator.handle(ScaleRequested("count", 6), 1.0), Cut) if isinstance(m, Cut)]

    assert [len(m.parts) for m in cuts] == [4, 2]


def test_parts_start_with_the_load_that_was_measured_of_them_before() -> None:
    coordinator = job()
    (first, _) = count(coordinator)
    loads = np.arange(8, dtype=np.float32)
    coordinator.handle(Heard(first.worker, GroupLoads(first.id, loads)), 0.5)
    first.protected = True
    for other in count(coordinator)[1:]:
        other.protected = other.fresh = False
    _, message, _ = cut(coordinator)
    for id, _ in message.parts:
        place = coordinator.reconfigurer.running[message.reconfigure].places[id]
        coordinator.handle(Heard(place, Started(id, 7, 0, "")), 1.2)

    found = [r.loads for r in count(coordinator) if r.loads is not None]
    assert np.concatenate(found).tolist() == loads.tolist()


# -- sources -----------------------------------------------------------------------------------------------------------


def sources_of(coordinator: Coordinator) -> list[InstanceRecord]:
    return coordinator.members.assignment("from_list")


def test_a_source_scales_out_by_its_partitions_which_go_to_spares_at_once() -> None:
    coordinator = job(partitions=5)
    before = sources_of(coordinator)

    actions = coordinator.handle(ScaleRequested("from_list", 4), 1.0)

    now = sources_of(coordinator)
    assert tiles([r.interval for r in now], KeyInterval(0, 16))
    bounds = {end for r in now for end in r.interval}
    assert bounds <= set(coordinator.plan.bounds("from_list"))
    assert {m.instance for _, m in sent(actions, Retire) if isinstance(m, Retire)} == {r.id for r in before}
    starts = [m for _, m in sent(actions, Start) if isinstance(m, Start)]
    assert {m.instance for m in starts} == {r.id for r in now}
    assert all(m.generation > 1 for m in starts)
    assert {r.worker for r in now} == {0, 1, 2, 3}
    kinds = [type(a.message) for a in actions if isinstance(a, Send)]
    assert kinds.index(Retire) < kinds.index(Start), "a log has one writer"


def test_a_source_scales_in_and_its_partitions_are_read_where_the_first_of_them_were() -> None:
    coordinator = job(partitions=4)
    first, second = sources_of(coordinator)

    actions = coordinator.handle(ScaleRequested("from_list", 1), 1.0)

    (one,) = sources_of(coordinator)
    assert (one.interval, one.worker) == (KeyInterval(0, 16), first.worker)
    assert {m.instance for _, m in sent(actions, Retire) if isinstance(m, Retire)} == {first.id, second.id}
    actions = coordinator.handle(Heard(second.worker, Fenced(second.id)), 1.1)
    assert actions == [], "that it is refused by its log now was to be expected"
    actions = coordinator.handle(Heard(one.worker, Started(one.id, 7, 0, one.cause)), 1.2)
    assert any(isinstance(a, Record) and a.kind == "scaled_in" for a in actions)


# -- scaling in --------------------------------------------------------------------------------------------------------


def aligned(coordinator: Coordinator) -> tuple[list[InstanceRecord], Join]:
    """Ask for one instance instead of two, and have both checkpoint at one tick: they, and the order to join them."""
    olds = count(coordinator)
    for record in olds:
        record.protected = True
    actions = coordinator.handle(ScaleRequested("count", 1), 1.0)
    asked = [m for _, m in sent(actions, Align) if isinstance(m, Align)]
    assert [m.tick for m in asked] == [0, 0]
    for tick, message, record in zip((40, 42), asked, olds, strict=True):
        actions = coordinator.handle(
            Heard(record.worker, AlignRefused(message.reconfigure, message.instance, tick)), 1.1
        )
    again = [m for _, m in sent(actions, Align) if isinstance(m, Align)]
    assert len(again) == 2
    assert again[0].tick == again[1].tick > 42
    for message, record in zip(again, olds, strict=True):
        actions = coordinator.handle(
            Heard(record.worker, Aligned(message.reconfigure, message.instance, message.tick)), 1.2
        )
    ((holder, join),) = sent(actions, Join)
    assert isinstance(join, Join)
    assert holder == join.holder == olds[0].holder
    return olds, join


def two_copies() -> tuple[Coordinator, InstanceRecord, Cut]:
    """A job without a disk that is asked to scale out; what is cut, and the order."""
    coordinator = job(spares=4, copies=2, disk="off")
    for record in count(coordinator):
        coordinator.handle(Heard(record.worker, Protected(record.id, record.holder or 0)), 0.5)
    ((_, message),) = sent(coordinator.handle(ScaleRequested("count", 3), 1.0), Cut)
    assert isinstance(message, Cut)
    return coordinator, next(i for i in count(coordinator) if i.id == message.instance), message


def restored(coordinator: Coordinator, old: InstanceRecord, message: Cut) -> list[object]:
    """The parts are at hand and restored, and then lie on both workers: what follows from that."""
    done = CutDone(message.reconfigure, 7, lost=False, stored=False)
    holder = coordinator.reconfigurer.running[message.reconfigure].at
    assert holder is not None
    for place, start in sent(coordinator.handle(Heard(holder, done), 1.1), Start):
        assert isinstance(start, Start)
        coordinator.handle(Heard(place, Started(start.instance, 7, 5, "")), 1.2)
    assert old in count(coordinator), "the parts lie on one worker alone"
    return coordinator.handle(Heard(holder, CutDone(message.reconfigure, 7, lost=False)), 1.3)


def test_with_two_copies_parts_take_over_once_two_other_workers_have_them() -> None:
    coordinator, old, message = two_copies()
    places = coordinator.reconfigurer.running[message.reconfigure].places
    assert message.second == old.second not in (old.holder, *places.values(), None)

    actions = restored(coordinator, old, message)

    fresh = [i for i in count(coordinator) if i.id in places]
    assert [(i.holder, i.second) for i in fresh] == [(old.holder, message.second)] * 2
    assert (message.second, Release(1, old.id)) in sent(actions, Release)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("part", [0, 1])
def test_a_part_and_its_holder_that_are_lost_at_once_are_replaced_from_the_second_copy(part: int, order: int) -> None:
    coordinator, old, message = two_copies()
    restored(coordinator, old, message)
    found = next(i for i in count(coordinator) if i.id == message.parts[part][0])

    actions: list[object] = []
    for victim in (found.worker, old.holder)[::order]:
        assert victim is not None
        actions += coordinator.handle(WorkerLost(victim, "was killed", 1.4), 1.4)

    assert not any(isinstance(a, EndJob) for a in actions)
    assert message.second in [w for w, m in sent(actions, Cut) if isinstance(m, Cut) and m.instance == found.id]


@pytest.mark.parametrize("victim", ["place", "holder"])
def test_what_is_scaled_in_vain_goes_on_with_its_second_copy_which_nobody_drops(victim: str) -> None:
    coordinator, old, message = two_copies()
    second, place = old.second, coordinator.reconfigurer.running[message.reconfigure].places[message.parts[1][0]]
    lost = place if victim == "place" else old.holder
    assert second is not None
    assert lost is not None

    actions = coordinator.handle(WorkerLost(lost, "was killed", 1.2), 1.2)

    assert (old.holder, old.protected) == (second, True)
    assert (second, Release(1, old.id)) not in sent(actions, Release)
    actions = coordinator.handle(WorkerLost(old.worker, "was killed", 1.3), 1.3)
    assert second in [w for w, m in sent(actions, Cut) if isinstance(m, Cut) and m.instance == old.id]


def test_parts_are_copied_elsewhere_if_the_second_worker_is_lost_and_the_scale_out_goes_on() -> None:
    coordinator, old, message = two_copies()
    assert message.second is not None

    actions = coordinator.handle(WorkerLost(message.second, "was killed", 1.2), 1.2)

    ((holder, again),) = sent(actions, Cut)
    assert isinstance(again, Cut)
    assert (holder, again.reconfigure) == (old.holder, message.reconfigure)
    assert again.second not in (None, message.second, old.holder)
    assert {w for w, m in sent(actions, Hold) if isinstance(m, Hold) and m.instance == message.parts[0][0]} == {
        again.second
    }


def test_a_second_copy_that_is_lost_is_not_made_again_while_the_instance_is_cut() -> None:
    """What was stored there would be acknowledged, and be lost when the parts, which are older, take over."""
    coordinator = job(spares=4, copies=2)
    old, message, _ = cut(coordinator)
    old.second = None  # as after the loss of a worker that has no part in it

    actions = coordinator.handle(WorkerJoined(9, "w9"), 1.3)

    told = {m.instance for _, m in sent(actions, SetHolder) if isinstance(m, SetHolder)}
    assert old.id not in told
    assert message.reconfigure in coordinator.reconfigurer.running


def test_a_second_copy_that_is_lost_calls_a_join_off() -> None:
    coordinator = job(spares=4, copies=2)
    olds, _ = aligned(coordinator)
    second = olds[1].second
    assert second not in (None, *(old.holder for old in olds), *(old.worker for old in olds))

    actions = coordinator.handle(WorkerLost(second, "was killed", 1.3), 1.3)  # type: ignore[arg-type]

    assert any(isinstance(a, Journal) and a.kind == "aborted" for a in actions)
    told = {m.instance for _, m in sent(actions, SetHolder) if isinstance(m, SetHolder)}
    assert told == {old.id for old in olds}


def test_neighbours_checkpoint_at_a_tick_ahead_of_both_and_are_joined_where_the_first_is_held() -> None:
    coordinator = job()
    olds, join = aligned(coordinator)
    assert join.sources == tuple((old.id, old.holder) for old in olds)

    actions = coordinator.handle(Heard(join.holder, CutDone(join.reconfigure, join.tick, lost=False)), 1.3)
    ((place, start),) = sent(actions, Start)
    assert place == olds[0].worker
    assert isinstance(start, Start)
    assert (start.interval, start.part_at, start.views) == (KeyInterval(0, 16), join.holder, ())
    assert count(coordinator) == olds

    actions = coordinator.handle(Heard(place, Started(join.successor, join.tick, 9, "")), 1.4)
    assert [i.id for i in count(coordinator)] == [join.successor]
    assert {m.instance for _, m in sent(actions, Retire) if isinstance(m, Retire)} == {old.id for old in olds}
    assert {m.instance for _, m in sent(actions, Release) if isinstance(m, Release)} == {old.id for old in olds}
    assert any(isinstance(a, Record) and a.kind == "scaled_in" for a in actions)


def test_who_is_past_the_tick_is_asked_for_later_ones_until_the_join_is_called_off_and_begun_again() -> None:
    coordinator = job()
    olds = count(coordinator)
    for record in olds:
        record.protected = True
    coordinator.handle(ScaleRequested("count", 1), 1.0)
    (first,) = coordinator.reconfigurer.running
    for record in olds:
        coordinator.handle(Heard(record.worker, AlignRefused(first, record.id, 40)), 1.1)

    asked, past = [], 99
    while first in coordinator.reconfigurer.running:
        actions = coordinator.handle(Heard(olds[0].worker, AlignRefused(first, olds[0].id, past)), 1.2)
        ticks = {m.tick for _, m in sent(actions, Align) if isinstance(m, Align) and m.reconfigure == first}
        asked += [tick - past for tick in ticks]
        past = max(ticks, default=0)

    assert asked == [21, 41, 81, 161]
    assert {m.instance for _, m in sent(actions, SetHolder) if isinstance(m, SetHolder)} == {old.id for old in olds}
    assert len(sent(actions, Align)) == 2
    assert first not in coordinator.reconfigurer.running


@pytest.mark.parametrize("victim", ["first", "second", "holder of the first", "holder of the second"])
def test_any_loss_calls_a_join_off(victim: str) -> None:
    coordinator = job()
    olds, _ = aligned(coordinator)
    places = [olds[0].worker, olds[1].worker, olds[0].holder, olds[1].holder]
    names = ["first", "second", "holder of the first", "holder of the second"]
    lost = places[names.index(victim)]
    assert lost is not None

    actions = coordinator.handle(WorkerLost(lost, "was killed", 1.3), 1.3)

    assert any(isinstance(a, Journal) and a.kind == "aborted" for a in actions)
    assert tiles([i.interval for i in count(coordinator)], KeyInterval(0, 16))
    told = {m.instance for _, m in sent(actions, SetHolder) if isinstance(m, SetHolder)}
    assert told >= {old.id for old in olds if old.worker != lost}


def test_a_join_that_takes_too_long_is_called_off() -> None:
    coordinator = job()
    aligned(coordinator)

    actions = coordinator.handle(ClockTick(), 1.0 + JOIN_DEADLINE_S + 0.1)

    assert any(isinstance(a, Journal) and a.kind == "aborted" for a in actions)
