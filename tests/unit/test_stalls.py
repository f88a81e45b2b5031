"""No silent stall: whoever stands still is named, with what it is in or waits for; whoever only waits is not blamed."""

from __future__ import annotations

from typing import Any

import pytest

from elastic import Query, sinks, sources
from elastic.coordinator.chains import GRACE_S
from elastic.coordinator.events import ClockTick, Heard, Record, WorkerJoined, WorkerLost
from elastic.coordinator.machine import Coordinator
from elastic.plan import Settings
from elastic.protocol import Standing, Standings, Started, Stuck, Wait
from elastic.report import Stall

AFTER_S = 10.0


class Job:
    """Two workers with source, count and sink on both; time passes in steps in which every worker reports."""

    def __init__(self, *, stall_after_ms: int = 10_000) -> None:
        query = Query("job")
        query.source(sources.from_list([1, 2])).key_by().count().sink(sinks.discard())
        settings = Settings(key_groups=4, stall_after_ms=stall_after_ms)
        self.coordinator = Coordinator(query.plan(workers=2, settings=settings), 2, 0)
        for worker in range(2):
            self.coordinator.handle(WorkerJoined(worker, f"w{worker}"), 0.0)
        for record in self.coordinator.members.instances.values():
            self.coordinator.handle(Heard(record.worker, Started(record.id, 0, 0)), 0.0)
        self.now_s = 0.0
        self.waits: dict[str, Wait | None] = {}
        self.silent: set[int] = set()
        self.events: list[Record] = []

    def id(self, name: str) -> int:
        """Of ``count#1`` and the like."""
        operator, _, index = name.partition("#")
        return self.coordinator.members.assignment(operator)[int(index)].id

    def worker(self, name: str) -> int:
        return self.coordinator.members.instances[self.id(name)].worker

    def wait(self, name: str, kind: Any, *on: str, tick: int = 8) -> None:
        """From now on, the instance stands at tick 7 and waits."""
        self.waits[name] = Wait(kind, tuple(self.id(o) for o in on), tick)

    def hears(self, message: Any) -> None:
        self.coordinator.handle(Heard(message.worker, message), self.now_s)

    def passes(self, seconds: float) -> list[Record]:
        """The events on stalls of that time."""
        events: list[Record] = []
        for _ in range(round(seconds * 5)):
            self.now_s += 0.2
            for worker in {0, 1} - self.silent:
                self.coordinator.handle(Heard(worker, Standings(self._standings(worker))), self.now_s)
            actions = self.coordinator.handle(ClockTick(), self.now_s)
            events += [a for a in actions if isinstance(a, Record) and a.kind in {"stalled", "moving"}]
        return events

    def _standings(self, worker: int) -> dict[int, Standing]:
        moving = round(self.now_s * 5)
        found = {}
        for id, record in self.coordinator.members.instances.items():
            name = f"{record.operator}#{record.index}"
            if record.worker == worker:
                wait = self.waits.get(name)
                at = moving if name not in self.waits else 7
                found[id] = Standing(at, at, wait)
        return found

    @property
    def stalls(self) -> list[Stall]:
        return list(self.coordinator.oversight.stalls.open.values())


def places(events: list[Record]) -> list[str]:
    return [f"{e.kind} {e.operator}#{e.instance}" for e in events]


def stuck(job: Job, name: str, what: Any, *lines: str, user: bool = True) -> None:
    record = job.coordinator.members.instances[job.id(name)]
    job.hears(Stuck(record.worker, record.id, what, 7, job.now_s - AFTER_S, lines, user))


def test_a_job_that_moves_has_no_stalls() -> None:
    assert Job().passes(60) == []


def test_a_source_without_data_and_an_ended_stream_are_no_stalls() -> None:
    job = Job()
    job.wait("from_list#0", "data")
    job.wait("from_list#1", "end")

    assert job.passes(60) == []


def test_a_chain_of_waiting_is_followed_to_the_target_that_does_not_return() -> None:
    job = Job()
    job.wait("from_list#0", "credit", "count#1")
    job.wait("count#1", "credit", "discard#0")
    job.wait("discard#0", "target", tick=7)
    early = job.passes(AFTER_S)
    stuck(job, "discard#0", "commit", "/job/target.py, line 12, in write: time.sleep(600)")

    events = job.passes(GRACE_S)

    assert early == []
    assert places(events) == ["stalled discard#0"]
    assert events[0].worker == job.worker("discard#0")
    (stall,) = job.stalls
    assert (stall.what, stall.tick) == ("sink", 7)
    assert "has not returned from a commit for 1" in stall.detail
    assert stall.waiting == (
        "from_list#0 waits for credit from count#1",
        "count#1 waits for credit from discard#0",
    )
    assert stall.story.endswith(
        "/job/target.py, line 12, in write: time.sleep(600); from_list#0 waits for credit from count#1; count#1 waits "
        "for credit from discard#0"
    )


def test_a_target_is_named_though_no_watchdog_has_said_where_it_is() -> None:
    job = Job()
    job.wait("discard#0", "target", tick=7)

    events = job.passes(AFTER_S + GRACE_S + 0.4)

    assert places(events) == ["stalled discard#0"]
    assert "commit through tick 7" in str(events[0].cause)


