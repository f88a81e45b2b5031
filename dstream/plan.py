"""What a program becomes before it runs: stages, each of which gives one dataset per interval.

A *stage* computes the partitions of its dataset of interval t from partitions of other datasets, of t or of earlier
intervals. So the lineage of any block is written down here once, and holds for every interval: no graph grows while
the job runs.

Source: D-Streams §3 and §4. We differ: Spark makes RDD objects anew for every batch; here lineage is a function of the
interval, and only where a block lies is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import Any, Self

from elastic.keys import KeyInterval, even_intervals
from elastic.plan import OperatorPlan, Plan

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "scale": "operators run as tasks of the dstream model, which spread over all workers; "
        "they are scaled under model: elastic",
        "drain": "workers of a job of the dstream model are not drained; "
        "kill-worker loses nothing that is not made again",
    }
)
"""What cannot be done to a job of this model, and why."""


class Kind(Enum):
    """How a stage's partitions come to be.

    Attributes:
        SOURCE: From what a source partition read in the interval, which the input log names; made while it is read.
        TASK: From the inputs alone; any worker can compute it.
        STATE: From the inputs and the state after the interval before, which stays on its worker.
        SINK: Like ``STATE``; what it holds is the target, and how far that is committed.
    """

    SOURCE = "source"
    TASK = "task"
    STATE = "state"
    SINK = "sink"


class Reach(Enum):
    """Which partitions of a producer one partition of a consumer reads.

    Attributes:
        SAME: That of the same number: a narrow dependency.
        KEYS: Its own key groups of every partition: a shuffle.
        ALL: Everything of every partition: a broadcast.
    """

    SAME = "same"
    KEYS = "keys"
    ALL = "all"


@dataclass(frozen=True)
class Input:
    """A dependency of a stage on another one.

    Attributes:
        stage: The producer.
        channel: Which of its outputs.
        reach: Which of its partitions.
        back: How many intervals ago, oldest first; ``(0,)`` is the same interval, ``(2, 1, 0)`` a window of three.
    """

    stage: int
    channel: int = 0
    reach: Reach = Reach.KEYS
    back: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Stage:
    """One step of every interval's job, between two shuffles.

    Attributes:
        id: Its place in ``StreamPlan.stages``, which is a topological order.
        operator: The operator of the plan that it belongs to; several stages may belong to one.
        partitions: How many tasks it has in each interval.
        logic: ``make(context) -> Logic`` of ``dstream.logic``, for a source ``SourceLogic``; unused for a sink.
    """

    id: int
    operator: str
    kind: Kind
    partitions: int
    inputs: tuple[Input, ...] = ()
    logic: Any = None


@dataclass(frozen=True)
class StreamPlan(Plan):
    """A plan cut into stages; still a plan, so that everything that looks at a job can look at this one.

    Attributes:
        stages: In topological order.
        interval_ticks: Ticks of an interval; interval i holds the ticks ((i - 1) * n, i * n].
        checkpoint_intervals: State is checkpointed after every so many intervals.
        batch: All input is one interval, however long it takes to read.
        retries: How often a task is tried again after an error in user code.
        keep_going: If it still fails, only the outputs that need it do; else the job.
        heard: There are listeners, to be told what happens.
    """

    stages: tuple[Stage, ...] = ()
    interval_ticks: int = 100
    checkpoint_intervals: int = 10
    batch: bool = False
    retries: int = 3
    keep_going: bool = False
    heard: bool = False

    def end_from(self, tick: int, *, final: bool) -> int:
        """A stream that may be resumed ends between two intervals, so that whoever resumes it finds whole ones."""
        return tick if final or self.batch else self.last_tick(self.interval_of(tick))

    @property
    def has_disk(self) -> bool:
        """Whether versions of state lie on the disk too."""
        return self.settings.disk != "off"

    @property
    def durable(self) -> bool:
        return self.has_disk or not any(stage.kind is Kind.STATE for stage in self.stages)

    @property
    def refused(self) -> Mapping[str, str]:
        return REFUSED

    @property
    def cut(self) -> Mapping[str, Any]:
        """Versions of state lie by stage and partition, at multiples of the checkpoint interval."""
        return {
            "model": "dstream",
            "interval": f"{self.interval_ticks * self.settings.tick_ms}ms",
            "checkpoint": f"every {self.checkpoint_intervals} intervals",
            "batch": self.batch,
            "steps": [self._described(stage) for stage in self.stages],
            "partitions": [stage.partitions for stage in self.stages],
        }

    def _described(self, stage: Stage) -> str:
        reads = ", ".join(f"{self.stages[i.stage].operator}[{'-'.join(map(str, i.back))}]" for i in stage.inputs)
        return f"{stage.operator} ({stage.kind.value} of {reads or 'input'})"

    def recut(self, cut: Mapping[str, Any]) -> Self:
        """As many tasks as there were, however many workers there are now."""
        if cut.get("steps") != self.cut["steps"]:
            return self
        counts: Sequence[int] = cut["partitions"]
        stages = tuple(replace(stage, partitions=n) for stage, n in zip(self.stages, counts, strict=True))
        return replace(self, stages=stages, operators=as_cut(self.operators, stages))

    def interval_of(self, tick: int) -> int:
        """The interval that a tick lies in; ticks and intervals count from 1."""
        return min(-(-tick // self.interval_ticks), 1) if self.batch else -(-tick // self.interval_ticks)

    def whole_intervals(self, tick: int) -> int:
        """The last interval that lies at or before a tick as a whole."""
        return 0 if self.batch else tick // self.interval_ticks

    def last_tick(self, interval: int) -> int:
        """The tick that ends an interval."""
        return interval * self.interval_ticks

    def key_interval(self, stage: Stage, partition: int) -> KeyInterval:
        """The key groups that a partition of a stage owns, or whose rows it holds."""
        return even_intervals(stage.partitions, self.settings.key_groups)[partition]

    def consumers(self, stage: int) -> Sequence[tuple[Stage, Input]]:
        """Who reads a stage, and how."""
        return [(s, i) for s in self.stages for i in s.inputs if i.stage == stage]

    def keep_back(self) -> tuple[int, ...]:
        """By stage: its block of interval t is read no more once everything is safe through t + this.

        A block may be needed again to compute another one that is: so what is read later down the line counts too.
        """
        keep = [0] * len(self.stages)
        for stage in reversed(self.stages):
            for consumer, input in self.consumers(stage.id):
                later = keep[consumer.id]
                if consumer.kind is Kind.STATE:  # it starts again from a checkpoint, at the last one or before
                    later = -(-later // self.checkpoint_intervals) * self.checkpoint_intervals
                keep[stage.id] = max(keep[stage.id], later + max(input.back))
        return tuple(keep)

    def restarts_at(self, keep: int, safe: int) -> int:
        """The version that lost state of a stage is computed from, where everything is safe through an interval."""
        every = self.checkpoint_intervals
        return max(0, (safe // every - -(-keep // every)) * every)


def as_cut(operators: Mapping[str, OperatorPlan], stages: Sequence[Stage]) -> dict[str, OperatorPlan]:
    """The operators with as many instances as their stages have partitions."""
    parallelism = {s.operator: s.partitions for s in stages if s.kind is not Kind.TASK}
    return {name: replace(o, parallelism=parallelism.get(name, o.parallelism)) for name, o in operators.items()}
