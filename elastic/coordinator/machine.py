"""The coordinator: events in, decisions out. Everything it does to a job follows from this machine.

It is driven by a shell that carries messages and starts processes, and by the simulator; it reads no clock and draws
no random numbers. ``handle`` may be given any event at any time, twice, or late. What it decides about each matter is
in a room of its own; here is who is asked, and in which order.
"""

from __future__ import annotations

from elastic.coordinator.deployment import Deployment
from elastic.coordinator.draining import Draining
from elastic.coordinator.ending import Ending
from elastic.coordinator.events import (
    ClockTick,
    DrainRequested,
    EndJob,
    Event,
    Heard,
    Journal,
    Measured,
    Record,
    Recovered,
    ScaleRequested,
    StopRequested,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.judgement import Differences, overtaken, too_late
from elastic.coordinator.membership import Membership
from elastic.coordinator.memory import LOSSES, STATE, Facts, facts_of, recall
from elastic.coordinator.oversight import InstanceOversight
from elastic.coordinator.placement import Placement
from elastic.coordinator.reconfigure import Reconfigurer, restored
from elastic.coordinator.recovery import Recovery
from elastic.coordinator.scaling import Scaling
from elastic.coordinator.succession import Succession
from elastic.coordinator.workforce import Workforce
from elastic.plan import Plan
from elastic.protocol import (
    Aligned,
    AlignRefused,
    CaughtUp,
    CutDone,
    Exhausted,
    Failed,
    Fenced,
    Finished,
    Frozen,
    GroupLoads,
    Nondeterministic,
    Noticed,
    Protected,
    Running,
    Standings,
    Started,
    Stuck,
    Trimmed,
)
from elastic.units import counted


class Coordinator:
    """One job's coordinator.

    Args:
        plan: What to run.
        workers: How many workers share the instances.
        spares: How many idle ones to keep beside them.
        facts: What an earlier incarnation has journalled, if there was one; ``Recovered`` is its first event then.

    Attributes:
        deployed: Instances have been placed.
        announced: All of them have been running.
    """

    def __init__(self, plan: Plan, workers: int, spares: int, facts: Facts | None = None) -> None:
        self.plan, self.members = plan, Membership(plan)
        self._workforce = Workforce(self.members, workers, spares)
        self.reconfigurer = Reconfigurer(self.members)
        self.placement = Placement(self.members, self.reconfigurer, self._workforce)
        self.recovery = Recovery(self.members, self.reconfigurer)
        self.ending = Ending(self.members)
        self.scaling = Scaling(self.members, self.reconfigurer)
        self.draining = Draining(self.members, self.reconfigurer)
        self.oversight = InstanceOversight(self.members, self.reconfigurer, self.scaling)
        self._succession = Succession(self.members, self.reconfigurer, self.ending)
        self._differences = Differences(plan)
        self._needed = max(workers, min(2, workers + spares))  # a checkpoint is kept on another worker
        self.deployed = self.announced = False
        self.ended: EndJob | None = None
        self._journalled: Facts = {}
        if facts is not None:
            recall(self, facts)

    @property
    def epoch(self) -> int:
        """Of this incarnation; commands carry it."""
        return self.members.epoch

    def handle(self, event: Event, now_s: float) -> list[object]:
        """What follows from an event: messages to send, processes to start or end, entries for journal and log."""
        if self.ended is not None:
            return []
        actions = self._answer(event, now_s) + self._progress(now_s)
        ends = [action for action in actions if isinstance(action, EndJob)]
        if (verdict := self._differences.verdict(now_s, ending=bool(ends))) is not None:
            ends = [EndJob("failed", verdict, "nondeterminism")]
            actions = [a for a in actions if not isinstance(a, EndJob)] + ends
        self.ended = ends[0] if ends else None
        return self._remembered(actions)

    def _answer(self, event: Event, now_s: float) -> list[object]:
        """What the event itself asks for."""
        match event:
            case WorkerJoined():
                return self._joined(event)
            case WorkerLost():
                return self._lost(event, now_s)
            case WorkerBack():
                return self._workforce.back(event)
            case Heard():
                return self._heard(event.worker, event.message, now_s)
            case ScaleRequested():
                return self.scaling.request(event.operator, event.instances, now_s)
            case DrainRequested():
                return self.draining.request(event.worker, now_s)
            case Measured():
                return self.scaling.measured(event.loads, now_s) if self.announced else []
            case StopRequested():
                return self.ending.stop(now_s, deployed=self.deployed, patient=event.patient)
            case Recovered():
                return self._recovered(event, now_s)
            case ClockTick():
                judged = [] if self.ending.stopping else self.oversight.judge(now_s)
                return self.ending.out_of_patience(now_s) + judged

    def _progress(self, now_s: float) -> list[object]:
        """What has become possible, whatever it was waiting for."""
        actions = self.placement.progress(now_s)
        if self.deployed and self.members.finish is None and not self.ending.stopping:
            actions += self.scaling.progress(now_s)
            idle = not (self._workforce.spawning or self.scaling.busy or self.reconfigurer.running)
            actions += self.draining.surplus(-self._lacking if idle else 0, now_s)
            actions += self.draining.progress(now_s)
            if self._settled or self.scaling.lacks_worker or self.draining.lacks_worker:
                actions += self._refill("a spare came into use")
        if not self.members.live and self.deployed and not self._workforce.spawning:
            actions.append(EndJob("failed", "no worker is left"))
        return actions

    def _remembered(self, actions: list[object]) -> list[object]:
        """What was decided is journalled before it is carried out."""
        if (facts := facts_of(self)) == self._journalled:
            return actions
        self._journalled = facts
        return [Journal(STATE, facts), *actions]

    def _recovered(self, event: Recovered, now_s: float) -> list[object]:
        """Go on where the coordinator before this one was; then replace who was lost meanwhile."""
        self._workforce.recovered(event)
        actions = self._succession.begin(event)
        for procedure in list(self.reconfigurer.running.values()):
            procedure.since_s = now_s  # the workers that it waits for may only be started now
            begun = self._succession.begin_again(procedure)
            if begun is None:
                return [*actions, self.recovery.state_lost(procedure.old, procedure.cause)]
            actions += begun
        for worker in sorted(set(self.members.live) - event.alive):
            actions += self._lost(event.loss_of(worker, now_s), now_s)
        if event.resumed:
            actions = [a for a in actions if not (isinstance(a, Record) and a.kind in LOSSES)]
        return [*actions, *self._refill("the coordinator began anew")]  # the one before it may not have come to that

    # -- workers -------------------------------------------------------------------------------------------------------

    def _joined(self, event: WorkerJoined) -> list[object]:
        if not (actions := self._workforce.join(event, deployed=self.deployed)):
            return []
        actions += self.recovery.protect_again()
        if not self.deployed and len(self.members.live) >= self._needed:
            self.deployed = True
            workers = self.members.live[: self._workforce.wanted]
            actions += Deployment(self.members).begin(workers, self._workforce.spares)
        return actions

    def _lost(self, event: WorkerLost, now_s: float) -> list[object]:
        if event.worker not in self.members.workers:
            return self._workforce.never_joined(event)
        if not (actions := self._workforce.lose(event)):
            return []
        cause = f"worker {event.worker} {event.reason}"
        refilled = [] if self._has_heir else self._refill(cause)
        return actions + refilled + self.recovery.after(event.worker, cause, now_s)

    @property
    def _has_heir(self) -> bool:
        """Whether a spare takes over what is lost; then another starts once that has its state: see ``_settled``."""
        holders = {worker for i in self.members.instances.values() for worker in (i.holder, i.second)}
        return self.deployed and any(spare not in holders for spare in self.members.spares)

    def _refill(self, cause: str) -> list[object]:
        """Start a worker for each that the job lacks, in place of those that were lost or came into use."""
        lacking = self._lacking
        if (self.scaling.lacks_worker or self.draining.lacks_worker) and not self._workforce.spawning:
            lacking = max(1, lacking)
        return self._workforce.spawn(lacking, cause)

    @property
    def _settled(self) -> bool:
        """Whether nothing is being moved or restored: a process that starts meanwhile would take a core of that."""
        return not self.reconfigurer.running and all(i.running for i in self.members.instances.values())

    @property
    def _lacking(self) -> int:
        """So many workers fewer than the job wants; below zero if there are more."""
        usable = self.members.usable
        in_use = len(usable) - len(self.members.spares)
        extra = sum(self.members.workers[w].extra for w in usable)
        return max(self._workforce.wanted, in_use - extra) + extra + self._workforce.spares - len(usable)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _heard(self, worker: int, message: object, now_s: float) -> list[object]:
        known = self.members.workers.get(worker)
        if known is None or known.lost:
            return []
        match message:
            case Started():
                return self._started(message, now_s)
            case Running():
                return self._succession.account(worker, message)
            case CutDone():
                return self._cut_done(message, now_s)
            case Aligned() | AlignRefused():
                return self.scaling.joining.heard(message)
            case Protected():
                return self._protected(message)
            case Exhausted() | Frozen() | Finished():
                return self.ending.heard(message)
            case GroupLoads() | Standings() | Stuck():
                self._measured(worker, message, now_s)
            case CaughtUp() | Noticed():
                return self._news(message)
            case Failed():
                restoring = any(message.instance in p.places for p in self.reconfigurer.running.values())
                if restoring or message.instance in self.members.instances or not message.operator:
                    return [EndJob("failed", message.error)]
            case Fenced():
                return self._fenced(message, worker)
            case Trimmed():
                return self._trimmed(message)
            case Nondeterministic():
                return self._nondeterministic(message, now_s)
        return []

    def _measured(self, worker: int, message: GroupLoads | Standings | Stuck, now_s: float) -> None:
        """Facts from which something may follow when it is time to look at them."""
        if isinstance(message, GroupLoads):
            self.members.measured(message.instance, message.loads)
        else:
            self.oversight.heard(worker, message, now_s)

    def _news(self, message: CaughtUp | Noticed) -> list[object]:
        """What an instance has to say goes into the event log."""
        record = self.members.instances.get(message.instance)
        if record is None:
            return []
        if isinstance(message, Noticed):
            return [Record("warning", record.operator, record.index, record.worker, message.text)]
        self.oversight.undertakings.replayed(message.instance)
        text = f"{counted(message.replayed, 'record')} up to tick {message.tick}"
        return [Record("replayed", record.operator, record.index, record.worker, text)]

    def _started(self, message: Started, now_s: float) -> list[object]:
        record = self.members.instances.get(message.instance)
        if message.cause:
            self.oversight.undertakings.restored(message.cause, message.keys, now_s)
        if record is None:
            return self.reconfigurer.on_restored(message)
        record.running, record.start_tick = True, message.tick
        actions = self.reconfigurer.orders.views_for(record)
        if message.cause and record.cause and record.id not in self.reconfigurer.planned:
            actions.append(restored(record, message))
        actions += self.ending.told(record)
        if not self.announced and all(i.running for i in self.members.instances.values()):
            self.announced = True
            actions.append(Record("started"))
        return actions

    def _protected(self, message: Protected) -> list[object]:
        record = self.members.instances.get(message.instance)
        return [] if record is None else self.reconfigurer.on_protected(record, message.holder)

    def _cut_done(self, message: CutDone, now_s: float) -> list[object]:
        waiting = self.reconfigurer.running.get(message.reconfigure)
        if waiting is not None and not waiting.at_hand:
            self.oversight.undertakings.cut(waiting.cause, message.keys, now_s)
        procedure = self.reconfigurer.on_cut_done(message)
        return self.recovery.nothing_to_cut(procedure) if procedure is not None and message.lost else []

    def _fenced(self, message: Fenced, worker: int) -> list[object]:
        """Only a zombie is fenced by its successor; a current instance that is was overtaken by another job's run."""
        if (record := self.members.instances.get(message.instance)) is not None:
            return [overtaken(record)]
        planned = message.instance in self.reconfigurer.planned
        return [] if planned else [Record("fenced", worker=worker)]

    def _trimmed(self, message: Trimmed) -> list[object]:
        consumer = self.members.instances.get(message.consumer)
        producer = self.members.instances.get(message.producer)
        if consumer is None or producer is None or self.members.workers[consumer.worker].lost:
            return []
        return [too_late(consumer, producer, message)]

    def _nondeterministic(self, message: Nondeterministic, now_s: float) -> list[object]:
        if self.plan.settings.nondeterminism == "fail":
            self._differences.heard(message, now_s)
        return self._differences.event(message)
