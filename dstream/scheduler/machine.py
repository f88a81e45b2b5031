"""The scheduler: events in, decisions out. It stands where the coordinator of the elastic model does, in its process.

It reads no clock and draws no random numbers; the coordinator's shell and the simulator drive it alike.
"""

from __future__ import annotations

from dstream.blocks import Name
from dstream.plan import Kind, StreamPlan
from dstream.protocol import Committed, Kept, Sealed, TaskDone, TaskFailed, TaskLacks
from dstream.scheduler.ledger import Ledger
from dstream.scheduler.orders import Orders
from dstream.scheduler.placement import Placement
from dstream.scheduler.progress import Interval
from dstream.scheduler.recovery import Recovery
from dstream.scheduler.retention import Retention
from elastic.coordinator.ending import Ending
from elastic.coordinator.events import (
    ClockTick,
    EndJob,
    Event,
    Heard,
    Journal,
    Record,
    StopRequested,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.judgement import overtaken
from elastic.coordinator.workforce import Workforce
from elastic.plan import Plan
from elastic.protocol import Exhausted, Failed, Fenced, Finished, Frozen, Started


class NoScaling:
    """Stages are not scaled one by one: every interval's tasks go to all workers that there are."""

    def refusal(self, operator: str, instances: int) -> str | None:
        """Why not."""
        return (
            f"{operator} runs as tasks of the dstream model, which spread over all workers; "
            "operators are scaled under model: elastic"
        )


class NoDraining:
    """A worker is not drained: whatever it holds can be computed again."""

    def refusal(self, worker: int) -> str | None:
        """Why not."""
        return "workers of a job of the dstream model are not drained; kill-worker loses nothing that is not made again"


class Scheduler:
    """One job's scheduler.

    Args:
        plan: What to run.
        workers: How many workers share the tasks.
        spares: How many idle ones to keep beside them.
        epoch: Of this incarnation of the coordinator; commands carry it.
    """

    def __init__(self, plan: StreamPlan, workers: int, spares: int, epoch: int = 1) -> None:
        self._ledger = Ledger(plan, epoch)
        self.members = self._ledger.members
        self.scaling, self.draining, self.oversight = NoScaling(), NoDraining(), None
        self.ended: EndJob | None = None
        self._force = Workforce(self.members, workers, spares)
        self._ending = Ending(self.members)
        self._placement = Placement(self._ledger, self._ending)
        self._recovery = Recovery(self._ledger, self._placement)
        self._orders = Orders(self._ledger)
        self._retention = Retention(self._ledger)
        self._deployed = self._announced = False

    @property
    def epoch(self) -> int:
        """Of this incarnation; commands carry it."""
        return self._ledger.epoch

    @property
    def plan(self) -> Plan:
        """What runs; its epoch is set when all workers are there."""
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
                actions = self._ending.stop(now_s, deployed=self._deployed)
            case ClockTick():
                actions = self._ending.out_of_patience(now_s)
                self._ledger.news.everything = True
        if self._deployed and self.members.live:
            actions += self._recovery.demand()
            actions += self._orders.give()
        self.ended = next((action for action in actions if isinstance(action, EndJob)), None)
        return actions

    # -- workers -------------------------------------------------------------------------------------------------------

    def _joined(self, event: WorkerJoined) -> list[object]:
        if not (actions := self._force.join(event, deployed=self._deployed)):
            return []
        if self._deployed:
            return actions + self._placement.move(f"worker {event.worker} joined")  # what no worker was there for
        if len(self.members.live) >= self._force.wanted:
            self._deployed = True
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
        extra = sum(self.members.workers[w].extra for w in self.members.live)
        lacking = self._force.wanted + self._force.spares + extra - len(self.members.live)
        actions += self._force.spawn(lacking, cause)
        if self._deployed and not self.members.live and not self._force.spawning:
            return [*actions, EndJob("failed", "no worker is left")]
        return actions + self._recovery.lose(event.worker, cause)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _heard(self, worker: int, message: object) -> list[object]:
        known = self.members.workers.get(worker)
        if known is None or known.lost:
            return []
        match message:
            case Sealed():
                self._sealed(message, worker)
            case TaskDone():
                return self._task_done(message, worker)
            case TaskLacks():
                self._recovery.lacks(message)
            case TaskFailed():
                return self._recovery.failed(message)
            case Kept():
                self._ledger.progress.kept(message.stage, message.partition, message.interval)
                return self._retention.advance()
            case Committed():
                if (record := self.members.instances.get(message.instance)) is not None:
                    record.start_tick = message.tick
                return self._retention.advance()
            case Started():
                return self._started(message)
            case Exhausted() | Frozen() | Finished():
                return self._ending.heard(message)
            case Failed():
                return [EndJob("failed", message.error)] if message.instance in self.members.instances else []
            case Fenced():
                current = self.members.instances.get(message.instance)
                return [Record("fenced", worker=worker) if current is None else overtaken(current)]
        return []

    def _started(self, message: Started) -> list[object]:
        record = self.members.instances.get(message.instance)
        if record is None:
            return []
        record.running, record.start_tick = True, message.tick
        actions: list[object] = []
        if record.cause:
            text = f"{message.keys} keys at tick {message.tick}"
            actions.append(Record("restored", record.operator, record.index, record.worker, text))
        actions += self._ending.told(record)
        held = self._ledger.held_by(record.id)
        if held is not None and held.done is None:
            held.done = held.told = self._ledger.plan.whole_intervals(message.tick)
            self._ledger.rerun(held)
            intervals = self._ledger.progress.intervals
            for number in [n for n in intervals if n <= held.done]:  # committed, but nobody could say so
                actions += self._finished(Name(held.stage.id, number, held.partition))
        if not self._announced and all(i.running for i in self.members.instances.values()):
            self._announced = True
            actions.append(Record("started"))
        return actions

    def _sealed(self, message: Sealed, worker: int) -> None:
        ledger = self._ledger
        record = self.members.instances.get(message.instance)
        if record is None:
            return
        stage = ledger.stage_of[message.instance]
        ledger.closed[stage, record.index] = max(ledger.closed[stage, record.index], message.interval)
        ledger.open(message.interval)
        name = Name(stage, message.interval, record.index)
        if message.kept:
            ledger.locate(name, worker)
        else:
            ledger.lineage.want(name)
            ledger.news.everything = True
        if (interval := ledger.progress.intervals.get(message.interval)) is not None:
            interval.records += message.records
            interval.size_bytes += message.size_bytes

    def _task_done(self, message: TaskDone, worker: int) -> list[object]:
        ledger = self._ledger
        name = Name(message.stage, message.interval, message.partition)
        if message.instance:
            held = ledger.held.get((message.stage, message.partition))
            if held is None or held.record.id != message.instance:
                return []  # of an incarnation that was replaced
            held.done = max(held.done or 0, message.interval)
            held.told = max(held.told, held.done)
            held.rows_in += message.rows_in
            held.busy_s += message.busy_s
        task = ledger.locate(name, worker)
        self._orders.done(name)
        if task is None:
            return []
        ledger.progress.recomputed += task.again
        return self._finished(name)

    def _finished(self, name: Name) -> list[object]:
        """A task was done, maybe not for the first time."""
        complete = self._ledger.progress.done_tasks(name)
        return [self._record_of(interval) for interval in complete] + (self._retention.advance() if complete else [])

    def _record_of(self, interval: Interval) -> Journal:
        """A complete interval, for the report and for whoever takes the job over."""
        told = interval.told(self._ledger.now_s)
        told["recomputed"], self._ledger.progress.recomputed = self._ledger.progress.recomputed, 0
        told["instances"] = [
            [h.record.id, h.record.operator, h.rows_in, h.busy_s] for h in self._ledger.of_kind(Kind.STATE)
        ]
        return Journal("interval", told)
