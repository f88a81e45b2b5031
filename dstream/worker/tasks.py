"""The tasks of one worker: what each is still waiting for, which is next, and the state that some of them work on."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dstream.logic import Content, Given, Logic, LogicContext
from dstream.plan import Kind, Reach, Stage, StreamPlan
from dstream.protocol import Place, RunTask
from dstream.versions import Weight
from elastic.keys import KeyInterval
from elastic.operators.base import ProcessorContext
from elastic.operators.failure import Failures
from elastic.report import FailedRecords

Block: TypeAlias = tuple[int, int, int, int, bool]
"""(stage, channel, interval, partition, whole): all of a block, or the key groups of the task."""

OVERDUE = 2
"""After so many nudges without an answer, blocks are asked for again."""


@dataclass(slots=True)
class Partition:
    """One partition of a stage as it lives on a worker.

    Attributes:
        done: State is that after this interval.
        holders: Workers that keep versions of its state in memory.
        weight: Of the versions that were cut here.
    """

    stage: int
    partition: int
    instance: int
    logic: Logic
    failures: Failures
    done: int = 0
    holders: tuple[int, ...] = ()
    weight: Weight = field(default_factory=Weight)

    def failed(self) -> tuple[FailedRecords, ...]:
        """Records that the last task has skipped or diverted."""
        return tuple(found for _, found in self.failures.take())


@dataclass(slots=True)
class Gathering:
    """A task and what has come of its inputs.

    Attributes:
        groups: The slice that it reads of each block that is shuffled.
        requests: Workers that were asked and have not answered, by request.
        missing: (stage, interval, partition, worker) of blocks that were not there.
    """

    task: RunTask
    blocks: tuple[tuple[tuple[Block, int], ...], ...]
    shape: tuple[tuple[int, ...], ...]
    groups: KeyInterval
    contents: dict[tuple[int, Block], Content] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)
    missing: list[tuple[int, int, int, int]] = field(default_factory=list)
    nudges: int = 0

    def needed(self) -> dict[int, list[Block]]:
        """Blocks that have not come, by the worker that has them; each once."""
        by_worker: dict[int, dict[Block, None]] = {}
        for blocks in self.blocks:
            for block, worker in blocks:
                if (worker, block) not in self.contents:
                    by_worker.setdefault(worker, {})[block] = None
        return {worker: list(blocks) for worker, blocks in by_worker.items()}

    def arrived(self, worker: int, contents: Sequence[Content | None]) -> None:
        """What a worker has of the blocks that were needed of it, in that order."""
        for block, content in zip(self.needed().get(worker, []), contents, strict=False):
            if content is None:
                stage, _, interval, partition, _ = block
                self.missing.append((stage, interval, partition, worker))
            else:
                self.contents[worker, block] = content

    def given(self) -> Given:
        """Everything, for the logic."""
        task = self.task
        inputs = []
        for blocks, lengths in zip(self.blocks, self.shape, strict=True):
            each = iter([self.contents[worker, block] for block, worker in blocks])
            inputs.append([[next(each) for _ in range(length)] for length in lengths])
        return Given(task.interval, task.after, task.through, task.final, inputs, frozenset(task.without))

    @property
    def rows_in(self) -> int:
        """Rows of all inputs."""
        return sum(len(batch) for content in self.contents.values() for _, batch in content)


class Tasks:
    """All tasks of one worker that are not done, and the partitions with state that live there."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self._states: dict[tuple[int, int], Partition] = {}
        self._stateless: dict[tuple[int, int], Partition] = {}
        self._gathering: dict[tuple[int, int, int], Gathering] = {}
        self._ready: dict[tuple[int, int, int], Gathering] = {}

    def place(self, stage: Stage, place: Place) -> Partition:
        """A partition with state lives here from now on."""
        logic, failures = self._make(stage, place.partition)
        held = Partition(stage.id, place.partition, place.instance, logic, failures, place.at, place.holders)
        self._states[stage.id, place.partition] = held
        return held

    def forget(self, instance: int) -> None:
        """It lives here no more."""
        self._states = {key: held for key, held in self._states.items() if held.instance != instance}

    def of(self, instance: int) -> Partition | None:
        """The state of an instance; None if it does not live here."""
        return next((held for held in self._states.values() if held.instance == instance), None)

    @property
    def states(self) -> list[Partition]:
        """All that live here."""
        return list(self._states.values())

    def held(self, task: RunTask) -> Partition | None:
        """The state that a task works on; None if it works on none, or lives elsewhere."""
        held = self._states.get((task.stage, task.partition))
        return held if held is not None and held.instance == task.instance else None

    def partition_for(self, task: RunTask) -> Partition:
        """What computes a task that is ready."""
        if (held := self.held(task)) is not None:
            return held
        key = (task.stage, task.partition)
        if key not in self._stateless:
            stage = self._plan.stages[task.stage]
            self._stateless[key] = Partition(task.stage, task.partition, 0, *self._make(stage, task.partition))
        return self._stateless[key]

    def _make(self, stage: Stage, partition: int) -> tuple[Logic, Failures]:
        context = ProcessorContext.of(self._plan, stage.operator, self._plan.key_interval(stage, partition))
        return stage.logic(LogicContext(partition, context)), context.failures

    def spoilt(self, task: RunTask) -> int | None:
        """User code raised in a task: what computed it is not used again; the channel that it was at."""
        used = self.held(task) or self._stateless.pop((task.stage, task.partition), None)
        if used is not None and used.instance:
            self.forget(used.instance)
        return None if used is None else used.logic.at

    # -- gathering -----------------------------------------------------------------------------------------------------

    def gather(self, task: RunTask) -> Gathering:
        """Begin to gather a task's inputs; an older order for the same task is forgotten."""
        stage = self._plan.stages[task.stage]
        blocks, shape = [], []
        for input, by_interval in zip(stage.inputs, task.sources, strict=True):
            narrow, whole = input.reach is Reach.SAME, input.reach is not Reach.KEYS
            named: list[tuple[Block, int]] = []
            for back, workers in zip(input.back, by_interval, strict=True):
                first = task.partition if narrow else 0
                named += [
                    ((input.stage, input.channel, task.interval - back, first + n, whole), worker)
                    for n, worker in enumerate(workers)
                ]
            blocks.append(tuple(named))
            shape.append(tuple(len(workers) for workers in by_interval))
        groups = self._plan.key_interval(stage, task.partition)
        key = (task.interval, task.stage, task.partition)
        self._ready.pop(key, None)
        gathering = self._gathering[key] = Gathering(task, tuple(blocks), tuple(shape), groups)
        return gathering

    def waiting_for(self, request: int) -> Gathering | None:
        """Who waits for the answer to a request."""
        return next((g for g in self._gathering.values() if request in g.requests), None)

    def give_up(self, gathering: Gathering) -> None:
        """The task cannot be computed here and now."""
        task = gathering.task
        self._gathering.pop((task.interval, task.stage, task.partition), None)

    def ready(self, gathering: Gathering) -> None:
        """All inputs of the task are here."""
        task = gathering.task
        key = (task.interval, task.stage, task.partition)
        self._gathering.pop(key, None)
        self._ready[key] = gathering

    def overdue(self) -> Iterator[Gathering]:
        """Tasks that have waited for blocks through several nudges."""
        for gathering in self._gathering.values():
            gathering.nudges += 1
            if gathering.nudges % OVERDUE == 0:
                yield gathering

    # -- computing -----------------------------------------------------------------------------------------------------

    def next(self, sink_at: Callable[[int], int | None], restoring: Container[int]) -> Gathering | None:
        """The first task that can be computed now, in order of intervals and stages; it is no longer ready then.

        Args:
            sink_at: The interval that a sink was given last, by its instance; None if it is not here.
            restoring: Instances that wait for their state; so their tasks wait too.
        """
        for key in sorted(self._ready):
            task = self._ready[key].task
            kind = self._plan.stages[task.stage].kind
            if kind in {Kind.TASK, Kind.SOURCE}:
                return self._ready.pop(key)
            if task.instance in restoring:
                continue
            held = self.held(task)
            at = sink_at(task.instance) if kind is Kind.SINK else None if held is None else held.done
            if at is None or at >= task.interval:  # of an incarnation that was replaced
                del self._ready[key]
            elif at == task.interval - 1:
                return self._ready.pop(key)
        return None
