"""The coordinator's decisions, event by event."""

from __future__ import annotations

from typing import Any

import pytest

from elastic import Query, sinks, sources
from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    Heard,
    Journal,
    Record,
    Recovered,
    SpawnWorker,
    StopRequested,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.judgement import MAX_DEATHS, MAX_TOLD
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.membership import InstanceRecord
from elastic.coordinator.memory import STATE
from elastic.coordinator.workforce import MAX_FALSE_STARTS
from elastic.plan import Plan, Settings
from elastic.protocol import Cut, CutDone, Hold, Nondeterministic, Retire, Send, SetHolder, Start, Started, View


def plan(**settings: Any) -> Plan:
    query = Query("job")
    query.source(sources.from_list(list(range(10)))).key_by().count().sink(sinks.discard())
    return query.plan(workers=3, settings=Settings(key_groups=12, **settings))


def deployed(spares: int = 1, **settings: Any) -> tuple[Coordinator, list[Any]]:
    coordinator = Coordinator(plan(**settings), 3, spares)
    actions = [a for n in range(3) for a in coordinator.handle(WorkerJoined(n, f"w{n}"), 0.0)]
    starts = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, Start)]
    for start in starts:
        worker = coordinator.members.instances[start.instance].worker
        coordinator.handle(Heard(worker, Started(start.instance, 0, 0)), 0.0)
    for n in range(3, 3 + spares):
        coordinator.handle(WorkerJoined(n, f"w{n}"), 0.0)
    return coordinator, actions


def sent(actions: list[Any], kind: type) -> list[tuple[int, Any]]:
    return [(a.worker, a.message) for a in actions if isinstance(a, Send) and isinstance(a.message, kind)]


def test_nothing_is_deployed_before_all_wanted_workers_have_joined() -> None:
    coordinator = Coordinator(plan(), 3, 1)

    actions = [a for n in range(2) for a in coordinator.handle(WorkerJoined(n, f"w{n}"), 0.0)]

    assert sent(actions, Start) == []


def test_checkpoints_are_held_on_another_worker_than_the_instances_own() -> None:
    _, actions = deployed()

    starts = {m.instance: (worker, m.holder) for worker, m in sent(actions, Start) if m.operator == "count"}
    holds = {m.instance: worker for worker, m in sent(actions, Hold)}

    assert len(starts) == 3
    assert all(worker != holder == holds[id] for id, (worker, holder) in starts.items())


def test_a_lost_worker_has_its_checkpoints_cut_at_their_holder_and_a_spare_takes_over() -> None:
    coordinator, _ = deployed()
    count = next(i for i in coordinator.members.assignment("count") if i.worker == 0)

    actions = coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)

    ((holder, cut),) = sent(actions, Cut)
    assert (holder, cut.instance) == (count.holder, count.id)
    actions = coordinator.handle(Heard(holder, CutDone(cut.reconfigure, 7, lost=False)), 1.1)
    ((worker, start),) = sent(actions, Start)
    assert (worker, start.part_at, start.version) == (3, holder, 2)
    assert {m.version for _, m in sent(actions, View) if m.edge == 1} == {2}


def spawned(actions: list[Any]) -> int:
    return sum(isinstance(action, SpawnWorker) for action in actions)


def test_a_spare_that_takes_over_is_replaced_once_it_has_done_so() -> None:
    coordinator, _ = deployed()
    early = coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)
    cut = next(message for _, message in sent(early, Cut))
    early += coordinator.handle(Heard(1, CutDone(cut.reconfigure, 7, lost=False)), 1.1)

    waiting = [i.id for i in coordinator.members.by_id() if not i.running]
    actions = [a for id in waiting for a in coordinator.handle(Heard(3, Started(id, 7, 0)), 1.2)]

    assert (spawned(early), spawned(actions)) == (0, 1)


def test_where_no_spare_can_take_over_a_worker_starts_at_once() -> None:
    coordinator, _ = deployed(spares=0)

    assert spawned(coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)) == 1


def test_only_instances_with_state_have_a_term_of_their_holders_also_when_they_are_replaced() -> None:
    coordinator, _ = deployed()

    coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)

    instances = coordinator.members.instances.values()
    assert any(i.cause for i in instances if i.operator == "from_list")
    assert {i.operator for i in instances if i.term} == {"count"}


def test_who_was_lost_unseen_is_told_of_as_the_command_saw_it_or_as_lost_with_the_coordinator() -> None:
    before, _ = deployed()
    seen = Recovered(frozenset({2, 3}), ended={0: WorkerLost(0, "killed by SIGKILL", 4.5)})

    actions = before.handle(seen, 5.0)

    failed = {a.worker: (a.cause, a.at_s) for a in actions if isinstance(a, Record) and a.kind == "failed"}
    assert failed == {0: ("killed by SIGKILL", 4.5), 1: ("was lost with the coordinator", 5.0)}


