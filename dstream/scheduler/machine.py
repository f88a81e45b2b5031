"""The scheduler: events in, decisions out. It stands where the coordinator of the elastic model does, in its process.

It reads no clock and draws no random numbers; the coordinator's shell and the simulator drive it alike.
"""

from __future__ import annotations

from dstream.blocks import Name
from dstream.outages import lacking
from dstream.plan import REFUSED, Kind, StreamPlan
from dstream.protocol import Account, Committed, Kept, Sealed, StateMissing, TaskDone, TaskFailed, TaskLacks
from dstream.scheduler.guarding import Guarding
from dstream.scheduler.ledger import Ledger
from dstream.scheduler.memory import facts_of, mark_of, recall
from dstream.scheduler.orders import Orders
from dstream.scheduler.placement import Placement
from dstream.scheduler.progress import Interval
from dstream.scheduler.recovery import Recovery, told
from dstream.scheduler.restoring import Restoring
from dstream.scheduler.retention import Retention
from dstream.scheduler.stillness import Stillness
from dstream.scheduler.succession import Succession
from elastic.coordinator.ending import Ending
from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    Event,
    Heard,
    Journal,
    Record,
    Recovered,
    StopRequested,
    Told,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.judgement import overtaken
from elastic.coordinator.memory import LOSSES, STATE, Facts
from elastic.coordinator.oversight import Oversight
from elastic.coordinator.placement import WAIT_FOR_SPARE_S
from elastic.coordinator.standings import Whereabouts
from elastic.coordinator.workforce import Workforce
from elastic.plan import Plan
from elastic.protocol import Exhausted, Failed, Fenced, Finished, Frozen, Noticed, Standings, Started, Stuck
from elastic.report import FailedOutput
from elastic.units import counted

STOPPED_BATCH = (
    "the job cannot be resumed: it is a batch, and what it had read when it was stopped is committed as all there was; "
    "run it without --resume"
)


class NoScaling:
    """Stages are not scaled one by one: every interval's tasks go to all workers that there are."""

    @property
    def aims(self) -> dict[str, int]:
        """Nothing is on its way to another number of instances."""
        return {}

    def refusal(self, operator: str, instances: int) -> str | None:
        """Why not."""
        return REFUSED["scale"]


class NoDraining:
    """A worker is not drained: whatever it holds can be computed again."""

    def refusal(self, worker: int) -> str | None:
        """Why not."""
        return REFUSED["drain"]


