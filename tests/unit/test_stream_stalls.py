"""No silent stall under the D-Streams model either: the task, receiver, target or worker that stands still is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dstream.blocks import Name
from dstream.model import cut
from dstream.plan import Kind
from dstream.protocol import RunTask, Sealed, TaskDone
from dstream.scheduler.machine import Scheduler
from elastic import Query, sinks, sources
from elastic.coordinator.events import ClockTick, Heard, Record, StopRequested, WorkerJoined, WorkerLost
from elastic.plan import Settings
from elastic.protocol import Send, Standings, Started, Stuck
from elastic.report import Stall
from elastic.scenario.models import DStream

AFTER_S = 10.0


class Job:
    """Two workers, an interval of one second; time passes in steps in which all workers say that they go on."""

    def __init__(self, *, stall_after_ms: int = 10_000, batch: bool = False) -> None:
        query = Query("job")
        query.source(sources.from_list(range(10))).key_by().count().sink(sinks.discard())
        plan = query.plan(workers=2, settings=Settings(stall_after_ms=stall_after_ms))
        self.scheduler = Scheduler(replace(cut(plan, 2, DStream(tasks=2)), batch=batch), 2, 0)
        for number in range(2):
            self.scheduler.handle(WorkerJoined(number, f"w{number}"), 0.0)
        for record in list(self.scheduler.members.instances.values()):
            self.scheduler.handle(Heard(record.worker, Started(record.id, 0, 0)), 0.0)
        self.now_s = 0.0
        self.silent: set[int] = set()

    def hears(self, worker: int, message: Any) -> list[Any]:
        return self.scheduler.handle(Heard(worker, message), self.now_s)

    def closes(self, interval: int) -> list[RunTask]:
        """All sources close an interval; the orders that follow."""
        actions: list[Any] = []
        for record in self.scheduler.members.of_kind("source"):
            message = Sealed(record.id, interval, 100 * interval, 1, 8, final=False, kept=True)
            actions += self.hears(record.worker, message)
        return orders(actions)

    def does(self, order: RunTask) -> None:
        """A task, and those that can be done then."""
        worker = self.scheduler.ledger.lineage.tasks[Name(order.stage, order.interval, order.partition)].worker
        assert worker is not None
        done = TaskDone(order.stage, order.interval, order.partition, order.attempt, order.instance, 0.0, 1, 1)
        for following in orders(self.hears(worker, done)):
            if self.scheduler.members.instances[following.instance].running:
                self.does(following)

    def passes(self, seconds: float) -> list[Record]:
        """The events on stalls of that time."""
        events: list[Record] = []
        for _ in range(round(seconds * 5)):
            self.now_s += 0.2
            for worker in {0, 1} - self.silent:
                self.hears(worker, Standings({}))
            actions = self.scheduler.handle(ClockTick(), self.now_s)
            events += [a for a in actions if isinstance(a, Record) and a.kind in {"stalled", "moving"}]
        return events

    def worker(self, operator: str, index: int) -> int:
        return self.scheduler.members.assignment(operator)[index].worker

    @property
    def stalls(self) -> list[Stall]:
        return list(self.scheduler.oversight.stalls.open.values())


def orders(actions: list[Any]) -> list[RunTask]:
    return [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, RunTask)]


def places(events: list[Record]) -> list[str]:
    return [f"{e.kind} {e.operator}#{e.instance}" for e in events]


def test_a_job_that_moves_or_has_nothing_to_do_has_no_stalls() -> None:
    job = Job()
    for interval in range(1, 30):
        for order in job.closes(interval):
            job.does(order)
        assert job.passes(1) == []

    assert job.passes(60) == []


def test_a_task_that_does_not_return_is_told_with_the_users_line_and_with_who_waits_for_it() -> None:
    job = Job()
    first, *_ = job.closes(1)
    job.passes(2)
    worker = job.scheduler.members.instances[first.instance].worker
    job.silent = {worker}
    job.passes(AFTER_S)
    line = "job.py, line 7, in slow: time.sleep(600)"
    job.hears(worker, Stuck(worker, first.instance, "step", 0, 1.0, (line,), user=True))

    events = job.passes(0.4)

    assert places(events) == [f"stalled count#{first.partition}"]
    assert events[0].worker == worker
    assert str(events[0].cause).startswith("in your code for 11.2s, in interval 1: job.py, line 7")
    (stall,) = job.stalls
    assert (stall.what, stall.since_s, stall.until_s, stall.lines) == ("code", 1.0, None, (line,))
    assert stall.waiting == ("1 task waits in interval 1 of count", "2 tasks wait in interval 1 of discard")


def test_the_end_of_a_stall_is_told_and_its_length_is_in_the_report() -> None:
    job = Job()
    first, *_ = job.closes(1)
    worker = job.scheduler.members.instances[first.instance].worker
    job.silent = {worker}
    job.hears(worker, Stuck(worker, first.instance, "step", 0, 0.0, ("job.py, line 7",), user=True))
    job.passes(AFTER_S + 0.4)
    job.silent = set()

    events = job.passes(1)

    assert places(events) == [f"moving count#{first.partition}"]
    assert str(events[0].cause).startswith("goes on after 10")
    (over,) = job.scheduler.oversight.stalls.over
    assert over.until_s is not None
    assert 10 < over.until_s - over.since_s < 11.1


def test_tasks_without_state_are_told_apart_by_operator_and_partition() -> None:
    job = Job()
    job.closes(1)
    job.passes(AFTER_S)
    for worker in (0, 1):
        job.silent.add(worker)
        stuck = Stuck(worker, 0, "step", 0, 0.0, (f"job.py, line {worker}",), user=True, task=("joined", worker + 3))
        job.hears(worker, stuck)

    events = job.passes(0.4)

    assert places(events) == ["stalled joined#3", "stalled joined#4"]
    assert [stall.lines for stall in job.stalls] == [("job.py, line 0",), ("job.py, line 1",)]


def test_a_target_and_a_read_that_do_not_return_are_told_as_sink_and_source() -> None:
    job = Job()
    job.closes(1)
    job.passes(AFTER_S)
    source, sink = (job.scheduler.members.of_kind(kind)[0] for kind in ("source", "sink"))
    job.silent = {source.worker}  # a target has a thread of its own, a read has not
    job.hears(source.worker, Stuck(source.worker, source.id, "read", 0, 0.0, ("feed.py, line 3",), user=True))
    job.hears(sink.worker, Stuck(sink.worker, sink.id, "commit", 0, 0.0, ("target.py, line 9",), user=True))

    job.passes(0.4)

    found = {stall.operator: stall for stall in job.stalls}
    assert {operator: stall.what for operator, stall in found.items()} == {"from_list": "source", "discard": "sink"}
    assert found["from_list"].detail.startswith("in a read of its source for 10")
    assert found["discard"].detail.startswith("its target has not returned from a commit for 10")


def test_a_worker_that_says_nothing_is_told_with_the_call_that_holds_the_interpreter_or_a_little_later_without() -> (
    None
):
    job, other = Job(), Job()
    for each in (job, other):
        each.closes(1)
        each.passes(2)
        each.silent = {1}
    early = job.passes(AFTER_S + 0.4)
    silent = job.scheduler.oversight.whereabouts.silent(job.now_s)
    job.hears(1, Stuck(1, 0, "worker", 0, 2.0, ("job.py, line 9: re.match(…)",), user=True))

    events = job.passes(0.4)
    later = other.passes(AFTER_S + 4)

    assert early == []
    assert silent == [1]
    assert (events[0].worker, job.stalls[0].what) == (1, "code")
    assert "holds Python's interpreter" in str(events[0].cause)
    assert "line 9" in str(events[0].cause)
    assert (later[0].worker, other.stalls[0].what) == (1, "worker")
    assert "it may be stopped, or short of memory" in str(later[0].cause)


def test_a_task_that_is_never_done_is_told_though_nobody_knows_why() -> None:
    job = Job()
    first, *_ = job.closes(1)

    events = job.passes(AFTER_S + 2)
    job.does(first)
    over = job.passes(1)

    assert places(events) == [f"stalled count#{first.partition}"]
    assert "was told to do interval 1, and has not for 11" in str(events[0].cause)
    assert places(over) == [f"moving count#{first.partition}"]


def test_state_that_does_not_come_is_told() -> None:
    job = Job()
    for order in job.closes(1):
        job.does(order)
    job.silent = {1}
    for order in orders(job.scheduler.handle(WorkerLost(1, "was killed", 0.0), 0.0)):
        if not order.instance:  # its input is read again
            job.does(order)

    job.passes(AFTER_S + 2)

    (stall,) = job.stalls
    assert (stall.what, stall.worker) == ("restore", 0)
    assert "has not begun to run it for 12" in stall.detail


def test_a_source_that_closes_no_interval_is_what_the_others_wait_for() -> None:
    job = Job()
    source, other = job.scheduler.members.of_kind("source")
    job.hears(source.worker, Sealed(source.id, 1, 100, 1, 8, final=False, kept=True))

    job.passes(AFTER_S + 2)

    (stall,) = job.stalls
    assert stall.what == "input"
    assert f"waits for interval 1 of from_list#{other.index} for 12" in stall.detail


def test_a_batch_of_which_one_source_takes_longer_than_another_has_no_stalls() -> None:
    job = Job(batch=True)
    source, _ = job.scheduler.members.of_kind("source")
    job.hears(source.worker, Sealed(source.id, 1, 100, 1, 8, final=True, kept=True))

    assert job.scheduler.ledger.lineage.tasks
    assert job.passes(3 * AFTER_S) == []


def test_one_cause_that_is_found_later_takes_the_place_of_the_unknown_one() -> None:
    job = Job()
    first, *_ = job.closes(1)
    job.passes(AFTER_S + 2)
    worker = job.scheduler.members.instances[first.instance].worker
    job.silent = {worker}
    job.hears(worker, Stuck(worker, first.instance, "step", 0, 0.0, ("job.py, line 7",), user=True))

    events = job.passes(0.4)

    assert places(events) == [f"stalled count#{first.partition}"]
    assert [stall.what for stall in job.stalls] == ["code"]


def test_nothing_is_told_while_the_job_is_being_stopped_or_where_nobody_wants_to_know() -> None:
    stopping, off = Job(), Job(stall_after_ms=0)
    for job in (stopping, off):
        job.closes(1)
    stopping.scheduler.handle(StopRequested(), 0.0)

    assert stopping.passes(2 * AFTER_S) == off.passes(2 * AFTER_S) == []
    assert [held for held in stopping.scheduler.ledger.of_kind(Kind.STATE) if held.done != 0] == []
