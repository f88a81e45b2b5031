"""Recoveries and scaling have figures that say how far they are, and a deadline after which something follows."""

from __future__ import annotations

from typing import Any

from elastic import Query, sinks, sources
from elastic.coordinator.events import ClockTick, EndJob, Heard, Record, ScaleRequested, WorkerJoined, WorkerLost
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.undertakings import Undertaking
from elastic.plan import Settings
from elastic.protocol import CaughtUp, Cut, CutDone, Retire, Send, Standing, Standings, Start, Started, Stuck, Wait

DEADLINE_S = 20.0


class Job:
    """Two workers with source, count and sink on both, and two spares; the sources stand at tick 100."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        query = Query("job")
        query.source(sources.from_list([1, 2])).key_by().count().sink(sinks.discard())
        settings = Settings(key_groups=4, deadline_ms=round(deadline_s * 1000), stall_after_ms=5_000)
        self.coordinator = Coordinator(query.plan(workers=2, settings=settings), 2, 2)
        self.now_s = 0.0
        for worker in range(4):
            self.coordinator.handle(WorkerJoined(worker, f"w{worker}"), 0.0)
        for record in self.coordinator.members.instances.values():
            self.coordinator.handle(Heard(record.worker, Started(record.id, 0, 0)), 0.0)
        self.positions: dict[int, int] = {}
        self.sent: list[tuple[int, Any]] = []
        self.passes(0.4)

    def handle(self, event: Any) -> list[Any]:
        actions = self.coordinator.handle(event, self.now_s)
        self.sent += [(a.worker, a.message) for a in actions if isinstance(a, Send)]
        return actions

    def passes(self, seconds: float) -> list[Any]:
        """What the coordinator does in that time, but for sending."""
        actions: list[Any] = []
        for _ in range(round(seconds * 5)):
            self.now_s += 0.2
            for worker in self.coordinator.members.live:
                here = [i for i in self.coordinator.members.instances.values() if i.worker == worker and i.running]
                standings = {i.id: Standing(p, p, Wait("data")) for i in here if (p := self.position(i.id)) >= 0}
                self.handle(Heard(worker, Standings(standings)))
            actions += [a for a in self.handle(ClockTick()) if not isinstance(a, Send)]
        return actions

    def position(self, instance: int) -> int:
        return self.positions.get(instance, 100)

    def lose(self, worker: int) -> list[tuple[int, Cut]]:
        """A worker is killed; the cuts that follow, with the holders that are asked."""
        self.sent.clear()
        self.handle(WorkerLost(worker, "was killed", self.now_s))
        return self.orders(Cut)

    def orders(self, kind: type) -> list[Any]:
        found = [(worker, message) for worker, message in self.sent if isinstance(message, kind)]
        self.sent = [order for order in self.sent if order not in found]
        return found

    @property
    def open(self) -> list[Undertaking]:
        return self.coordinator.oversight.undertakings.open


def kinds(actions: list[Any]) -> list[str]:
    return [a.kind for a in actions if isinstance(a, Record) and a.kind in {"recovering", "overdue"}]


def test_a_recovery_tells_how_many_keys_are_restored_and_how_many_ticks_replayed() -> None:
    job = Job()
    ((holder, cut),) = job.lose(0)
    job.passes(0.2)
    before = job.open[0]
    job.handle(Heard(holder, CutDone(cut.reconfigure, 40, lost=False, keys=5_000)))
    starts = job.orders(Start)
    job.passes(0.2)
    cut_up = job.open[0]
    for worker, start in starts:
        job.positions[start.instance] = 40
        keys = 5_000 if start.operator == "count" else 0
        job.handle(Heard(worker, Started(start.instance, 40, keys, start.cause)))
    job.passes(0.2)
    restored = job.open[0]
    job.positions = dict.fromkeys(job.positions, 70)
    job.passes(0.2)
    replaying = job.open[0]
    job.positions.clear()
    job.passes(0.2)

    assert (before.instances, before.restored) == (3, 0)
    assert before.waits_for == f"count#0 waits for worker {holder}, which has its checkpoint"
    assert (cut_up.keys, cut_up.keys_restored) == (5_000, 0)
    assert (restored.restored, restored.keys_restored, restored.ticks_replayed) == (3, 5_000, 0)
    assert restored.ticks == 3 * 60
    assert replaying.ticks_replayed == 3 * 30
    assert "at tick 70 of 100" in replaying.waits_for
    assert replaying.figures == "3 of 3 instances restored, 5k of 5k keys, 90 of 180 ticks replayed"
    assert job.open == []


def test_keys_that_a_checkpoint_was_not_known_to_have_are_counted_once_they_are_restored() -> None:
    job = Job()
    ((holder, cut),) = job.lose(0)
    job.handle(Heard(holder, CutDone(cut.reconfigure, 40, lost=False, keys=5_000)))
    for worker, start in job.orders(Start):
        job.positions[start.instance] = 40
        keys = 8_000 if start.operator == "count" else 0
        job.handle(Heard(worker, Started(start.instance, 40, keys, start.cause)))
    job.passes(0.2)

    assert (job.open[0].keys, job.open[0].keys_restored) == (8_000, 8_000)


def test_what_has_said_that_it_has_replayed_is_done_though_its_position_is_not_heard_of_yet() -> None:
    job = Job()
    ((holder, cut),) = job.lose(0)
    job.handle(Heard(holder, CutDone(cut.reconfigure, 40, lost=False, keys=5_000)))
    for worker, start in job.orders(Start):
        job.positions[start.instance] = 40
        job.handle(Heard(worker, Started(start.instance, 40, 0, start.cause)))
        job.handle(Heard(worker, CaughtUp(start.instance, 100, 60)))

    events = job.passes(2.0)

    assert kinds(events) == []
    assert job.open == []


def test_a_recovery_of_less_than_a_second_is_not_worth_an_event_and_a_longer_one_is_told_ever_more_rarely() -> None:
    job = Job(deadline_s=100.0)
    job.lose(0)
    at_once = job.passes(0.8)

    later = job.passes(20)

    assert kinds(at_once) == []
    assert kinds(later) == ["recovering"] * 5  # after about 1, 2, 4, 8 and 16 seconds
    assert "0 of 3 instances restored" in str(later[-1].cause)


def test_a_recovery_that_stands_still_for_its_deadline_ends_the_job_and_says_what_it_waited_for() -> None:
    job = Job()
    ((holder, _),) = job.lose(0)
    instance = next(i for i in job.coordinator.members.assignment("count") if i.worker == holder)
    actions: list[Any] = []
    while job.coordinator.ended is None:
        lines = ("job.py, line 3, in process: while True:",)
        job.handle(Heard(holder, Stuck(holder, instance.id, "step", 7, 0.0, lines, user=True)))
        job.now_s += 0.2
        actions = job.handle(ClockTick())
    (end,) = [a for a in actions if isinstance(a, EndJob)]

    assert kinds(actions)[-1:] == ["overdue"]
    assert end.status == "failed"
    assert end.error is not None
    assert (
        f"count#0 waits for worker {holder}, which has its checkpoint: it is busy with count#1, in your code"
        in end.error
    )
    assert "the recovery has stood still for 20" in end.error
    assert "What was committed stays committed" in end.error


def test_a_recovery_whose_figures_move_goes_on_past_its_deadline_and_says_so() -> None:
    job = Job()
    ((holder, cut),) = job.lose(0)
    job.passes(DEADLINE_S / 2)
    job.handle(Heard(holder, CutDone(cut.reconfigure, 40, lost=False, keys=5_000)))

    actions = job.passes(DEADLINE_S / 2 + 1)

    overdue = [a for a in actions if isinstance(a, Record) and a.kind == "overdue"]
    assert len(overdue) == 1
    assert str(overdue[0].cause).endswith("it goes on")
    assert not [a for a in actions if isinstance(a, EndJob)]


def test_a_replay_that_stands_still_is_never_a_reason_to_end_the_job() -> None:
    """Its sink may stall for minutes, which is told as a stall."""
    job = Job()
    ((holder, cut),) = job.lose(0)
    job.handle(Heard(holder, CutDone(cut.reconfigure, 40, lost=False, keys=5_000)))
    job.passes(0.2)
    for worker, start in job.orders(Start):
        job.positions[start.instance] = 40
        job.handle(Heard(worker, Started(start.instance, 40, 0, start.cause)))

    actions = job.passes(5 * DEADLINE_S)

    assert job.coordinator.ended is None
    assert [str(a.cause)[-10:] for a in actions if isinstance(a, Record) and a.kind == "overdue"] == ["it goes on"] * 5


def test_scaling_that_is_past_its_deadline_is_called_off_and_not_begun_again() -> None:
    job = Job()
    job.handle(ScaleRequested("count", 3))
    ((holder, cut),) = job.orders(Cut)
    job.handle(Heard(holder, CutDone(cut.reconfigure, 40, lost=False, keys=5_000)))
    job.passes(0.4)
    job.sent.clear()

    actions = job.passes(DEADLINE_S)

    (overdue,) = [a for a in actions if isinstance(a, Record) and a.kind == "overdue"]
    assert str(overdue.cause).endswith("it is called off")
    assert "parts of count#" in str(overdue.cause)
    assert len(job.orders(Retire)) == 2
    assert job.coordinator.reconfigurer.running == {}
    assert len(job.coordinator.members.assignment("count")) == 2
    assert job.passes(3) == []


def test_without_a_deadline_a_recovery_may_take_for_ever() -> None:
    job = Job(deadline_s=0.0)
    job.lose(0)

    job.passes(20 * DEADLINE_S)

    assert job.coordinator.ended is None
    assert job.open[0].restored < job.open[0].instances