class Scheduler:
    """One job's scheduler.

    Args:
        plan: What to run.
        workers: How many workers share the tasks.
        spares: How many idle ones to keep beside them.
        facts: What an earlier incarnation has journalled, if there was one; ``Recovered`` is its first event then.
    """

    def __init__(self, plan: StreamPlan, workers: int, spares: int, facts: Facts | None = None) -> None:
        self._ledger = Ledger(plan)
        self.members = self._ledger.members
        self.scaling, self.draining = NoScaling(), NoDraining()
        self.ended: EndJob | None = None
        self._force = Workforce(self.members, workers, spares)
        self.ending = Ending(self.members)
        self._guarding = Guarding(self._ledger)
        self._restoring = Restoring(self._ledger)
        self._placement = Placement(self._ledger, self.ending, self._guarding, self._restoring)
        self._recovery = Recovery(self._ledger, self._placement)
        self._orders = Orders(self._ledger)
        self._retention = Retention(self._ledger, self._placement, self._guarding)
        self._succession = Succession(self._ledger, self.ending, self._placement)
        whereabouts = Whereabouts(self.members)
        self.oversight = Oversight(whereabouts, Stillness(self._ledger, whereabouts))
        self._bereft_s: float | None = None
        self._balanced_at = 0
        self._journalled: object = None
        if facts is not None:
            recall(self._ledger, self.ending, facts)

    @property
    def ledger(self) -> Ledger:
        """What it knows."""
        return self._ledger

    @property
    def epoch(self) -> int:
        """Of this incarnation; commands carry it."""
        return self._ledger.epoch

    @property
    def plan(self) -> Plan:
        """What runs; its tick 0 is set when all workers are there."""
        return self._ledger.plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        assert isinstance(plan, StreamPlan)
        self._ledger.plan = plan

    def handle(self, event: Event, now_s: float) -> list[object]:
        """What follows from an event: messages to send, processes to start or end, entries for journal and log."""
        if self.ended is not None:
            return []
        self._ledger.now_s = now_s
        actions: list[object] = []
        match event:
            case WorkerJoined():
                actions = self._joined(event)
            case WorkerLost():
                actions = self._lost(event)
            case WorkerBack():
                actions = self._force.back(event)
            case Heard():
                actions = self._heard(event.worker, event.message)
            case StopRequested():
                actions = self.ending.stop(now_s, deployed=self._ledger.deployed, patient=event.patient)
            case Recovered():
                actions = self._recovered(event)
            case ClockTick():
                actions = self._clock_ticks(now_s)
        actions += self._completed()
        if not self._succession.waiting:
            actions += self._restoring.deferred()
        if isinstance(event, WorkerJoined | WorkerLost | Recovered) and self._ledger.deployed:
            actions += self._guarding.guard()
        if self._ledger.deployed and self.members.live and not self._succession.waiting:
            actions += self._balanced()
            actions += self._recovery.demand()
            actions += self._orders.give()
        if self._ledger.outages.failed:
            actions = [self._judged(action) for action in actions]
        self.ended = next((action for action in actions if isinstance(action, EndJob)), None)
        return self._remembered(actions)

    def _judged(self, action: object) -> object:
        """A job of which some outputs have failed has failed, however it has come to its end."""
        if not isinstance(action, EndJob) or action.status == "failed":
            return action
        outputs = [s for s in self._ledger.plan.stages if s.kind is Kind.SINK]
        return EndJob("failed", lacking(self.failed_outputs, len(outputs)))

    @property
    def failed_outputs(self) -> list[FailedOutput]:
        """Those that have been given up."""
        return list(self._ledger.outages.failed.values())

    def _clock_ticks(self, now_s: float) -> list[object]:
        """Time has passed: whatever was overlooked, or never answered, gets another look."""
        self._ledger.news.everything = True
        actions = self.ending.out_of_patience(now_s) + self._succession.ask()
        actions += [] if self.ending.stopping else self.oversight.judge(now_s)
        return actions + self._move("all workers were lost") if self._bereft_s is not None else actions

    def _remembered(self, actions: list[object]) -> list[object]:
        """What was decided is journalled before it is carried out."""
        mark = mark_of(self._ledger, self.ending)
        if mark == self._journalled:
            return actions
        self._journalled = mark
        return [Journal(STATE, facts_of(self._ledger, self.ending)), *actions]

    def _recovered(self, event: Recovered) -> list[object]:
        """Go on where the scheduler before this one was; then replace who was lost meanwhile."""
        self._force.recovered(event)
        if event.resumed and self._ledger.plan.batch and self._ledger.progress.done:
            return [EndJob("failed", STOPPED_BATCH)]
        actions = self._succession.begin(event)
        if self._ledger.outages.failed:
            actions.append(told(self._ledger.outages))
        for worker in sorted(set(self.members.live) - event.alive):
            loss = event.loss_of(worker, self._ledger.now_s)
            actions += [*self._force.lose(loss), *self._replace(worker, f"worker {worker} {loss.reason}")]
        if event.resumed:
            actions = [a for a in actions if not (isinstance(a, Record) and a.kind in LOSSES)]
        return [*actions, *self._refill("the coordinator began anew")]  # the one before it may not have come to that

    # -- workers -------------------------------------------------------------------------------------------------------

    def _joined(self, event: WorkerJoined) -> list[object]:
        if not (actions := self._force.join(event, deployed=self._ledger.deployed)):
            return []
        if self._ledger.deployed:
            return actions + self._move(f"worker {event.worker} joined")  # what no worker was there for
        if len(self.members.live) >= self._force.wanted:
            self._ledger.deployed = True
            actions += self._placement.deploy(self.members.live[: self._force.wanted])
        return actions

    def _lost(self, event: WorkerLost) -> list[object]:
        if event.worker not in self.members.workers:
            return self._force.never_joined(event)
        if not (actions := self._force.lose(event)):
            return []
        cause = f"worker {event.worker} {event.reason}"
        if (loop := self._recovery.crash_loop(cause)) is not None:
            return [*actions, loop]
        return actions + self._replace(event.worker, cause)

    def _replace(self, worker: int, cause: str) -> list[object]:
        """What a lost worker had and did goes to the others, and another process comes in its place."""
        self._succession.waiting.discard(worker)
        actions = self._refill(cause)
        if self._ledger.deployed and not self.members.live and not self._force.spawning:
            return [*actions, EndJob("failed", "no worker is left")]
        self._recovery.lose(worker)
        return actions + self._restoring.again() + self._move(cause)

    def _refill(self, cause: str) -> list[object]:
        """Start a worker for each that the job lacks."""
        live = self.members.live
        extra = sum(self.members.workers[w].extra for w in live)
        return self._force.spawn(self._force.wanted + self._force.spares + extra - len(live), cause)

    def _move(self, cause: str) -> list[object]:
        """Place what lived on lost workers; if nobody is left, once as many have come as are wanted, or late."""
        live, now_s, homes = self.members.live, self._ledger.now_s, {r.worker for r in self.members.instances.values()}
        if not homes or not homes.isdisjoint(live):
            self._bereft_s = None
        elif self._bereft_s is None:
            self._bereft_s = now_s
        if self._bereft_s is not None:
            patient = now_s - self._bereft_s < WAIT_FOR_SPARE_S
            if not live or (len(live) < self._force.wanted and self._force.spawning and patient):
                return []
            self._bereft_s = None
        return self._placement.move(cause)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _heard(self, worker: int, message: object) -> list[object]:
        known = self.members.workers.get(worker)
        if known is None or known.lost:
            return []
        match message:
            case Sealed():
                if worker not in self._succession.waiting:  # else it is in the worker's account, and what came before
                    self._ledger.sealed(message, worker)
            case Account():
                return self._succession.heard(worker, message)
            case TaskDone():
                self._task_done(message, worker)
            case TaskLacks():
                self._recovery.lacks(message)
            case TaskFailed():
                return self._recovery.failed(message)
            case Kept() | StateMissing():
                return self._of_state(worker, message)
            case Committed():
                if (record := self.members.instances.get(message.instance)) is not None:
                    record.start_tick = message.tick
                return self._retention.advance()
            case Started():
                return self._started(message)
            case Exhausted() | Frozen() | Finished():
                return self.ending.heard(message)
            case Standings() | Stuck():
                self.oversight.heard(worker, message, self._ledger.now_s)
            case Noticed() | Failed() | Fenced():
                return self._trouble(worker, message)
        return []

    def _trouble(self, worker: int, message: Noticed | Failed | Fenced) -> list[object]:
        """Something is wrong with an instance, or with all that its worker does."""
        record = self.members.instances.get(message.instance)
        match message:
            case Fenced():
                return [Record("fenced", worker=worker) if record is None else overtaken(record)]
            case Failed() if record is not None:
                return [EndJob("failed", message.error)]
            case Noticed() if record is not None:
                return [Record("warning", record.operator, record.index, record.worker, message.text)]
        return []

    def _of_state(self, worker: int, message: Kept | StateMissing) -> list[object]:
        """A version of state is somewhere, or is not where it was said to be."""
        if isinstance(message, Kept):
            actions = self._guarding.kept(worker, message)
            return actions + self._retention.advance() if actions else []
        return self._restoring.missing(message)

    def _started(self, message: Started) -> list[object]:
        record = self.members.instances.get(message.instance)
        if record is None:
            return []
        record.running, record.start_tick = True, message.tick
        self._ledger.moved_s = self._ledger.now_s
        actions: list[object] = []
        if record.cause:
            text = f"{counted(message.keys, 'key')} at tick {message.tick}"
            actions.append(Record("restored", record.operator, record.index, record.worker, text))
        actions += self.ending.told(record)
        held = self._ledger.held_by(record.id)
        if held is not None and held.done is None:
            self._ledger.reached(held, self._ledger.plan.whole_intervals(message.tick))
        finish = self._ledger.finish
        if held is not None and held.stage.kind is Kind.SINK and finish is not None and message.tick >= finish[0]:
            actions += self.ending.heard(
                Finished(record.id, message.tick)
            )  # its target has everything: nothing is left
        if not self._ledger.announced and all(i.running for i in self.members.instances.values()):
            self._ledger.announced = True
            actions.append(Record("started"))
        return actions

    def _task_done(self, message: TaskDone, worker: int) -> None:
        ledger = self._ledger
        ledger.moved_s = ledger.now_s
        name = Name(message.stage, message.interval, message.partition)
        if message.instance:
            held = ledger.held.get((message.stage, message.partition))
            if held is None or held.record.id != message.instance:
                return  # of an incarnation that was replaced
            held.done = max(held.done or 0, message.interval)
            held.told = max(held.told, held.done)
            held.rows_in += message.rows_in
            held.busy_s += message.busy_s
            if held.stage.kind is Kind.STATE and message.interval % ledger.plan.checkpoint_intervals == 0:
                ledger.cut_s[name] = ledger.now_s
        ledger.progress.failed(name, message.failed)
        task = ledger.locate(name, worker)
        self._orders.done(name)
        if task is not None:
            ledger.progress.recomputed += task.again
            ledger.progress.did(name)

    def _balanced(self) -> list[object]:
        """Whenever an interval has become safe, while the job runs: see to it that all workers have their share."""
        safe = self._ledger.progress.safe
        if safe == self._balanced_at or self._ledger.finish is not None or self.ending.stopping:
            return []
        self._balanced_at = safe
        return self._placement.balance(self._force.wanted)

    def _completed(self) -> list[object]:
        """Figures of intervals that have become complete, and what may be forgotten by that."""
        complete = self._ledger.progress.completed()
        if complete:
            self._ledger.open()
        return [self._record_of(interval) for interval in complete] + (self._retention.advance() if complete else [])

    def _record_of(self, interval: Interval) -> Told:
        """A complete interval, for the report."""
        told = interval.told(self._ledger.now_s)
        told["recomputed"], self._ledger.progress.recomputed = self._ledger.progress.recomputed, 0
        told["instances"] = [
            [h.record.id, h.record.operator, h.rows_in, h.busy_s] for h in self._ledger.of_kind(Kind.STATE)
        ]
        return Told("interval", told)
