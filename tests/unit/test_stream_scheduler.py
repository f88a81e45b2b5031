"""The D-Streams scheduler's decisions, event by event."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dstream.model import cut
from dstream.protocol import Place
from dstream.scheduler.machine import Scheduler
from elastic import Query, sinks, sources
from elastic.coordinator.events import ClockTick, Heard, SpawnWorker, WorkerJoined, WorkerLost
from elastic.protocol import Retire, Send, Start, Started
from elastic.scenario.models import DStream


def deployed(workers: int = 3) -> Scheduler:
    query = Query("job")
    query.source(sources.from_list(range(10))).key_by().count().sink(sinks.discard())
    plan = cut(query.plan(workers=workers), workers, DStream())
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
    scheduler._ledger.progress.safe = 10

    actions = scheduler.handle(ClockTick(), 1.3)

    assert sent(before, Retire) == []
    assert {worker for worker, _ in sent(actions, Retire)} == {0}
    states = Counter(held.record.worker for held in scheduler._ledger.held.values() if held.stage.operator == "count")
    assert states.keys() == {0, 3, 4}
    assert max(states.values()) - min(states.values()) <= 2
    assert sent(scheduler.handle(ClockTick(), 1.4), Retire) == []