def test_user_code_that_does_not_return_is_shown_with_the_users_own_line() -> None:
    job = Job()
    worker = job.worker("count#0")
    job.passes(2)
    job.silent = {worker}
    job.wait("count#1", "input", f"from_list#{worker}")
    job.passes(AFTER_S)
    stuck(job, "count#0", "step", "/job/job.py, line 3, in process: while True:")

    events = job.passes(0.4)

    assert places(events) == ["stalled count#0"]
    assert str(events[0].cause).startswith("in your code for 10")
    assert "/job/job.py, line 3, in process: while True:" in str(events[0].cause)
    (stall,) = job.stalls
    assert stall.what == "code"
    assert any(w.startswith("count#1 waits for tick 8 from from_list#") for w in stall.waiting)
    assert any("waits for its worker, which is busy with count#0" in w for w in stall.waiting)


def test_a_worker_that_says_nothing_is_told_apart_from_a_hung_one_and_its_stack_is_read_where_it_was_dumped() -> None:
    job = Job()
    job.passes(2)
    job.silent = {1}
    job.passes(AFTER_S + 0.4)
    silent = job.coordinator.oversight.whereabouts.silent(job.now_s)
    job.hears(Stuck(1, 0, "worker", 0, 2.0, ("/job/job.py, line 9, in process: re.match(…)",), user=True))

    events = job.passes(0.4)

    assert silent == [1]
    (event,) = events
    assert event.worker == 1
    assert "worker 1 has said nothing for 10" in str(event.cause)
    assert "holds Python's interpreter" in str(event.cause)
    assert "line 9" in str(event.cause)


def test_a_worker_that_says_nothing_and_has_no_stack_is_told_of_a_little_later() -> None:
    job = Job()
    job.passes(2)
    job.silent = {1}
    early = job.passes(AFTER_S + GRACE_S)

    events = job.passes(3 * GRACE_S)

    assert early == []
    assert "though it answers heartbeats" in str(events[0].cause)
    assert job.stalls[0].what == "worker"


def test_a_stall_is_told_once_and_its_end_too() -> None:
    job = Job()
    job.wait("count#1", "input", "from_list#0")
    early = job.passes(AFTER_S + GRACE_S - 0.5)  # what it waits for may be about to fall silent
    first = job.passes(AFTER_S - GRACE_S + 0.5)
    del job.waits["count#1"]

    second = job.passes(2 * AFTER_S)

    assert early == []
    assert places(first) == ["stalled count#1"]
    assert "waits for tick 8 from from_list#0 for 11" in str(first[0].cause)
    assert "which itself goes on" in str(first[0].cause)
    assert places(second) == ["moving count#1"]
    assert str(second[0].cause).startswith("goes on after 20")
    (over,) = job.coordinator.oversight.stalls.over
    assert over.until_s is not None
    assert over.until_s - over.since_s == pytest.approx(20, abs=0.5)


def test_what_is_waited_for_without_anybody_moving_is_told_as_a_circle() -> None:
    job = Job()
    job.wait("count#0", "credit", "discard#0")
    job.wait("discard#0", "input", "count#0")

    events = job.passes(AFTER_S + 1)

    assert len(events) == 1
    assert "in a circle" in str(events[0].cause)
    assert job.stalls[0].what == "system"


def test_full_output_buffers_name_who_has_not_committed() -> None:
    job = Job()
    job.wait("from_list#0", "cover", "count#0", "count#1", tick=31)

    events = job.passes(AFTER_S + GRACE_S + 1)

    assert str(events[0].cause).startswith(
        "waits for count#0, count#1 to checkpoint or commit tick 31, since its output buffers are full"
    )


def test_one_that_could_go_on_and_does_not_is_a_fault_of_the_system() -> None:
    job = Job()
    job.waits["count#0"] = None

    events = job.passes(AFTER_S + 1)

    assert str(events[0].cause).startswith("could go on after tick 7, and does not")


def test_an_instance_that_is_found_to_wait_for_another_stall_is_not_said_to_go_on() -> None:
    job = Job()
    job.wait("count#0", "input", "from_list#1")
    first = job.passes(AFTER_S + GRACE_S + 1)
    job.wait("from_list#1", "credit", "discard#1")

    second = job.passes(AFTER_S + GRACE_S + 1)

    assert places(first) == ["stalled count#0"]
    assert places(second) == ["stalled from_list#1"]
    assert job.stalls[0].waiting == ("count#0 waits for tick 8 from from_list#1",)


def test_who_waits_for_one_that_moved_a_moment_ago_is_told_of_the_code_that_holds_its_worker_up() -> None:
    job = Job()
    job.wait("discard#0", "input", "count#1")
    job.passes(AFTER_S - 0.4)  # count#1 goes on all the time
    stuck(job, "from_list#1", "step", "job.py, line 7, in parse: loop()")
    job.silent = {job.worker("from_list#1")}

    events = job.passes(1)

    assert places(events) == ["stalled from_list#1"]
    (stall,) = job.stalls
    assert stall.waiting == ("discard#0 waits for tick 8 from count#1",)


def test_a_worker_that_was_lost_is_recovered_from_and_not_told_as_a_stall() -> None:
    job = Job()
    job.passes(1)
    job.coordinator.handle(WorkerLost(1, "was killed", job.now_s), job.now_s)
    job.silent = {1}

    assert [e for e in job.passes(AFTER_S) if e.worker == 1] == []


def test_what_the_coordinator_slept_through_is_nobodys_stall() -> None:
    job = Job()
    job.passes(2)
    job.now_s += 60

    assert job.passes(1) == []


def test_stalls_can_be_switched_off() -> None:
    job = Job(stall_after_ms=0)
    job.wait("discard#0", "target", tick=7)

    assert job.passes(60) == []
