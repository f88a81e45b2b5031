"""The scheduler: events in, decisions out. It stands where the coordinator of the elastic model does, in its process.

It reads no clock and draws no random numbers; the coordinator's shell and the simulator drive it alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dstream.blocks import Name
from dstream.plan import Kind, Stage, StreamPlan
from dstream.protocol import Advance, Committed, Kept, Place, Resume, RunTask, Sealed, TaskDone, TaskFailed, TaskLacks
from dstream.scheduler.lineage import Lineage, Task
from dstream.scheduler.progress import Interval, Progress
from elastic.coordinator.ending import Ending
from elastic.coordinator.events import (
    ClockTick,
    DrainRequested,
    EndJob,
    EndWorker,
    Event,
    Heard,
    Journal,
    Measured,
    Record,
    ScaleRequested,
    SpawnWorker,
    StopRequested,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.membership import InstanceRecord, Membership, Worker
from elastic.keys import KeyInterval
from elastic.plan import Plan
from elastic.protocol import (
    CaughtUp,
    Exhausted,
    Failed,
    Fenced,
    Finish,
    Finished,
    Frozen,
    Peers,
    Send,
    Start,
    Started,
)

MAX_FALSE_STARTS = 5
MAX_DEATHS = 10
"""So many workers in a row may be lost without one more interval being complete."""

SLOTS = 32
"""Tasks without state that a worker is given before it has done the first: enough that it never waits for orders."""

NEAR = 4
"""So many tasks more than the idlest may a worker have to be given a task whose input it has."""


@dataclass(slots=True)
class Held:
    """One partition of a stage with state or of a sink, and where it lives.

    Attributes:
        done: Through this interval; None until its worker has said where it begins.
        told: Through this interval its worker has orders.
        rows_in: That its tasks have read.
        busy_s: That its tasks have taken.
    """

    stage: Stage
    partition: int
    record: InstanceRecord
    done: int | None = None
    told: int = 0
    rows_in: int = 0
    busy_s: float = 0.0


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
        self._plan = plan
        self.members = Membership(plan)
        self.scaling, self.draining, self.oversight = NoScaling(), NoDraining(), None
        self.ended: EndJob | None = None
        self.epoch = epoch
        self.finish: tuple[int, bool] | None = None
        self._wanted, self._spares_wanted = workers, spares
        self._spawning = workers + spares
        self._ending = Ending(self.members, self)
        self.lineage = Lineage(plan)
        self.progress = Progress(plan)
        self._keep = plan.keep_back()
        self._held: dict[tuple[int, int], Held] = {}
        self._receivers: dict[int, int] = {}  # by instance: its stage
        self._closed: dict[tuple[int, int], int] = {}  # by source partition: intervals closed through
        self._deployed = self._announced = False
        self._never: set[int] = set()
        self._failures: Counter[Name] = Counter()
        self._deaths: tuple[int, int] = (0, 0)  # intervals done then, workers lost since
        self._now_s = 0.0
        self._recomputed = 0  # since the last interval that was complete
        self._disturbed = False  # something was lost once, so that blocks may be missing that were there
        self._missed = False  # something was lost just now
        self._look_at_all = False  # not only at what the news concerns
        self._located: list[Name] = []  # blocks that have come since orders were given
        self._opened: list[Task] = []  # tasks that were made since
        self._starved: dict[Name, None] = {}  # tasks that could be done, but every worker had enough
        self._given: dict[Name, int] = {}  # tasks without state, and who is doing them

    @property
    def plan(self) -> Plan:
        """What runs; its epoch is set when all workers are there."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        assert isinstance(plan, StreamPlan)
        self._plan = self.lineage.plan = self.progress.plan = plan

    def handle(self, event: Event, now_s: float) -> list[object]:
        """What follows from an event: messages to send, processes to start or end, entries for journal and log."""
        if self.ended is not None:
            return []
        self._now_s = now_s
        match event:
            case WorkerJoined():
                actions = self._joined(event)
            case WorkerLost():
                actions = self._lost(event)
            case WorkerBack():
                known = self.members.workers.get(event.worker)
                zombie = known is not None and known.lost
                actions = [Record("fenced", worker=event.worker), EndWorker(event.worker)] if zombie else []
            case Heard():
                actions = self._heard(event.worker, event.message)
            case StopRequested():
                actions = self._ending.stop(now_s, deployed=self._deployed)
            case ClockTick():
                actions = self._ending.out_of_patience(now_s)
                self._look_at_all = True
            case ScaleRequested() | DrainRequested() | Measured():
                actions = []
        if self._deployed and self.members.live:
            actions += self._orders()
        self.ended = next((action for action in actions if isinstance(action, EndJob)), None)
        return actions

    # -- workers -------------------------------------------------------------------------------------------------------

    def _joined(self, event: WorkerJoined) -> list[object]:
        if event.worker in self._never or event.worker in self.members.workers:
            return []
        self.members.workers[event.worker] = Worker(event.worker, event.address)
        self._spawning = max(0, self._spawning - 1)
        addresses = {w: self.members.workers[w].address for w in self.members.live}
        actions: list[object] = [Journal("worker", {"id": event.worker, "address": event.address})]
        actions += [Send(w, Peers(self.epoch, addresses)) for w in self.members.live]
        actions.append(Record("spare_started" if self._deployed else "joined", worker=event.worker))
        if not self._deployed and len(self.members.live) >= self._wanted:
            self._deployed = True
            actions += self._deploy(self.members.live[: self._wanted])
        elif self._deployed:
            actions += self._move(f"worker {event.worker} joined")  # what no worker was there for
        return actions

    def _lost(self, event: WorkerLost) -> list[object]:
        worker = self.members.workers.get(event.worker)
        if worker is None:
            return self._never_joined(event)
        if worker.lost:
            return []
        worker.lost = True
        cause = f"worker {event.worker} {event.reason}"
        actions: list[object] = [
            Record("failed", worker=event.worker, cause=event.reason, at_s=event.last_seen_s),
            Record("detected", worker=event.worker, cause=event.reason),
        ]
        if self._locks_a_target(event.worker):
            actions.append(EndWorker(event.worker))
        if (loop := self._crash_loop(cause)) is not None:
            return [*actions, loop]
        missing = max(0, self._wanted + self._spares_wanted - len(self.members.live) - self._spawning)
        self._spawning += missing
        actions += [SpawnWorker(cause) for _ in range(missing)]
        if self._deployed and not self.members.live and not self._spawning:
            return [*actions, EndJob("failed", "no worker is left")]
        self._disturbed = self._missed = True
        for name in self.lineage.lose(event.worker):
            self._untell(name)
        return actions + self._move(cause)

    def _crash_loop(self, cause: str) -> EndJob | None:
        """The end, if workers are lost again and again and nothing gets done between."""
        done, deaths = self._deaths
        deaths = deaths + 1 if self.progress.done == done else 1
        self._deaths = (self.progress.done, deaths)
        if deaths < MAX_DEATHS:
            return None
        text = (
            f"workers were lost {deaths} times while interval {self.progress.done + 1} was being processed, the last "
            f"time since {cause}: something in its rows may end the process"
        )
        return EndJob("failed", text)

    def _locks_a_target(self, worker: int) -> bool:
        """Whether the worker, if it merely stands still, may keep a successor of one of its sinks waiting for ever."""
        here = [self._plan.operators[i.operator] for i in self.members.of_kind("sink") if i.worker == worker]
        return any(sink.logic.locks for sink in here)

    def _never_joined(self, event: WorkerLost) -> list[object]:
        """A worker ended while it was starting: once or twice that is bad luck, then it is the machine's fault."""
        if event.worker in self._never:
            return []
        self._never.add(event.worker)  # its hello may still be under way
        text = f"a worker ended before it joined: {event.reason}"
        if len(self._never) > MAX_FALSE_STARTS:
            return [EndJob("failed", f"{text}; so did {MAX_FALSE_STARTS} others: see their logs in the job directory")]
        return [Record("warning", worker=event.worker, cause=text), SpawnWorker(text)]

    # -- placement -----------------------------------------------------------------------------------------------------

    def _deploy(self, workers: list[int]) -> list[object]:
        """Place sources, state and sinks, each stage's partitions in turn round the workers."""
        actions: list[object] = []
        for stage in self._plan.stages:
            shift = 1 if stage.kind is Kind.SINK else 0  # a sink outlives the source that feeds it
            for partition in range(stage.partitions):
                if stage.kind is not Kind.TASK:
                    worker = workers[(partition + shift) % len(workers)]
                    actions += self._place(stage, partition, worker, generation=1, cause="")
        return [Journal("deploy", {"workers": workers}), *actions]

    def _place(self, stage: Stage, partition: int, worker: int, *, generation: int, cause: str) -> list[object]:
        """A partition of a stage that lives somewhere lives on a worker from now on."""
        record = InstanceRecord(
            self.members.new_id(), stage.operator, partition, self._interval(stage, partition), generation, worker,
            cause=cause,
        )  # fmt: skip
        self.members.instances[record.id] = record
        if stage.kind is Kind.SOURCE:
            return self._start_source(stage, record)
        held = self._held[stage.id, partition] = Held(stage, partition, record)
        if stage.kind is Kind.SINK:
            return [Send(worker, self._start(record))]
        held.done = held.told = self._plan.restarts_at(self._keep[stage.id], self.progress.safe)
        self._rerun(held)
        return [Send(worker, Place(self.epoch, record.id, stage.id, partition, held.done, cause))]

    def _interval(self, stage: Stage, partition: int) -> KeyInterval:
        if stage.kind is Kind.SOURCE:
            return self._plan.partition_interval(stage.operator, partition)
        return self._plan.key_interval(stage, partition)

    def _start(self, record: InstanceRecord) -> Start:
        final = None if self.finish is None else Finish(self.epoch, record.id, *self.finish)
        return Start(
            self.epoch, record.id, record.operator, record.index, record.interval, record.version, record.version,
            None, None, (), final, record.cause,
        )  # fmt: skip

    def _start_source(self, stage: Stage, record: InstanceRecord) -> list[object]:
        """A receiver goes on after the last interval that was closed; tasks read lost blocks again."""
        self._receivers[record.id] = stage.id
        closed = self._closed.setdefault((stage.id, record.index), 0)
        tick = 0 if self._plan.batch else self._plan.last_tick(closed)
        if self.finish is not None:
            tick = min(tick, self.finish[0])  # the last interval may be cut short
        resume = Send(record.worker, Resume(self.epoch, record.id, tick))
        return [resume, Send(record.worker, self._start(record)), *self._ending.told(record)]

    def _rerun(self, held: Held) -> None:
        """All intervals that a partition has not done are to be done by it, in order."""
        assert held.done is not None
        self._look_at_all, self._missed = True, self._disturbed
        for name in [n for n in self.lineage.tasks if (n.stage, n.partition) == (held.stage.id, held.partition)]:
            del self.lineage.tasks[name]
        held.told = held.done
        for interval in range(held.done + 1, self.lineage.opened + 1):
            name = Name(held.stage.id, interval, held.partition)
            self.lineage.want(name, again=not self._never_done(name))

    def _never_done(self, name: Name) -> bool:
        interval = self.progress.intervals.get(name.interval)
        return interval is not None and name in interval.left

    def _move(self, cause: str) -> list[object]:
        """What lived on lost workers lives on the others from now on, spread over all of them."""
        live = self.members.live
        lost = {w.id for w in self.members.workers.values() if w.lost}
        gone = sorted((r for r in self.members.instances.values() if r.worker in lost), key=lambda r: r.id)
        if not gone or not live:
            return []
        actions: list[object] = [
            Journal("reconfigure", {"cause": cause, "operator": r.operator, "new": [r.index]}) for r in gone
        ]
        share = Counter(dict.fromkeys(live, 0))
        for record in gone:
            load = self.members.load()
            worker = min(live, key=lambda w: (share[w], load[w], w))
            share[worker] += 1
            actions += self._replace(record, worker, cause)
        return [*actions, Journal("moved", {"cause": cause})]

    def _replace(self, record: InstanceRecord, worker: int, cause: str) -> list[object]:
        del self.members.instances[record.id]
        stage_id = self._receivers.pop(record.id, None)
        if stage_id is None:
            stage_id = next(k[0] for k, h in self._held.items() if h.record.id == record.id)
        stage = self._plan.stages[stage_id]
        self._disturbed = self._missed = True
        return self._place(stage, record.index, worker, generation=record.version + 1, cause=cause)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _heard(self, worker: int, message: object) -> list[object]:
        known = self.members.workers.get(worker)
        if known is None or known.lost:
            return []
        match message:
            case Sealed():
                return self._sealed(message, worker)
            case TaskDone():
                return self._task_done(message, worker)
            case TaskLacks():
                return self._task_lacks(message)
            case TaskFailed():
                return self._task_failed(message)
            case Kept():
                self.progress.kept(message.stage, message.partition, message.interval)
                return self._advance()
            case Committed():
                if (record := self.members.instances.get(message.instance)) is not None:
                    record.start_tick = message.tick
                return self._advance()
            case Started():
                return self._started(message)
            case Exhausted() | Frozen() | Finished():
                return self._ending.heard(message)
            case CaughtUp():
                return []
            case Failed():
                return [EndJob("failed", message.error)] if message.instance in self.members.instances else []
            case Fenced():
                return self._fenced(message, worker)
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
        held = next((h for h in self._held.values() if h.record is record), None)
        if held is not None and held.done is None:
            held.done = held.told = self._plan.whole_intervals(message.tick)
            self._rerun(held)
            for number in [n for n in self.progress.intervals if n <= held.done]:  # committed, but nobody could say so
                actions += self._finished(Name(held.stage.id, number, held.partition))
        if not self._announced and all(i.running for i in self.members.instances.values()):
            self._announced = True
            actions.append(Record("started"))
        return actions

    def _fenced(self, message: Fenced, worker: int) -> list[object]:
        record = self.members.instances.get(message.instance)
        if record is None:
            return [Record("fenced", worker=worker)]
        text = (
            f"{record.operator}#{record.index} was refused by its log or target: another run of this job writes there"
        )
        return [EndJob("failed", text)]

    def _sealed(self, message: Sealed, worker: int) -> list[object]:
        record = self.members.instances.get(message.instance)
        if record is None:
            return []
        stage = self._receivers[message.instance]
        key = (stage, record.index)
        self._closed[key] = max(self._closed[key], message.interval)
        while self.lineage.opened < message.interval:
            self._open(self.lineage.opened + 1)
        name = Name(stage, message.interval, record.index)
        self.lineage.finish(name, worker)
        self._located.append(name)
        if (interval := self.progress.intervals.get(message.interval)) is not None:
            interval.records += message.records
            interval.size_bytes += message.size_bytes
        return []

    def _open(self, number: int) -> None:
        tasks = self.lineage.open(number)
        self._opened += tasks
        last = self._now_s if self._plan.batch else self._tick_s(self._plan.last_tick(number))
        names = {t.name for t in tasks}
        self.progress.intervals[number] = Interval(number, names, len(names), min(last, self._now_s))

    def _tick_s(self, tick: int) -> float:
        return self._plan.epoch_s + tick * self._plan.settings.tick_ms / 1000

    def _task_done(self, message: TaskDone, worker: int) -> list[object]:
        name = Name(message.stage, message.interval, message.partition)
        if message.instance:
            held = self._held.get((message.stage, message.partition))
            if held is None or held.record.id != message.instance:
                return []  # of an incarnation that was replaced
            held.done = max(held.done or 0, message.interval)
            held.told = max(held.told, held.done)
            held.rows_in += message.rows_in
            held.busy_s += message.busy_s
        task = self.lineage.finish(name, worker)
        self._given.pop(name, None)
        self._located.append(name)
        if task is None:
            return []
        self._recomputed += task.again
        return self._finished(name)

    def _finished(self, name: Name) -> list[object]:
        """A task was done, maybe not for the first time."""
        complete = self.progress.done_tasks(name)
        return [self._record_of(interval) for interval in complete] + (self._advance() if complete else [])

    def _record_of(self, interval: Interval) -> Journal:
        """A complete interval, for the report and for whoever takes the job over."""
        recomputed, self._recomputed = self._recomputed, 0
        started_s = self._now_s if interval.started_s is None else interval.started_s
        return Journal(
            "interval",
            {
                "interval": interval.number,
                "records": interval.records,
                "bytes": interval.size_bytes,
                "ended_s": interval.ends_s,
                "scheduling_delay_ms": max(0.0, started_s - interval.ends_s) * 1000,
                "processing_ms": (self._now_s - started_s) * 1000,
                "total_delay_ms": max(0.0, self._now_s - interval.ends_s) * 1000,
                "tasks": interval.tasks,
                "recomputed": recomputed,
                "instances": [
                    [h.record.id, h.record.operator, h.rows_in, h.busy_s]
                    for h in self._held.values()
                    if h.stage.kind is Kind.STATE
                ],
            },
        )

    def _advance(self) -> list[object]:
        """Tell all workers how far everything is, and what may be forgotten."""
        committed = [self._plan.whole_intervals(s.start_tick or 0) for s in self.members.of_kind("sink")]
        reached = [h.done or 0 for h in self._held.values() if h.stage.kind is Kind.STATE]  # one may be catching up
        self.progress.advance(min([*committed, *reached], default=self.progress.done))
        safe, keep = self.progress.safe, self._keep
        drop = [safe - keep[s.id] for s in self._plan.stages]
        for stage in self._plan.stages:
            if stage.kind is Kind.SOURCE:  # can be read again, so it is kept no longer than until it is processed
                drop[stage.id] = self._read_through(stage)
        self.lineage.drop(drop)
        state = [self._plan.restarts_at(keep[s.id], safe) for s in self._plan.stages]
        sources = [safe - keep[s.id] for s in self._plan.stages if s.kind is Kind.SOURCE]
        tick = 0 if self._plan.batch else self._plan.last_tick(max(0, min(sources, default=0)))
        message = Advance(self.epoch, self.progress.done, tick, tuple(drop), tuple(state))
        return [Send(w, message) for w in self.members.live]

    def _read_through(self, source: Stage) -> int:
        """The interval through which no task, and none to come, reads the source's blocks."""
        consumers = [(s.id, i) for s, i in self._plan.consumers(source.id)]
        back = max((max(i.back) for _, i in consumers), default=0)
        stages = {id for id, _ in consumers}
        reading = [n.interval for n in self.lineage.tasks if n.stage in stages]
        return min([self.progress.done, *(interval - 1 for interval in reading)]) - back

    # -- trouble -------------------------------------------------------------------------------------------------------

    def _task_lacks(self, message: TaskLacks) -> list[object]:
        name = Name(message.stage, message.interval, message.partition)
        self._disturbed = self._missed = True
        for stage, interval, partition, worker in message.missing:
            self.lineage.mislaid(Name(stage, interval, partition), worker)
        task = self.lineage.tasks.get(name)
        if task is not None and task.attempt == message.attempt:
            task.worker = None
            self._untell(name)
        return []

    def _untell(self, name: Name) -> None:
        """A partition's orders from an interval on are to be given again."""
        if (held := self._held.get((name.stage, name.partition))) is not None:
            held.told = max(held.done or 0, min(held.told, name.interval - 1))
            for other in self.lineage.tasks.values():
                same = (other.name.stage, other.name.partition) == (name.stage, name.partition)
                if same and other.name.interval >= name.interval:
                    other.worker = None

    def _task_failed(self, message: TaskFailed) -> list[object]:
        name = Name(message.stage, message.interval, message.partition)
        self._failures[name] += 1
        operator = self._plan.stages[message.stage].operator
        if self._failures[name] > self._plan.retries:
            return [EndJob("failed", message.error)]
        text = f"attempt {self._failures[name]} at interval {message.interval} failed, and is made again"
        actions: list[object] = [Record("warning", operator, message.partition, cause=text)]
        held = self._held.get((message.stage, message.partition))
        if held is not None:
            return actions + self._replace(held.record, held.record.worker, text)
        if (task := self.lineage.tasks.get(name)) is not None:
            task.worker = None
            self._look_at_all = True
        return actions

    # -- orders --------------------------------------------------------------------------------------------------------

    def _orders(self) -> list[object]:
        """Give out every task that news has made possible; want again what is missing for others."""
        actions: list[object] = []
        if self._missed:
            actions += self._demand(self.lineage.waiting())
        elif self._disturbed and self._opened:
            actions += self._demand(self._opened)
        candidates = self._candidates()
        live, load = (self._active(), self._load()) if candidates else ([], Counter())
        full = False
        for task in candidates:
            sources = self.lineage.sources(task.name) if task.worker is None and not full else None
            if sources is None:
                if full:
                    self._starved[task.name] = None
                continue
            if (worker := self._worker_for(task, sources, live, load)) is None:
                full = True  # for every task alike
                self._starved[task.name] = None
                continue
            load[worker] += 1
            self._given[task.name] = worker
            actions.append(self._order(task, worker, sources))
        for held in self._held_candidates():
            actions += self._orders_of(held)
        self._located, self._opened, self._look_at_all = [], [], False
        return actions

    def _candidates(self) -> list[Task]:
        """Tasks without state that may be possible now: readers of what has come, and those that lacked a worker."""
        if self._look_at_all:
            self._starved = {}
            return self.lineage.waiting(set(self._held))
        names, self._starved = self._starved, {}
        for located in self._located:
            names.update(dict.fromkeys(self.lineage.readers(located, Kind.TASK)))
        found = [task for name in names if (task := self.lineage.tasks.get(name)) is not None]
        return sorted(found, key=lambda t: (t.name.interval, t.name.stage, t.name.partition))

    def _held_candidates(self) -> list[Held]:
        """Partitions with state, and sinks, that read what has come."""
        if self._look_at_all:
            return list(self._held.values())
        kinds = Kind.STATE, Kind.SINK
        names = (name for located in self._located for name in self.lineage.readers(located, *kinds))
        found = dict.fromkeys((name.stage, name.partition) for name in names)
        return [self._held[key] for key in found]

    def _orders_of(self, held: Held) -> list[object]:
        """A partition's next tasks, in order of intervals, as far as their inputs are there."""
        actions: list[object] = []
        while held.done is not None:
            task = self.lineage.tasks.get(Name(held.stage.id, held.told + 1, held.partition))
            sources = self.lineage.sources(task.name) if task is not None and task.worker is None else None
            if task is None or sources is None:
                break
            actions.append(self._order(task, held.record.worker, sources))
        return actions

    def _demand(self, todo: list[Task]) -> list[object]:
        """Want again what gives the blocks that waiting tasks miss, and so on up to what is there."""
        actions: list[object] = []
        self._missed, self._look_at_all = False, True
        while todo:
            task = todo.pop()
            for name in self.lineage.missing(task.name):
                if name in self.lineage.tasks:
                    continue
                stage = self.lineage.stage(name)
                if stage.kind is Kind.SOURCE and name.interval > self._closed[name.stage, name.partition]:
                    continue  # not lost: not there yet
                if stage.kind is Kind.STATE:
                    held = self._held[name.stage, name.partition]
                    if name.interval <= self._plan.restarts_at(self._keep[name.stage], self.progress.safe):
                        return [
                            EndJob("failed", f"a bug in dstream: {name} is needed below what is kept; please report it")
                        ]
                    text = f"a block of interval {name.interval} is missing"
                    actions += self._replace(held.record, held.record.worker, text)
                    todo += self.lineage.waiting()
                    continue
                todo.append(self.lineage.want(name, again=True))
        return actions

    def _load(self) -> Counter[int]:
        """Tasks without state that each worker has been given and has not done."""
        tasks = self.lineage.tasks
        self._given = {n: w for n, w in self._given.items() if (t := tasks.get(n)) is not None and t.worker == w}
        return Counter(self._given.values())

    def _worker_for(
        self, task: Task, sources: tuple[tuple[tuple[int, ...], ...], ...], live: list[int], load: Counter[int]
    ) -> int | None:
        """Who is to do a task: where its only input lies, unless others are idler; None if all have enough."""
        name = task.name
        idlest = min(live, key=lambda w: (load[w], (w - name.partition) % (max(live) + 1)))
        near = [w for by_interval in sources for workers in by_interval for w in workers]
        if len(near) == 1 and near[0] in live and load[near[0]] < min(SLOTS, load[idlest] + NEAR):
            return near[0]
        return idlest if load[idlest] < SLOTS else None

    def _active(self) -> list[int]:
        """Workers that take tasks: all that hold something; all there are if none does."""
        spares = self.members.spares
        return [w for w in self.members.live if w not in spares] or self.members.live

    def _order(self, task: Task, worker: int, sources: tuple[tuple[tuple[int, ...], ...], ...]) -> Send:
        name, plan = task.name, self._plan
        held = self._held.get((name.stage, name.partition))
        if held is not None:
            held.told = name.interval
        task.worker, task.attempt = worker, task.attempt + 1
        task.sources = frozenset(_flat(sources)) - {worker}
        interval = self.progress.intervals.get(name.interval)
        if interval is not None and interval.started_s is None:
            interval.started_s = self._now_s
        end, final = plan.last_tick(name.interval), False
        if self.finish is not None and plan.interval_of(self.finish[0]) == name.interval:
            end, final = self.finish
        after = 0 if plan.batch else plan.last_tick(name.interval - 1)
        checkpoint = name.interval % plan.checkpoint_intervals == 0
        return Send(
            worker,
            RunTask(
                self.epoch, name.stage, name.interval, name.partition, task.attempt, held.record.id if held else 0,
                after, end, final, checkpoint, sources,
            ),
        )  # fmt: skip


def _flat(sources: Iterable[Iterable[Iterable[int]]]) -> Iterable[int]:
    return (w for by_interval in sources for workers in by_interval for w in workers)
