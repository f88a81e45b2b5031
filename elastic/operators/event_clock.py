"""Watermarks: how far event time has come for an operator, from the marks that its ticks carry.

A source's rows say what is latest in each partition in each tick, and nothing else, so that a source has nothing to
remember. Whoever consumes them keeps the latest of all ticks per partition. So the watermark after a tick is a function
of the ticks alone, and the same in every instance, since marks go to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elastic.batch import NO_GROUPS, Marks
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.timestamps import BEGINNING, END
from elastic.state.processing import StateTable

IS_IDLE = -1
"""Beside its mark, an operator says with a mark of this name whether it is waited for: 1 if not, else 0."""


@dataclass(frozen=True, slots=True)
class TimedInput:
    """One input with event time.

    Attributes:
        origins: Names of its source partitions; 0 for an operator.
        slack_us: What is taken from the latest time of each.
        idle_ticks: An origin without marks for so many ticks is idle; 0 for never.
    """

    origins: tuple[int, ...]
    slack_us: int = 0
    idle_ticks: int = 0


@dataclass(slots=True)
class _Origin:
    """What is known of one origin.

    Attributes:
        slack_us, idle_ticks: As of its input.
        latest_us: The latest time that it had.
        tick: When it had a mark last.
        said_idle: It said itself that it is idle.
    """

    slack_us: int
    idle_ticks: int
    latest_us: int = BEGINNING
    tick: int = 0
    said_idle: bool = False

    @property
    def watermark_us(self) -> int:
        """What it promises: nothing earlier comes."""
        return max(BEGINNING, self.latest_us - self.slack_us) if self.latest_us < END else END

    @property
    def idle_from(self) -> int | None:
        """The tick from which it is not waited for unless it has a mark before; in steps of an eighth of the time."""
        if not self.idle_ticks or self.latest_us >= END:
            return None
        step = max(1, self.idle_ticks // 8)
        return -(-(self.tick + self.idle_ticks) // step) * step

    def is_idle(self, tick: int) -> bool:
        """Whether it is not waited for at the tick."""
        return self.said_idle or (self.idle_from is not None and self.idle_from <= tick)


class EventClock:
    """The watermark of one operator.

    The least of what the origins promise; of those that are not idle, unless all are: then the furthest. It never goes
    back.

    Attributes:
        watermark_us: As of the last tick.
        idle: No origin is waited for.
    """

    def __init__(self, inputs: Mapping[int, TimedInput]) -> None:
        self._origins = {
            (number, origin): _Origin(each.slack_us, each.idle_ticks)
            for number, each in sorted(inputs.items())
            for origin in each.origins
        }
        self.watermark_us = BEGINNING
        self.idle = False

    def advance(self, tick: int, marks: Iterable[tuple[int, Marks]], *, final: bool) -> None:
        """Take in the marks of a tick, by input."""
        for number, each in marks:
            for name, time_us in each:
                if name == IS_IDLE:
                    self._origins[number, 0].said_idle = bool(time_us)
                    continue
                origin = self._origins[number, name]
                origin.tick, origin.latest_us = tick, max(origin.latest_us, time_us)
        waited = [o.watermark_us for o in self._origins.values() if not o.is_idle(tick)]
        self.idle = not waited
        reached = min(waited) if waited else max(o.watermark_us for o in self._origins.values())
        self.watermark_us = END if final else max(self.watermark_us, reached)

    def due_after(self, tick: int) -> int | None:
        """The next tick at which an origin becomes idle if nothing comes."""
        ticks = [f for o in self._origins.values() if (f := o.idle_from) is not None and f > tick and not o.said_idle]
        return min(ticks, default=None)

    def state(self) -> Any:
        """All of it, as plain values."""
        origins = [(*name, o.latest_us, o.tick, o.said_idle) for name, o in self._origins.items()]
        return [self.watermark_us, self.idle, origins]

    def restore(self, state: Any) -> None:
        """Take over what ``state`` gave; origins that are no more are left out."""
        self.watermark_us, self.idle, origins = state
        for number, name, latest_us, tick, said_idle in origins:
            if (origin := self._origins.get((number, name))) is not None:
                origin.latest_us, origin.tick, origin.said_idle = latest_us, tick, said_idle


@dataclass(frozen=True, slots=True)
class Timed:
    """An operator whose inputs have event time; called, it makes the processor of one instance.

    Attributes:
        logic: Makes the operator's own processor.
        inputs: Its inputs with event time, by number.
    """

    logic: Callable[[ProcessorContext], Processor]
    inputs: Mapping[int, TimedInput]

    def __call__(self, context: ProcessorContext) -> Processor:
        """The operator's own processor, told of the watermark."""
        return TimedProcessor(self.logic(context), EventClock(self.inputs))


class TimedProcessor(Processor):
    """Tells a processor the watermark of every tick, and those behind it when it has moved."""

    def __init__(self, inner: Processor, clock: EventClock) -> None:
        self._inner, self._clock = inner, clock

    def process(self, tick: TickInput) -> Sequence[Output]:
        """What the processor makes of the tick's rows, and the mark that goes on."""
        clock = self._clock
        before_us, was_idle = clock.watermark_us, clock.idle
        clock.advance(tick.tick, ((n, batch.marks) for n, batch in tick.slices if batch.marks), final=tick.final)
        slices = [(n, replace(b, marks=()) if b.marks else b) for n, b in tick.slices if len(b)]
        outputs = self._inner.process(TickInput(tick.tick, slices, tick.final, clock.watermark_us, before_us))
        if (clock.watermark_us, clock.idle) == (before_us, was_idle):
            return outputs
        marks = ((IS_IDLE, int(clock.idle)), (0, clock.watermark_us))
        return [*outputs, Output(NO_GROUPS, [], marks=marks)]

    def due_after(self, tick: int) -> int | None:
        """The next tick that the processor or the clock must not miss."""
        ticks = [t for t in (self._inner.due_after(tick), self._clock.due_after(tick)) if t is not None]
        return min(ticks, default=None)

    def delta(self) -> StateTable:
        """The processor's."""
        return self._inner.delta()

    def full(self) -> StateTable:
        """The processor's."""
        return self._inner.full()

    def clean(self) -> None:
        """The processor's."""
        self._inner.clean()

    def restore(self, table: StateTable) -> None:
        """Take over the processor's entries."""
        self._inner.restore(table)

    def common(self) -> Any:
        """The clock, and what the processor has."""
        return [self._clock.state(), self._inner.common()]

    def restore_common(self, common: Any) -> None:
        """Take over what ``common`` gave."""
        clock, inner = common
        self._clock.restore(clock)
        if inner is not None:
            self._inner.restore_common(inner)

    def __len__(self) -> int:
        return len(self._inner)