def test_the_same_loss_reported_twice_changes_nothing() -> None:
    coordinator, _ = deployed()
    coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)

    assert coordinator.handle(WorkerLost(0, "does not answer", 1.0), 1.2) == []


def test_a_lost_holder_is_replaced_at_once() -> None:
    coordinator, _ = deployed()
    held_at_1 = [i for i in coordinator.members.assignment("count") if i.holder == 1]

    actions = coordinator.handle(WorkerLost(1, "was killed", 1.0), 1.0)

    told = {m.instance: m.holder for _, m in sent(actions, SetHolder)}
    assert held_at_1
    assert all(told[i.id] not in (1, i.worker, None) for i in held_at_1)


def test_a_worker_that_comes_back_is_ended_only_if_it_was_replaced() -> None:
    coordinator, _ = deployed()

    assert coordinator.handle(WorkerBack(0), 1.0) == []
    coordinator.handle(WorkerLost(0, "does not answer", 1.0), 1.0)
    assert [type(a).__name__ for a in coordinator.handle(WorkerBack(0), 2.0)] == ["Record", "EndWorker"]


def test_a_worker_that_was_lost_before_its_hello_arrived_never_joins() -> None:
    coordinator, _ = deployed()
    coordinator.handle(WorkerLost(9, "was killed", 1.0), 1.0)

    assert coordinator.handle(WorkerJoined(9, "w9"), 1.1) == []
    assert 9 not in coordinator.members.live


def lose_unborn(coordinator: Coordinator, workers: range) -> list[Any]:
    return [a for n in workers for a in coordinator.handle(WorkerLost(n, "was killed", 1.0), 1.0)]


def test_workers_that_end_before_they_join_end_the_job_only_if_none_joins_between() -> None:
    coordinator, _ = deployed()

    actions = lose_unborn(coordinator, range(10, 10 + MAX_FALSE_STARTS))
    coordinator.handle(WorkerJoined(20, "w20"), 1.0)
    actions += lose_unborn(coordinator, range(30, 30 + MAX_FALSE_STARTS))

    assert not [a for a in actions if isinstance(a, EndJob)]
    assert isinstance(lose_unborn(coordinator, range(40, 41))[-1], EndJob)


def test_what_is_told_again_to_another_coordinator_is_not_restored_again() -> None:
    coordinator, _ = deployed()
    coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)
    source = next(i for i in coordinator.members.assignment("from_list") if i.worker == 3)

    first = coordinator.handle(Heard(3, Started(source.id, 5, 0, source.cause)), 1.1)
    again = coordinator.handle(Heard(3, Started(source.id, 9, 0)), 2.0)

    assert [a.kind for a in first if isinstance(a, Record)] == ["restored"]
    assert not [a for a in again if isinstance(a, Record)]


def test_an_instance_that_dies_again_and_again_at_one_tick_ends_the_job() -> None:
    coordinator, _ = deployed()
    ended: list[EndJob] = []
    worker = 3
    coordinator.handle(WorkerLost(0, "was killed", 0.0), 0.0)
    for attempt in range(MAX_DEATHS):
        for procedure in list(coordinator.reconfigurer.running.values()):
            holder = procedure.old.holder
            assert holder is not None
            coordinator.handle(Heard(holder, CutDone(procedure.id, 0, lost=False)), 1.0)
        for record in [i for i in coordinator.members.instances.values() if i.worker == worker]:
            coordinator.handle(Heard(worker, Started(record.id, 0, 0, record.cause)), 1.0)
        coordinator.handle(WorkerJoined(worker + 1, f"w{worker + 1}"), 1.0)
        actions = coordinator.handle(WorkerLost(worker, f"was killed ({attempt})", 1.0), 1.0)
        ended += [a for a in actions if isinstance(a, EndJob)]
        worker += 1
        if ended:
            break

    assert "without getting past tick 0" in str(ended[0].error)


def recovering_in_parts() -> tuple[Coordinator, InstanceRecord, Cut, list[Any]]:
    """An instance was lost, and two parts of its checkpoint are at hand, but not stored yet: what was done then."""
    coordinator, _ = deployed(spares=2, recovery_parts=2)
    lost = next(i for i in coordinator.members.assignment("count") if i.worker == 0)
    lost.fresh, lost.protected = False, True
    actions = coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)
    ((holder, cut),) = [(w, m) for w, m in sent(actions, Cut) if m.instance == lost.id]
    actions = coordinator.handle(Heard(holder, CutDone(cut.reconfigure, 7, lost=False, stored=False)), 1.1)
    return coordinator, lost, cut, actions


