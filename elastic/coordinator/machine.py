"""The coordinator: events in, decisions out. Everything it does to a job follows from this machine.

It is driven by a shell that carries messages and starts processes, and by the simulator; it reads no clock and draws
no random numbers. ``handle`` may be given any event at any time, twice, or late.
"""

from __future__ import annotations

from elastic.coordinator.cuts import cuttable
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
from elastic.coordinator.judgement import CrashLoops, Differences, overtaken
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.memory import Facts, facts_of, recall
from elastic.coordinator.oversight import Oversight
from elastic.coordinator.reconfigure import JOIN_DEADLINE_S, PATIENCE_S, WAIT_FOR_SPARE_S, Procedure, Reconfigurer
from elastic.coordinator.scaling import Scaling
from elastic.coordinator.succession import Succession
from elastic.coordinator.workforce import Workforce
from elastic.keys import KeyInterval
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

LOSSES = {"failed", "detected", "checkpoint_lost", "warning"}
"""Events of a loss; who resumes a job knows that all of it was gone."""

STATE = "state"
"""The journal's entry of all that the next incarnation must know; only the newest counts."""


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
        self.reconfigurer = Reconfigurer(self.members)
        self.ending = Ending(self.members, self.reconfigurer)
        self.scaling = Scaling(self.members, self.reconfigurer)
        self.draining = Draining(self.members, self.reconfigurer)
        self._force = Workforce(self.members, workers, spares)
        self._needed = max(workers, min(2, workers + spares))  # a checkpoint is kept on another worker
        self.deployed = self.announced = False
        self._heir: dict[int, int] = {}
        self._loops, self._differences = CrashLoops(), Differences(plan)
        self.oversight = Oversight(self.members, self.reconfigurer, self.scaling)
        self.ended: EndJob | None = None
        self._succession = Succession(self.members, self.reconfigurer, self.ending)
        self._journalled: Facts = {}
        if facts is not None:
            recall(self, facts)

    @property
    def epoch(self) -> int:
        """Of this incarnation; commands carry it."""
        return self.reconfigurer.epoch

    def handle(self, event: Event, now_s: float) -> list[object]:
        """What follows from an event: messages to send, processes to start or end, entries for journal and log."""
        if self.ended is not None:
            return []
        match event:
            case WorkerJoined():
                actions = self._joined(event)
            case WorkerLost():
                actions = self._lost(event, now_s)
            case WorkerBack():
                actions = self._force.back(event)
            case Heard():
                actions = self._heard(event.worker, event.message, now_s)
            case ScaleRequested():
                actions = self.scaling.request(event.operator, event.instances, now_s)
            case DrainRequested():
                actions = self.draining.request(event.worker, now_s)
            case Measured():
                actions = self.scaling.measured(event.loads, now_s) if self.announced else []
            case StopRequested():
                actions = self.ending.stop(now_s, deployed=self.deployed)
            case Recovered():
                actions = self._recovered(event, now_s)
            case ClockTick():
                actions = self.ending.out_of_patience(now_s)
                if not self.ending.stopping:
                    actions += self.oversight.judge(now_s)
        actions += self._progress(now_s)
        ends = [action for action in actions if isinstance(action, EndJob)]
        if (verdict := self._differences.verdict(now_s, ending=bool(ends))) is not None:
            ends = [EndJob("failed", verdict, "nondeterminism")]
            actions = [a for a in actions if not isinstance(a, EndJob)] + ends
        self.ended = ends[0] if ends else None
        return self._remembered(actions)

    def _remembered(self, actions: list[object]) -> list[object]:
        """What was decided is journalled before it is carried out."""
        if (facts := facts_of(self)) == self._journalled:
            return actions
        self._journalled = facts
        return [Journal(STATE, facts), *actions]

    # -- another incarnation -------------------------------------------------------------------------------------------

    def _recovered(self, event: Recovered, now_s: float) -> list[object]:
        """Go on where the coordinator before this one was; then replace who was lost meanwhile."""
        self._force.spawning = len(event.starting)
        actions = self._succession.begin(event)
        for procedure in list(self.reconfigurer.running.values()):
            begun = self._succession.begin_again(procedure)
            if begun is None:
                return [*actions, self._state_lost(procedure.old, procedure.cause)]
            actions += begun
        for worker in sorted(set(self.members.live) - event.alive):
            actions += self._lost(WorkerLost(worker, "was lost with the coordinator", now_s), now_s)
        if event.resumed:
            actions = [a for a in actions if not (isinstance(a, Record) and a.kind in LOSSES)]
        return actions if self.deployed else [*actions, *self._refill("the job is started anew")]

    # -- workers -------------------------------------------------------------------------------------------------------

    def _joined(self, event: WorkerJoined) -> list[object]:
        if not (actions := self._force.join(event, self.epoch, deployed=self.deployed)):
            return []
        for record in self.members.of_kind("keyed"):
            if not self.plan.settings.checkpoint_ticks:
                break
            if self.members.workers[record.worker].lost:
                continue
            if record.holder in (None, record.worker):
                actions += self.reconfigurer.holders.hold_elsewhere(record)
            elif record.second is None and self.plan.settings.copies > 1:
                actions += self.reconfigurer.hold_beside(record)
        if not self.deployed and len(self.members.live) >= self._needed:
            self.deployed = True
            actions += self.reconfigurer.deploy(self.members.live[: self._force.wanted])
            actions += self._warnings()
        return actions

    def _warnings(self) -> list[object]:
        """What this cluster cannot survive, said at the start."""
        warnings: list[object] = []
        force = self._force
        if not self.plan.settings.checkpoint_ticks:
            text = "checkpoints are off: the loss of a worker with a stateful operator ends the job"
            warnings.append(Record("warning", cause=text))
        elif (
            self._force.wanted + self._force.spares < 2 and self.members.of_kind("keyed") and not self.members.has_disk
        ):
            text = "one worker and no spare: a checkpoint has nowhere to go, and the loss of the worker ends the job"
            warnings.append(Record("warning", cause=text))
        elif force.spares == 0:
            text = "no spare: the instances of a lost worker crowd onto the others"
            warnings.append(Record("warning", cause=text))
        return warnings

    def _lost(self, event: WorkerLost, now_s: float) -> list[object]:
        if event.worker not in self.members.workers:
            return self._force.never_joined(event)
        if not (actions := self._force.lose(event)):
            return []
        cause = f"worker {event.worker} {event.reason}"
        return actions + self._refill(cause) + self._recover_from(event.worker, cause, now_s)

    def _refill(self, cause: str) -> list[object]:
        """Start a worker for each that the job lacks, in place of those that were lost or came into use."""
        lacking = self._lacking
        if (self.scaling.lacks_worker or self.draining.lacks_worker) and not self._force.spawning:
            lacking = max(1, lacking)
        return self._force.spawn(lacking, cause)

    @property
    def _lacking(self) -> int:
        """So many workers fewer than the job wants; below zero if there are more."""
        usable = self.members.usable
        in_use = len(usable) - len(self.members.spares)
        extra = sum(self.members.workers[w].extra for w in usable)
        return max(self._force.wanted, in_use - extra) + extra + self._force.spares - len(usable)

    def _recover_from(self, lost: int, cause: str, now_s: float) -> list[object]:
        """Replace what ran there; make the copies again that lay there."""
        fewer = self.reconfigurer.holders.promote(lost)
        actions = self._splits_after(lost, fewer)
        for record in sorted(self.members.instances.values(), key=lambda i: i.id):
            if record.worker == lost:
                if (loop := self._loops.died(record, cause)) is not None:
                    return [*actions, EndJob("failed", loop)]
                begun = self.reconfigurer.begin(record, cause, now_s, self._parts(record))
                if begun is None:
                    return [*actions, self._state_lost(record, cause)]
                actions += begun
        for procedure in [p for p in self.reconfigurer.running.values() if p.at == lost]:
            if not self.reconfigurer.locate(procedure):
                return [*actions, self._state_lost(procedure.old, cause)]
            actions += self.reconfigurer.cut(procedure)
        for record in sorted(self.members.instances.values(), key=lambda i: i.id):
            if self.members.workers[record.worker].lost:
                continue
            if record.part_at == lost and not record.running:
                begun = self._restart(record, cause, now_s)
                if begun is None:
                    return [*actions, self._state_lost(record, cause)]
                actions += begun
            elif record.id in fewer:
                actions += self._hold_again(record)
        return actions

    def _parts(self, record: InstanceRecord) -> list[tuple[KeyInterval, int]]:
        """Key interval and worker of each part of a lost instance; none if one successor is to take all of it.

        Several parts are of one checkpoint, also if one of them is lost: so there must be a disk that keeps them.

        Source: SEEP §4.2, parallel recovery: scale-out-operator(o, π) with π > 1.
        """
        wanted, plan = self.plan.settings.recovery_parts, self.plan
        stateful = plan.operators[record.operator].kind == "keyed" and plan.settings.checkpoint_ticks
        if wanted < 2 or not stateful or not self.members.has_disk:
            return []
        members, whole = self.members, cuttable(plan, record)
        load = members.load()
        others = sorted((w for w in members.usable if w != record.holder), key=lambda w: (load[w], w))
        places = others[: min(wanted, whole.most)]
        return list(zip(whole.cut(len(places)), places, strict=True)) if len(places) > 1 else []

    def _restart(self, record: InstanceRecord, cause: str, now_s: float) -> list[object] | None:
        """What an instance was to start from is lost: make it anew from what that was; None if there is nothing."""
        if record.origin is not None or self.members.has_disk:
            return self.reconfigurer.begin(record, cause, now_s)
        if not record.fresh:
            return None
        actions = self._hold_again(record)
        record.part_at = None  # nothing lay there: tick 0 will do
        return [*actions, self.reconfigurer.start(record)]

    def _splits_after(self, lost: int, fewer: set[int]) -> list[object]:
        """Scale outs that a loss concerns: off while the old instance lives; else they have become recoveries."""
        actions: list[object] = []
        for procedure in [p for p in self.reconfigurer.running.values() if p.scales]:
            if procedure.joined or not self.members.workers[procedure.old.worker].lost:
                if lost in procedure.workers or any(old.id in fewer for old in procedure.joined):
                    actions += self.reconfigurer.abort(procedure)
            elif procedure.cut:
                actions += self.reconfigurer.commit(procedure)
        return actions

    def _hold_again(self, record: InstanceRecord) -> list[object]:
        gone = Record("checkpoint_lost", record.operator, record.index, record.worker, "its holder was lost")
        if not self.members.is_lost(record.holder):
            return [gone, *self.reconfigurer.hold_beside(record)]
        return [gone, *self.reconfigurer.holders.hold_elsewhere(record)]

    def _state_lost(self, record: InstanceRecord, cause: str) -> EndJob:
        what = f"{record.operator}#{record.index} (key groups {record.interval})"
        if not self.plan.settings.checkpoint_ticks:
            why = "and checkpoints are off: set checkpoint to a duration"
        elif record.holder is None:
            why = "and it had no copy elsewhere: run with more workers"
        elif self.members.has_disk:
            why = "and there is no checkpoint of it in the job directory"
        elif not self.members.workers[record.holder].lost:
            why = f"and worker {record.holder}, which was to keep its checkpoints from then on, had none yet"
        else:
            why = (
                f"and its only checkpoint went with worker {record.holder}: to survive two losses at once, keep "
                'checkpoints on the disk too ("disk: on"), or twice ("copies: 2")'
            )
        return EndJob("failed", f"the state of {what} is lost: {cause}, {why}", "state_lost")

    # -- procedures ----------------------------------------------------------------------------------------------------

    def _progress(self, now_s: float) -> list[object]:
        """Carry procedures on that wait for a worker."""
        actions: list[object] = []
        for procedure in list(self.reconfigurer.running.values()):
            if not procedure.cut and procedure.at is None and self.members.live:
                self.reconfigurer.locate(procedure)
                actions += self.reconfigurer.cut(procedure)
            if procedure.scales:
                actions += self._carry_split_on(procedure, now_s)
            elif procedure.cut and (worker := self._place(procedure, now_s)) is not None:
                actions += self.reconfigurer.commit(procedure, worker)
        if self.deployed and self.reconfigurer.finish is None and not self.ending.stopping:
            actions += self.scaling.progress(now_s)
            idle = not (self._force.spawning or self.scaling.busy or self.reconfigurer.running)
            actions += self.draining.surplus(-self._lacking if idle else 0, now_s)
            actions += self.draining.progress(now_s)
            actions += self._refill("a spare came into use")
        if not self.members.live and self.deployed and not self._force.spawning:
            actions.append(EndJob("failed", "no worker is left"))
        return actions

    def _carry_split_on(self, procedure: Procedure, now_s: float) -> list[object]:
        """Have the parts restored once they are cut; if the old instance has died by then, they take over at once."""
        if procedure.joined and now_s - procedure.since_s > JOIN_DEADLINE_S:
            return self.reconfigurer.abort(procedure)
        if not procedure.cut and procedure.patient and now_s - procedure.since_s > PATIENCE_S:
            procedure.patient = False
            return self.reconfigurer.cut(procedure)
        if not procedure.cut or procedure.version:
            return []
        if procedure.joined or not self.members.workers[procedure.old.worker].lost:
            return self.reconfigurer.prepare(procedure)
        load = self.members.load()
        choice = [w for w in self.members.usable if w != procedure.at] or self.members.usable
        for successor, worker in procedure.places.items():
            if self.members.workers[worker].lost and choice:
                procedure.places[successor] = min(choice, key=lambda w: (load[w], w))
        return self.reconfigurer.commit(procedure) if choice else []

    def _place(self, procedure: Procedure, now_s: float) -> int | None:
        """A worker for the successor: its neighbours' heir, else a spare, else after a while the idlest."""
        members, old = self.members, procedure.old
        if not members.workers[old.worker].lost:
            return old.worker
        heir = self._heir.get(old.worker)
        if heir is not None and heir in members.usable and heir != procedure.at:
            return heir
        for spare in members.spares:
            if spare != procedure.at:
                self._heir[old.worker] = spare
                return spare
        if self._force.spawning and now_s - procedure.since_s < WAIT_FOR_SPARE_S:
            return None
        load = members.load()
        choice = [w for w in members.usable if w != procedure.at] or members.live
        return min(choice, key=lambda w: (load[w], w)) if choice else None

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
                return self.reconfigurer.on_align_answer(message)
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
        text = f"{message.replayed} records up to tick {message.tick}"
        return [Record("replayed", record.operator, record.index, record.worker, text)]

    def _started(self, message: Started, now_s: float) -> list[object]:
        record = self.members.instances.get(message.instance)
        if message.cause:
            self.oversight.undertakings.restored(message.cause, message.keys, now_s)
        if record is None:
            return self.reconfigurer.on_restored(message.instance, message.tick)
        record.running, record.start_tick = True, message.tick
        actions = self.reconfigurer.views_for(record)
        if record.cause and record.id not in self.reconfigurer.planned:
            text = f"{message.keys} keys at tick {message.tick}"
            actions.append(Record("restored", record.operator, record.index, record.worker, text))
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
        if waiting is not None and not waiting.cut:
            self.oversight.undertakings.cut(waiting.cause, message.keys, now_s)
        procedure = self.reconfigurer.on_cut_done(message)
        if procedure is not None and message.lost:
            if again := self.reconfigurer.cut_at_former(procedure):
                return again
            if procedure.joined or (procedure.scales and not self.members.workers[procedure.old.worker].lost):
                return self.reconfigurer.abort(procedure)
            return [self._state_lost(procedure.old, procedure.cause)]
        return []

    def _fenced(self, message: Fenced, worker: int) -> list[object]:
        """Only a zombie is fenced by its successor; a current instance that is was overtaken by another job's run."""
        record = self.members.instances.get(message.instance)
        if record is None:
            planned = message.instance in self.reconfigurer.planned
            return [] if planned else [Record("fenced", worker=worker)]
        return [overtaken(record)]

    def _trimmed(self, message: Trimmed) -> list[object]:
        consumer = self.members.instances.get(message.consumer)
        producer = self.members.instances.get(message.producer)
        if consumer is None or producer is None or self.members.workers[consumer.worker].lost:
            return []
        text = (
            f"{consumer.operator}#{consumer.index} needs {producer.operator}'s output after tick {message.after}, "
            f"which was dropped through tick {message.floor}: its newest checkpoint was lost"
        )
        return [EndJob("failed", text, "state_lost")]

    def _nondeterministic(self, message: Nondeterministic, now_s: float) -> list[object]:
        if self.plan.settings.nondeterminism == "fail":
            self._differences.heard(message, now_s)
        return [Record("nondeterminism", message.operator, cause=self._differences.described(message))]
