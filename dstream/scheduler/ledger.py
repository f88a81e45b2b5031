"""What the scheduler knows of one job: who is there, where state lives, which tasks are left, what has just happened.

Plain facts and what keeps them consistent; the rooms beside this one decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dstream.blocks import Name
from dstream.outages import Outage, Outages
from dstream.plan import Kind, Stage, StreamPlan
from dstream.protocol import Sealed
from dstream.scheduler.copies import Copies, wanted
from dstream.scheduler.lineage import Lineage, Sources, Task
from dstream.scheduler.progress import Interval, Progress
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.report import FailedOutput


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


@dataclass(slots=True)
class News:
    """What has happened since orders were given last.

    Attributes:
        located: Blocks that have come.
        opened: Tasks that were made.
        missed: Something was lost.
        everything: Not only what is named here may have changed.
    """

    located: list[Name] = field(default_factory=list)
    opened: list[Task] = field(default_factory=list)
    missed: bool = False
    everything: bool = False


OPEN_AT_ONCE = 64
"""So many intervals after the last complete one have tasks; later ones wait, though their input is there. That is many
more than are ever worked on at once, and few enough to be looked through with every tick of the clock."""


class Ledger:
    """Facts of one job.

    Attributes:
        deployed: Partitions have been placed.
        announced: All of them have been running.
        keep: By stage: how many intervals before the last safe one are read yet.
        held: Partitions that live somewhere, by stage and number.
        stage_of: By instance: its stage.
        closed: By source partition (stage, number): intervals closed through.
        outages: What is computed no more since user code raises in it.
        disturbed: Something was lost once, so that blocks may be missing that were there.
        copies: Where versions of state lie.
        guarded: Counts changes of who is to keep copies.
        cut_s: When versions were cut that are not yet wherever they should be; by the task after which they were.
        unheard: Workers whose account a new scheduler waits for.
        moved_s: When a task was last done, or a partition began; Unix time.
        now_s: Unix time, in seconds, of the event that is being handled.
    """

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self.members = Membership(plan)
        self.lineage, self.progress, self.outages = Lineage(plan), Progress(plan), Outages(plan)
        self.keep = plan.keep_back()
        self.held: dict[tuple[int, int], Held] = {}
        self.stage_of: dict[int, int] = {}
        self.closed: dict[tuple[int, int], int] = {}
        self.news = News()
        self.copies, self.guarded = Copies(), 0
        self.cut_s: dict[Name, float] = {}
        self.unheard: set[int] = set()
        self.deployed = self.announced = self.disturbed = False
        self.now_s = self.moved_s = 0.0
        self._noted = 0  # intervals through this one are closed somewhere

    @property
    def finish(self) -> tuple[int, bool] | None:
        """The tick that ends the stream, and whether the input ended there; None until it is fixed."""
        return self.members.finish

    @property
    def plan(self) -> StreamPlan:
        """What runs; its tick 0 is set when all workers are there."""
        return self._plan

    @plan.setter
    def plan(self, plan: StreamPlan) -> None:
        self._plan = self.lineage.plan = self.progress.plan = plan

    @property
    def epoch(self) -> int:
        """Of this incarnation of the coordinator; commands carry it."""
        return self.members.epoch

    def stage(self, record: InstanceRecord) -> Stage:
        """The stage that an instance is of."""
        return self._plan.stages[self.stage_of[record.id]]

    def held_by(self, instance: int) -> Held | None:
        """The partition that an instance of the current assignment is; None if it is a source, or was replaced."""
        record = self.members.instances.get(instance)
        return None if record is None else self.held.get((self.stage_of[instance], record.index))

    def of_kind(self, kind: Kind) -> list[Held]:
        """Partitions of all stages with state, or of all sinks."""
        return [h for h in self.held.values() if h.stage.kind is kind]

    def restarts_at(self, stage: int) -> int:
        """The version that lost state of a stage is computed from."""
        return self._plan.restarts_at(self.keep[stage], self.progress.safe)

    def stored(self) -> set[int] | None:
        """Versions that all state has wherever it should; None if there is no state."""
        held, has_disk = self.of_kind(Kind.STATE), self._plan.has_disk
        if not held:
            return None
        return self.copies.stored({(h.stage.id, h.partition): wanted(h.record, has_disk=has_disk) for h in held})

    # -- what happens --------------------------------------------------------------------------------------------------

    def miss(self) -> None:
        """Something is lost."""
        self.disturbed = self.news.missed = True

    def note(self, through: int) -> None:
        """Some source has closed all intervals through one."""
        while self._noted < through:
            self._noted += 1
            last = self.now_s if self._plan.batch else self._tick_s(self._plan.last_tick(self._noted))
            self.progress.intervals[self._noted] = Interval(self._noted, ends_s=min(last, self.now_s))
        self.open()

    def open(self) -> None:
        """The tasks of intervals that are closed somewhere wait for their inputs from now on, some intervals at once.

        So whatever has held the job up, an event costs no more while it catches up than it did before.
        """
        while self.lineage.opened < min(self._noted, self.progress.done + OPEN_AT_ONCE):
            interval = self.progress.intervals[self.lineage.opened + 1]
            needed = (name for name in self.lineage.open(interval.number) if self.outages.needs(name))
            tasks = [self.lineage.want(name) for name in needed if not self._is_done(name)]
            self.news.opened += tasks
            interval.left, interval.tasks = {t.name for t in tasks}, len(tasks)

    def begin_after(self, done: int) -> None:
        """Intervals through one were complete before this scheduler began."""
        self._noted = self.lineage.opened = self.progress.done = done

    def _is_done(self, name: Name) -> bool:
        """Whether a task of an interval that is only now known of was done: nobody was there who could be told."""
        held = self.held.get((name.stage, name.partition))
        return (held.done or 0) >= name.interval if held is not None else self.lineage.located(name) is not None

    def _tick_s(self, tick: int) -> float:
        return self._plan.tick_zero_s + tick * self._plan.settings.tick_ms / 1000

    def close(self, record: InstanceRecord, through: int) -> None:
        """A source has closed all intervals through one."""
        key = (self.stage_of[record.id], record.index)
        self.closed[key] = max(self.closed[key], through)
        self.note(through)

    def sealed(self, message: Sealed, worker: int) -> None:
        """A source has closed an interval, and has its input block."""
        record = self.members.instances.get(message.instance)
        if record is None:
            return
        stage = self.stage_of[message.instance]
        closed = self.closed[stage, record.index]
        self.close(record, message.interval)
        name = Name(stage, message.interval, record.index)
        if message.kept:
            self.locate(name, worker)
        elif self.lineage.located(name) is None and self.outages.needs(name):
            self.lineage.want(name)
            self.news.everything = True
        interval = self.progress.intervals.get(message.interval)
        if interval is not None and message.interval > closed:  # it may be said twice
            interval.records += message.records
            interval.size_bytes += message.size_bytes
        self.progress.failed(name, message.failed)

    def locate(self, name: Name, worker: int) -> Task | None:
        """A task's blocks have come; the task, if it was wanted."""
        self.news.located.append(name)
        return self.lineage.finish(name, worker)

    def reached(self, held: Held, done: int) -> None:
        """A worker has said through which interval it has done a partition's tasks, maybe without being heard then."""
        held.done = done
        self.rerun(held)
        for number in [n for n in self.progress.intervals if n <= done]:
            self.progress.did(Name(held.stage.id, number, held.partition))

    def rerun(self, held: Held) -> None:
        """All intervals that a partition has not done are to be done by it, in order."""
        assert held.done is not None
        self.news.everything, self.news.missed = True, self.disturbed
        for name in [n for n in self.lineage.tasks if (n.stage, n.partition) == (held.stage.id, held.partition)]:
            del self.lineage.tasks[name]
        held.told = held.done
        for interval in range(held.done + 1, self.lineage.opened + 1):
            name = Name(held.stage.id, interval, held.partition)
            if self.outages.needs(name):
                self.lineage.want(name, again=not self.progress.lacks(name))

    def sources(self, name: Name) -> Sources | None:
        """Where a task's inputs lie; None if some lie nowhere. An output that has failed has none."""
        if self.outages.silences(name):
            return tuple(tuple(() for _ in input.back) for input in self._plan.stages[name.stage].inputs)
        return self.lineage.sources(name)

    def give_up(self, outage: Outage) -> list[FailedOutput]:
        """Tasks that nobody needs without what is given up are not done; the outputs that fail by it."""
        failed = self.outages.add(outage)
        needless = {name for name in self.lineage.tasks if not self.outages.needs(name)}
        for name in needless:
            del self.lineage.tasks[name]
        for interval in self.progress.intervals.values():
            if interval.left is not None:
                interval.left = {name for name in interval.left if self.outages.needs(name)}
        for stage in self.outages.failed:  # what they were to wait for does not come
            for partition in range(self._plan.stages[stage].partitions):
                self.untell(Name(stage, self.outages.until[stage] + 1, partition))
        self.news.everything = True
        return failed

    def untell(self, name: Name) -> None:
        """A partition's orders from an interval on are to be given again."""
        if (held := self.held.get((name.stage, name.partition))) is not None:
            held.told = max(held.done or 0, min(held.told, name.interval - 1))
            for other in self.lineage.tasks.values():
                same = (other.name.stage, other.name.partition) == (name.stage, name.partition)
                if same and other.name.interval >= name.interval:
                    other.worker = None