def test_parts_are_restored_while_they_are_written_and_take_over_once_they_are_stored() -> None:
    coordinator, lost, cut, actions = recovering_in_parts()
    starts = [(worker, m) for worker, m in sent(actions, Start) if m.operator == "count"]
    assert {m.instance for _, m in starts} == {successor for successor, _ in cut.parts}
    for worker, start in starts:
        coordinator.handle(Heard(worker, Started(start.instance, 7, 5, start.cause)), 1.2)
    assert lost.id in coordinator.members.instances

    actions = coordinator.handle(Heard(lost.holder or 0, CutDone(cut.reconfigure, 7, lost=False)), 1.3)

    assert {m.instance for _, m in sent(actions, View)} >= {successor for successor, _ in cut.parts}
    assert [a.kind for a in actions if isinstance(a, Record)] == ["restored", "restored"]
    assert lost.id not in coordinator.members.instances


def test_parts_that_are_lost_before_they_were_stored_are_cut_anew_for_others() -> None:
    """Whoever has restored one may be ahead of what lies on the disk."""
    coordinator, lost, cut, _ = recovering_in_parts()
    assert lost.holder is not None

    actions = coordinator.handle(WorkerLost(lost.holder, "was killed", 1.2), 1.2)

    first = {successor for successor, _ in cut.parts}
    again = [m for _, m in sent(actions, Cut) if m.instance == lost.id]
    assert len(again) == 1
    assert not first & {successor for successor, _ in again[0].parts}
    assert first <= {m.instance for _, m in sent(actions, Retire)}


def test_where_a_job_goes_on_its_differences_are_told_a_bounded_number_of_times() -> None:
    coordinator, _ = deployed(nondeterminism="warn")

    told = [
        action.cause
        for tick in range(3 * MAX_TOLD)
        for action in coordinator.handle(Heard(1, Nondeterministic("count", tick, "'a'", "1", "2")), 1.0)
        if isinstance(action, Record)
    ]

    assert len(told) == MAX_TOLD + 1
    assert told[-1] == "operator 'count' went on to give other rows than the first time: no more of it is told"


def resumed_from(journalled: list[Any], now_s: float) -> tuple[Coordinator, list[Any]]:
    facts = [a.body for a in journalled if isinstance(a, Journal) and a.kind == STATE][-1]
    coordinator = Coordinator(plan(disk="on"), 3, 1, facts)
    return coordinator, coordinator.handle(Recovered(resumed=True), now_s)


@pytest.mark.parametrize("patient", [False, True])
def test_a_job_that_is_stopped_gets_a_second_to_commit_what_is_complete_or_all_the_time_it_takes(
    *, patient: bool
) -> None:
    coordinator, _ = deployed()
    actions = coordinator.handle(StopRequested(patient=patient), 5.0)
    facts = next(a.body for a in actions if isinstance(a, Journal) and a.kind == STATE)
    successor = Coordinator(plan(), 3, 1, facts)

    assert not any(isinstance(a, EndJob) for a in coordinator.handle(ClockTick(), 5.9))
    for each in (coordinator, successor):
        assert any(isinstance(a, EndJob) for a in each.handle(ClockTick(), 65.0)) is not patient


def test_a_job_that_was_killed_again_before_a_worker_had_come_is_resumed_with_new_workers_all_the_same() -> None:
    coordinator, _ = deployed(disk="on")
    actions = coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0)

    for _ in range(3):  # each time its processes are killed while they start
        _, actions = resumed_from(actions, 2.0)

        assert [type(a) for a in actions].count(SpawnWorker) == 4
        assert not any(isinstance(a, EndJob) for a in actions)


def test_what_was_being_replaced_when_a_job_was_killed_is_not_all_put_on_the_first_worker_that_comes() -> None:
    coordinator, _ = deployed(disk="on")
    _, actions = resumed_from(coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0), 2.0)

    coordinator, _ = resumed_from(actions, now_s=3600.0)
    for worker in (10, 11, 12):
        coordinator.handle(WorkerJoined(worker, f"w{worker}"), 3600.5)

    assert sorted(i.worker for i in coordinator.members.assignment("from_list")) == [10, 11, 12]


def test_workers_that_a_resumed_job_begins_with_have_joined_and_only_a_later_one_is_a_spare() -> None:
    coordinator, _ = deployed(disk="on")
    _, actions = resumed_from(coordinator.handle(WorkerLost(0, "was killed", 1.0), 1.0), 2.0)
    coordinator, _ = resumed_from(actions, now_s=3600.0)

    kinds = {
        action.worker: action.kind
        for worker in (10, 11, 12, 13, 14)
        for action in coordinator.handle(WorkerJoined(worker, f"w{worker}"), 3600.5)
        if isinstance(action, Record) and action.worker == worker and action.kind in {"joined", "spare_started"}
    }

    assert kinds == {10: "joined", 11: "joined", 12: "joined", 13: "joined", 14: "spare_started"}
