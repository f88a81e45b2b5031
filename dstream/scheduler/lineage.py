"""Where blocks lie, which tasks are still to be done, and what has to be computed again. Plain facts and functions.

Lineage itself is in the plan's stages. A block that a task needs and that lies nowhere makes the task that gives it
wanted again, and so on up to the input log: recovery is nothing else.

Source: D-Streams §4.2, parallel recovery: lost partitions of several intervals are wanted at once, and any worker may
compute them.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, takewhile
from typing import TypeAlias

from dstream.blocks import Name, first_through
from dstream.plan import Input, Kind, Reach, Stage, StreamPlan

Sources: TypeAlias = tuple[tuple[tuple[int, ...], ...], ...]
"""Where a task's inputs lie: by input, interval and partition."""


@dataclass(slots=True)
class Task:
    """A task that is not done.

    Attributes:
        worker: Who was told to do it; None while it waits for its inputs.
        attempt: Counts its orders.
        again: It was done before, and what it gave is lost.
        sources: Workers that it was told to read from.
    """

    name: Name
    worker: int | None = None
    attempt: int = 0
    again: bool = False
    sources: frozenset[int] = frozenset()


@dataclass(slots=True)
class Lineage:
    """Blocks and tasks of all intervals that still matter.

    Attributes:
        tasks: Those that are not done, by name.
        opened: Tasks of intervals through this one have been made.
    """

    plan: StreamPlan
    tasks: dict[Name, Task] = field(default_factory=dict)
    opened: int = 0
    _at: dict[int, dict[int, dict[int, int]]] = field(default_factory=dict)  # stage: interval: partition: worker
    _consumers: dict[int, Sequence[tuple[Stage, Input]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._at = {s.id: {} for s in self.plan.stages}
        self._consumers = {s.id: self.plan.consumers(s.id) for s in self.plan.stages}

    # -- blocks --------------------------------------------------------------------------------------------------------

    def located(self, name: Name) -> int | None:
        """The worker that has a task's blocks."""
        return self._at[name.stage].get(name.interval, {}).get(name.partition)

    def locate(self, name: Name, worker: int) -> None:
        """A task's blocks lie on a worker from now on."""
        self._at[name.stage].setdefault(name.interval, {})[name.partition] = worker

    def mislaid(self, name: Name, worker: int) -> None:
        """A task's blocks do not lie where they were thought to be."""
        if self.located(name) == worker:
            del self._at[name.stage][name.interval][name.partition]

    def lose(self, worker: int) -> list[Name]:
        """All blocks on a worker are gone; tasks that it was to do, or that were to read from it, wait again."""
        back = [t for t in self.tasks.values() if t.worker == worker or (t.worker is not None and worker in t.sources)]
        for partitions in chain.from_iterable(at.values() for at in self._at.values()):
            for partition in [p for p, w in partitions.items() if w == worker]:
                del partitions[partition]
        for task in back:
            task.worker = None
        return [task.name for task in back]

    def drop(self, through: Sequence[int]) -> None:
        """Blocks of each stage through an interval, given by stage, are gone from everywhere."""
        for stage, at in self._at.items():
            for interval in first_through(at, through[stage]):
                del at[interval]

    def drop_tasks(self, through: Sequence[int]) -> None:
        """Nobody needs such blocks any more, so they are not computed again either: what they need may be gone."""
        needless = [n for n, task in self.tasks.items() if task.again and n.interval <= through[n.stage]]
        for name in needless:
            if self.plan.stages[name.stage].kind in {Kind.SOURCE, Kind.TASK}:  # state has to be advanced all the same
                del self.tasks[name]

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def open(self, interval: int) -> list[Name]:
        """All tasks of the next interval."""
        assert interval == self.opened + 1
        self.opened = interval
        stages = [s for s in self.plan.stages if s.kind is not Kind.SOURCE]
        return [Name(s.id, interval, p) for s in stages for p in range(s.partitions)]

    def want(self, name: Name, *, again: bool = False) -> Task:
        """The task is to be done; if it is under way already, it stays so."""
        if name not in self.tasks:
            self.tasks[name] = Task(name, again=again)
        return self.tasks[name]

    def finish(self, name: Name, worker: int) -> Task | None:
        """The task is done; None if it was not wanted any more."""
        if self.plan.stages[name.stage].kind is not Kind.SINK:
            self.locate(name, worker)
        return self.tasks.pop(name, None)

    def waiting(self, but: Container[tuple[int, int]] = ()) -> list[Task]:
        """Tasks that nobody was told to do, in order of intervals and stages; not those of some (stage, partition)."""
        found = [t for t in self.tasks.values() if t.worker is None and (t.name.stage, t.name.partition) not in but]
        return sorted(found, key=lambda t: (t.name.interval, t.name.stage, t.name.partition))

    def sources(self, name: Name) -> Sources | None:
        """Where a task's inputs lie, by input, interval and partition; None if some lie nowhere.

        The newest ones are looked for first: of a long window they are what is not there yet.
        """
        found = []
        for input in self.plan.stages[name.stage].inputs:
            by_interval = []
            for back in reversed(input.back):
                workers = self._workers(input, name.interval - back, name.partition)
                if workers is None:
                    return None
                by_interval.append(workers)
            found.append(tuple(reversed(by_interval)))
        return tuple(found)

    def _workers(self, input: Input, interval: int, partition: int) -> tuple[int, ...] | None:
        """Where the blocks of one dependency lie; before the first interval there is nothing to read."""
        if interval < 1:
            return ()
        at = self._at[input.stage].get(interval, {})
        if input.reach is Reach.SAME:
            return (at[partition],) if partition in at else None
        count = self.plan.stages[input.stage].partitions
        return tuple(at[p] for p in range(count)) if len(at) == count else None

    def consumers(self, stage: int) -> Sequence[tuple[Stage, Input]]:
        """Who reads a stage, and how."""
        return self._consumers.get(stage, ())

    def readers(self, name: Name, *kinds: Kind) -> Iterator[Name]:
        """Tasks of stages of some kinds that read a task's blocks."""
        for consumer, input in self._consumers.get(name.stage, ()):
            if consumer.kind not in kinds:
                continue
            partitions = (name.partition,) if input.reach is Reach.SAME else range(consumer.partitions)
            for back in takewhile(lambda back: name.interval + back <= self.opened, reversed(input.back)):
                yield from (Name(consumer.id, name.interval + back, partition) for partition in partitions)

    def missing(self, name: Name) -> Iterator[Name]:
        """Blocks that a task needs and that lie nowhere."""
        for input in self.plan.stages[name.stage].inputs:
            for back in input.back:
                interval = name.interval - back
                if interval < 1:
                    continue
                at = self._at[input.stage].get(interval, {})
                for partition in self._partitions(input, name.partition):
                    if partition not in at:
                        yield Name(input.stage, interval, partition)

    def _partitions(self, input: Input, partition: int) -> Sequence[int]:
        return (partition,) if input.reach is Reach.SAME else range(self.plan.stages[input.stage].partitions)

    def stage(self, name: Name) -> Stage:
        """The stage that a task belongs to."""
        return self.plan.stages[name.stage]
