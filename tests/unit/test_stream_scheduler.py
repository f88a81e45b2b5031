"""The D-Streams scheduler's decisions, event by event."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from operator import add
from typing import Any, Literal

from dstream import StreamingContext
from dstream.blocks import BlockStore, Name
from dstream.model import cut
from dstream.plan import Kind
from dstream.protocol import Account, Advance, Committed, Guard, Kept, Place, Sealed, StateMissing, TaskDone
from dstream.scheduler.copies import DISK, holders
from dstream.scheduler.ledger import OPEN_AT_ONCE, Held
from dstream.scheduler.lineage import Lineage
from dstream.scheduler.machine import Scheduler
from dstream.scheduler.memory import facts_of
from dstream.testing.simulator import MemorySpill
from dstream.worker.receiver import Receiver
from elastic import Query, sinks, sources
from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    Heard,
    Journal,
    Record,
    Recovered,
    SpawnWorker,
    Told,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.memory import STATE
from elastic.plan import Settings
from elastic.protocol import Finish, Noticed, Retire, Send, Start, Started
from elastic.scenario.models import DStream


def deployed(workers: int = 3, disk: Literal["on", "off"] = "on") -> Scheduler:
    query = Query("job")
    query.source(sources.from_list(range(10))).key_by().count().sink(sinks.discard())
    plan = cut(query.plan(workers=workers, settings=Settings(disk=disk)), workers, DStream())
    scheduler = Scheduler(plan, workers, 0)
    for number in range(workers):
        scheduler.handle(WorkerJoined(number, f"w{number}"), 0.0)
    say_started(scheduler)
    return scheduler


def say_started(scheduler: Scheduler) -> None:
    for record in list(scheduler.members.instances.values()):
        scheduler.handle(Heard(record.worker, Started(record.id, 0, 0)), 0.1)


def sent(actions: list[Any], kind: type) -> list[tuple[int, Any]]:
    return [(a.worker, a.message) for a in actions if isinstance(a, Send) and isinstance(a.message, kind)]


def test_what_a_lost_worker_held_goes_to_all_others() -> None:
    scheduler = deployed()

    actions = scheduler.handle(WorkerLost(2, "was killed", 1.0), 1.0)

    assert {worker for worker, _ in sent(actions, Place)} == {0, 1}
    assert any(isinstance(a, SpawnWorker) for a in actions)


def test_when_all_workers_are_lost_nothing_is_placed_before_as_many_as_are_wanted_have_come() -> None:
    scheduler = deployed()
    for number in range(3):
        scheduler.handle(WorkerLost(number, "was killed", 1.0), 1.0)

    early = [a for n in (3, 4) for a in scheduler.handle(WorkerJoined(n, f"w{n}"), 1.1)]
    actions = scheduler.handle(WorkerJoined(5, "w5"), 1.2)

    assert sent(early, Place) == sent(early, Start) == []
    assert {worker for worker, _ in sent(actions, Place)} == {3, 4, 5}


def test_workers_that_come_late_get_their_share_of_what_is_crowded_on_the_others_once_an_interval_is_safe() -> None:
    scheduler = deployed()
    for number in (1, 2):
        scheduler.handle(WorkerLost(number, "was killed", 1.0), 1.0)
    say_started(scheduler)
    for number in (3, 4):
        scheduler.handle(WorkerJoined(number, f"w{number}"), 1.1)
    before = scheduler.handle(ClockTick(), 1.2)
    scheduler.ledger.progress.safe = 10

    actions = scheduler.handle(ClockTick(), 1.3)

    assert sent(before, Retire) == []
    assert {worker for worker, _ in sent(actions, Retire)} == {0}
    states = Counter(held.record.worker for held in scheduler.ledger.held.values() if held.stage.operator == "count")
    assert states.keys() == {0, 3, 4}
    assert max(states.values()) - min(states.values()) <= 2
    assert sent(scheduler.handle(ClockTick(), 1.4), Retire) == []


def held(scheduler: Scheduler) -> list[Held]:
    return scheduler.ledger.of_kind(Kind.STATE)


def say_kept(scheduler: Scheduler, version: int) -> list[Any]:
    """All have a version that should, in memory and on the disk."""
    actions: list[Any] = []
    for each in held(scheduler):
        for worker, on_disk in [(each.record.worker, True), *((w, False) for w in holders(each.record))]:
            kept = Kept(each.record.id, each.stage.id, each.partition, version, 8, on_disk=on_disk)
            actions += scheduler.handle(Heard(worker, kept), 0.5)
    return actions


def test_copies_of_what_one_worker_holds_are_kept_by_all_others_and_never_by_itself() -> None:
    scheduler = deployed(4)

    for worker in range(4):
        mine = [each.record for each in held(scheduler) if each.record.worker == worker]
        assert sorted(record.holder or 0 for record in mine) == [w for w in range(4) if w != worker]
        assert {record.second for record in mine} == {None}


def test_lost_state_goes_to_where_its_copies_are_and_others_keep_copies_from_then_on() -> None:
    scheduler = deployed(4)
    say_kept(scheduler, 10)
    scheduler.ledger.progress.safe = scheduler.ledger.progress.done = 10
    before = {each.partition: each.record.holder for each in held(scheduler) if each.record.worker == 2}

    actions = scheduler.handle(WorkerLost(2, "was killed", 1.0), 1.0)

    placed = {message.partition: (worker, message) for worker, message in sent(actions, Place)}
    assert {partition: worker for partition, (worker, _) in placed.items()} == before
    assert all(message.at == 10 and message.copies == (worker,) for worker, message in placed.values())
    assert all(worker not in message.holders and len(message.holders) == 1 for worker, message in placed.values())
    guarded = {message.instance: message.holders for _, message in sent(actions, Guard)}
    records = {each.record.id: each.record for each in held(scheduler)}
    assert all(2 not in holders(record) for record in records.values())
    assert {id: holders(records[id]) for id in guarded} == guarded


def test_what_sinks_alone_read_is_kept_until_they_have_committed_it_and_what_state_reads_until_it_is_safe() -> None:
    scheduler = deployed(2)
    ledger = scheduler.ledger
    source, count, sink = (stage.id for stage in ledger.plan.stages)
    ledger.progress.done = 7  # none of which is safe: the first version comes after ten

    for record in ledger.members.of_kind("sink"):
        actions = scheduler.handle(Heard(record.worker, Committed(record.id, ledger.plan.last_tick(6))), 0.5)

    (drop,) = {message.drop for _, message in sent(actions, Advance)}
    assert (drop[source], drop[count], drop[sink]) == (0, 6, 6)


def test_a_checkpoint_is_told_of_once_it_is_wherever_it_should_be() -> None:
    scheduler = deployed(2)
    first = held(scheduler)[0]
    holder = first.record.holder
    assert holder is not None
    on_disk = Kept(first.record.id, first.stage.id, first.partition, 10, 8, on_disk=True)

    early = scheduler.handle(Heard(first.record.worker, on_disk), 0.5)
    actions = scheduler.handle(Heard(holder, replace(on_disk, on_disk=False)), 0.6)
    again = scheduler.handle(Heard(holder, replace(on_disk, on_disk=False)), 0.7)

    assert [a.kind for a in [*early, *again] if isinstance(a, Told)] == []
    assert [a.body["bytes"] for a in actions if isinstance(a, Told)] == [8]


def test_a_version_is_safe_only_once_all_state_has_it_in_every_place() -> None:
    scheduler = deployed(2)
    ledger = scheduler.ledger
    for each in held(scheduler):
        ledger.copies.kept((each.stage.id, each.partition), DISK, 10)

    on_disk_alone = ledger.stored()
    say_kept(scheduler, 10)

    assert (on_disk_alone, ledger.stored()) == (set(), {10})


def test_a_checkpoint_takes_from_when_it_is_cut_until_it_is_stored() -> None:
    scheduler = deployed(1)
    first = held(scheduler)[0]
    task = TaskDone(first.stage.id, 10, first.partition, 1, first.record.id, 0.1, 3, 3)
    scheduler.handle(Heard(0, task), 2.0)

    kept = Kept(first.record.id, first.stage.id, first.partition, 10, 8, on_disk=True)
    (told,) = [a for a in scheduler.handle(Heard(0, kept), 2.5) if isinstance(a, Told)]

    assert told.body == {"instance": first.record.id, "bytes": 8, "took_s": 0.5}


def test_state_that_nobody_has_ends_the_job_where_there_is_no_disk() -> None:
    scheduler = deployed(2, disk="off")
    say_kept(scheduler, 10)
    for each in held(scheduler):
        scheduler.ledger.copies.kept((each.stage.id, each.partition), each.record.worker, 10)
    scheduler.ledger.progress.safe = scheduler.ledger.progress.done = 10

    fine = scheduler.handle(WorkerLost(1, "was killed", 1.0), 1.0)
    scheduler.handle(WorkerLost(0, "was killed", 1.1), 1.1)
    for number in (2, 3):
        actions = scheduler.handle(WorkerJoined(number, f"w{number}"), 1.2)
    asked = sent(actions, Place)
    actions = scheduler.handle(Heard(asked[0][0], StateMissing(asked[0][1].instance, (2, 3))), 1.3)

    assert {message.copies for _, message in asked} == {(2, 3)}
    assert {message.copies for _, message in sent(fine, Place)} == {(0,)}
    assert any(isinstance(a, Record) and a.kind == "warning" for a in fine)
    (end,) = [a for a in actions if isinstance(a, EndJob)][:1]
    assert end.failure == "state_lost"
    assert 'keep state on the disk, too, or in more places ("disk: on", "copies: 2")' in str(end.error)


def test_a_sink_that_comes_back_and_finds_everything_in_its_target_has_finished() -> None:
    scheduler = deployed()
    scheduler.members.finish = (1000, True)

    actions = [
        action
        for sink in scheduler.members.of_kind("sink")
        for action in scheduler.handle(Heard(sink.worker, Started(sink.id, 1000, 0)), 1.0)
    ]

    assert [a.status for a in actions if isinstance(a, EndJob)] == ["done"]


def test_however_many_intervals_wait_only_some_of_them_have_tasks_at_once() -> None:
    scheduler = deployed(1)
    sources = scheduler.members.of_kind("source")
    tasks = scheduler._ledger.lineage.tasks

    for interval in range(1, 1001):
        for source in sources:
            message = Sealed(source.id, interval, 100 * interval, 1, 8, final=False, kept=True)
            scheduler.handle(Heard(source.worker, message), float(interval))

    assert {name.interval for name in tasks} == set(range(1, OPEN_AT_ONCE + 1))
    assert len(scheduler._ledger.progress.intervals) == 1000
    for name in [name for name in tasks if name.interval == 1]:
        held = scheduler._ledger.held[name.stage, name.partition].record
        done = TaskDone(name.stage, 1, name.partition, 1, held.id, 0.0, 1, 1)
        actions = scheduler.handle(Heard(held.worker, done), 1000.0)
    assert [a.body["records"] for a in actions if isinstance(a, Told)] == [len(sources)]
    assert {name.interval for name in tasks} == set(range(2, OPEN_AT_ONCE + 2))


def test_what_nobody_reads_any_more_is_not_computed_again_but_state_is_advanced_all_the_same() -> None:
    context = StreamingContext("100ms", workers=1, tasks=1)
    pairs = context.source(sources.from_list([(1, 1)]), name="numbers")
    pairs.reduce_by_key(add).save(sinks.discard())
    pairs.running_reduce(add, name="total").save(sinks.discard())
    lineage = Lineage(context.plan())
    stages = {stage.kind: stage.id for stage in lineage.plan.stages}
    wanted = [Name(stages[kind], n, 0) for kind in (Kind.SOURCE, Kind.TASK, Kind.STATE) for n in (2, 3)]
    for name in wanted:
        lineage.want(name, again=True)
    first = lineage.want(Name(stages[Kind.TASK], 1, 0))

    lineage.drop_tasks([2] * len(lineage.plan.stages))

    left = [name for name in wanted if name.interval == 3 or name.stage == stages[Kind.STATE]]
    assert list(lineage.tasks) == [*left, first.name]


def test_a_scheduler_that_takes_over_hears_what_sources_have_closed_whose_predecessors_told_another_one() -> None:
    before = deployed()
    facts = json.loads(json.dumps(facts_of(before.ledger, before.ending)))
    after = Scheduler(before.ledger.plan, 3, 0, facts)
    after.handle(Recovered(frozenset({0, 1, 2}), frozenset(), resumed=False), 5.0)
    sources = after.members.of_kind("source")
    for worker in range(3):
        closed = tuple((source.id, 4 + source.index) for source in sources if source.worker == worker)
        here = tuple(record.id for record in after.members.instances.values() if record.worker == worker)
        after.handle(Heard(worker, Account((), (), (), closed, (), (), (), here)), 5.0)

    assert [after.ledger.closed[0, source.index] for source in sources] == [4, 5, 6]
    assert {name.interval for name in after.ledger.lineage.tasks if name.stage == 0} == set(range(1, 7))


def test_a_source_that_begins_at_the_end_of_the_stream_has_closed_the_interval_that_was_cut_short() -> None:
    plan = deployed().ledger.plan
    interval = plan.partition_interval("from_list", 0)
    start = Start(1, 7, "from_list", 0, interval, 1, 1, None, None, (), Finish(1, 7, 150, final=True), "")
    store = BlockStore(1 << 20, MemorySpill())

    assert Receiver(plan, start, 150, store).closed == 2
    assert Receiver(plan, replace(start, final=None), 150, store).closed == 1


def test_what_a_source_has_met_is_a_warning() -> None:
    scheduler = deployed()
    source = scheduler.members.of_kind("source")[0]

    (told,) = scheduler.handle(Heard(source.worker, Noticed(source.id, "cannot connect; trying again")), 1.0)

    assert told == Record("warning", source.operator, source.index, source.worker, "cannot connect; trying again")


def test_a_job_that_was_killed_again_before_a_worker_had_come_is_resumed_with_new_workers_all_the_same() -> None:
    query = Query("job")
    query.source(sources.from_list(range(10))).key_by().count().sink(sinks.discard())
    plan = cut(query.plan(workers=3), 3, DStream())
    actions = deployed().handle(WorkerLost(0, "was killed", 1.0), 1.0)

    for _ in range(3):  # each time its processes are killed while they start
        facts = [a.body for a in actions if isinstance(a, Journal) and a.kind == STATE][-1]
        scheduler = Scheduler(plan, 3, 0, facts)
        actions = scheduler.handle(Recovered(resumed=True), 2.0)

        assert [type(a) for a in actions].count(SpawnWorker) == 3
        assert not any(isinstance(a, EndJob) for a in actions)
