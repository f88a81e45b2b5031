"""A sink under this model: the elastic sink, given the rows of whole intervals instead of deliveries."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from dstream.logic import Content, Given
from dstream.plan import StreamPlan
from dstream.protocol import Committed
from elastic.batch import Batch
from elastic.instance.inputs import Input
from elastic.instance.sink import SinkInstance
from elastic.keys import KeyInterval
from elastic.protocol import Command, Start, Tell


class BlockInput(Input):
    """An input whose ticks come in blocks, an interval at a time."""

    def __init__(self, edge: int, after: int) -> None:
        self.edge = edge
        self._closed, self._final = after, False
        self.producers = {}
        self._rows: deque[tuple[int, list[Batch]]] = deque()

    def give(self, partitions: Sequence[Content], through: int, *, final: bool) -> None:
        """The rows of the next interval, by partition of the producer."""
        at: dict[int, list[Batch]] = {}
        for content in partitions:
            for tick, batch in content:
                at.setdefault(tick, []).append(batch)
        self._rows.extend((tick, at[tick]) for tick in sorted(at) if tick > self._closed)
        self._closed, self._final = through, final

    @property
    def closed(self) -> int:
        """Given through this tick."""
        return self._closed

    @property
    def final(self) -> bool:
        """The stream ends there."""
        return self._final

    @property
    def next_rows(self) -> int | None:
        """The first tick that has rows and was not taken."""
        return self._rows[0][0] if self._rows else None

    @property
    def newest(self) -> int:
        """Nothing is known beyond what was given."""
        return self._closed

    def take(self, tick: int) -> Iterator[Batch]:
        """The rows of a tick, in canonical order."""
        return iter(self._rows.popleft()[1] if self._rows and self._rows[0][0] == tick else [])

    def credits(self) -> list[Command]:
        """Blocks are asked for, so nobody waits for credit."""
        return []

    def acks(self, tick: int) -> list[Command]:
        """The scheduler is told, not a producer."""
        return []

    def wants(self, tick: int) -> list[Command]:
        """Intervals close by themselves."""
        return []


class IntervalSink(SinkInstance):
    """One partition of a sink.

    Attributes:
        given: The interval that it was given last; it takes the next one only.
    """

    def __init__(
        self, plan: StreamPlan, start: Start, worker: int, committed: Sequence[tuple[KeyInterval, int]], rows: int = 0
    ) -> None:
        at = min(tick for _, tick in committed)
        self._blocks = [BlockInput(edge, at) for edge in range(_inputs(plan, start.operator))]
        super().__init__(plan, start, worker, committed, self._blocks, rows)
        self.partition = start.index
        self.given = plan.whole_intervals(at)
        self._unanswered: deque[tuple[int, int]] = deque()  # (interval, its last tick)
        self._answered = at

    def next_interval(self, given: Given) -> None:
        """Take the rows of the next interval."""
        self.given = given.interval
        for block, (partitions,) in zip(self._blocks, given.inputs, strict=True):
            block.give(partitions, given.through, final=given.final)
        self._unanswered.append((given.interval, given.through))

    @property
    def settled_interval(self) -> int:
        """The last interval that the target has taken."""
        return self._unanswered[0][0] - 1 if self._unanswered else self.given

    def taken(self) -> list[int]:
        """Intervals that the target has taken since the last call; it may still keep their last rows back."""
        idle = not self._pending and not self._under_way
        done = []
        while self._unanswered and self._unanswered[0][1] <= (self.tau if idle else self._answered):
            done.append(self._unanswered.popleft()[0])
        return done

    def on_committed(self, through: int, rows: int, *, final: bool) -> list[Command]:
        """The target has taken what it was handed last, and holds everything through this tick."""
        self._answered, before = self._handed, self.committed
        commands = super().on_committed(through, rows, final=final)
        return [Tell(Committed(self.id, self.committed)), *commands] if self.committed > before else commands


def _inputs(plan: StreamPlan, operator: str) -> int:
    return next(len(s.inputs) for s in plan.stages if s.operator == operator)
