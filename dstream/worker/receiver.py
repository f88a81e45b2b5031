"""A source under this model: what is read in the ticks of an interval becomes one immutable block.

What follows the source is done to the rows while they are read. So when the interval ends, hardly anything is left to
do before the shuffle, and rows need no room once they are counted.

Everything about reading, ticks, rates and the input log is the elastic model's own source driver, so both models read
the same log, tick for tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from dstream.blocks import BlockStore, Name
from dstream.logic import Content, Given, LogicContext, Read, SourceLogic, content_bytes
from dstream.plan import Kind, StreamPlan
from dstream.protocol import Sealed
from dstream.queued import OncePerInterval
from elastic.batch import size_bytes
from elastic.connectors.base import Chunk
from elastic.errors import UserError
from elastic.instance.ahead import Held
from elastic.instance.source import SourceInstance
from elastic.keys import KeyInterval
from elastic.operators.base import ProcessorContext
from elastic.operators.failure import ENDINGS
from elastic.protocol import Command, Start, Tell

AHEAD = 3
"""So many intervals with rows may wait to be processed; then nothing more is read until some are."""


NOTHING: frozenset[int] = frozenset()


class Receiver(SourceInstance):
    """One partition of a source.

    Attributes:
        ends_at: The tick that ends the stream, once it is known.
        sealed: What was told of intervals that are not done.
    """

    def __init__(self, plan: StreamPlan, start: Start, base: int, store: BlockStore) -> None:
        super().__init__(plan, start, [base])
        self._plan, self._store = plan, store
        self.stage = next(s.id for s in plan.stages if s.operator == start.operator and s.kind is Kind.SOURCE)
        self.partition = start.index
        self.ends_at = start.final.tick if start.final is not None else None
        self._limit_bytes = plan.settings.memory_bytes // 8
        self._ending: dict[int, int] = {}  # by channel: the last interval that somebody needs of it
        self._logic: SourceLogic | None = self._make_logic()  # None after an error, until the interval ends
        self._records = self._size_bytes = 0
        self._waiting: dict[int, int] = {}  # bytes, by interval with rows that is closed here and not done everywhere
        self.sealed: dict[int, Sealed] = {}
        self._sealed = 0 if plan.batch else base // plan.interval_ticks
        self._one_each = isinstance(plan.operators[start.operator].logic, OncePerInterval)
        self._has_read = False  # in the interval that is under way
        self._floor = base

    @property
    def full(self) -> bool:
        """Whether reading must wait: tasks are behind, or the interval has what a queue gives.

        Empty ticks may still be closed.
        """
        if self._plan.batch:
            return False
        if self._one_each and self._has_read:
            return True
        fed_bytes = 0 if self._logic is None else self._logic.size_bytes
        return fed_bytes + sum(self._waiting.values()) > self._limit_bytes or len(self._waiting) > AHEAD

    @property
    def closed(self) -> int:
        """Intervals through this one are closed, here or by a predecessor."""
        has_ended = self.ends_at is not None and self.tau >= self.ends_at  # maybe in the middle of an interval
        return self._plan.interval_of(self.tau) if has_ended else self._sealed

    @property
    def floor(self) -> int:
        """The log is needed only past this tick."""
        return self._floor

    @property
    def wanted(self) -> int | None:
        """Intervals end in time, whether or not anything is read."""
        return None if self._plan.batch else self._plan.last_tick(self._plan.interval_of(self.tau + 1))

    def emit(
        self, tick: int, read: Sequence[tuple[KeyInterval, Chunk]], held: Held = MappingProxyType({}), *,
        final: bool = False, serve: bool = True,
    ) -> list[Command]:  # fmt: skip
        """Add a tick to its interval's block; intervals that end with it or before it are sealed."""
        interval = self._plan.interval_of(tick)
        commands = [c for i in range(self._sealed + 1, interval) for c in self._seal(i, self._plan.last_tick(i))]
        self._has_read = self._has_read or bool(read)
        if read:
            chunks = [chunk for _, chunk in read]
            self._records += sum(len(chunk.rows) for chunk in chunks)
            self._size_bytes += sum(size_bytes(chunk.rows) for chunk in chunks)
            self._feed(Read(tick, chunks, held))
        self.tau, self.finished = tick, final
        ends = final or tick == self.ends_at
        if ends or (not self._plan.batch and tick == self._plan.last_tick(interval)):
            commands += self._seal(interval, tick, final=final)
        return commands

    def on_advance(self, done: int, safe_tick: int, ending: Sequence[tuple[int, int, int]] = ()) -> None:
        """Intervals through ``done`` are processed, and nothing at or below the tick is ever read again.

        Of sources' channels that nobody needs after some interval, ``ending`` has (stage, channel, interval).
        """
        self._ending = {channel: through for stage, channel, through in ending if stage == self.stage}
        self._floor = max(self._floor, safe_tick)
        self._waiting = {i: size for i, size in self._waiting.items() if i > done}
        self.sealed = {i: sealed for i, sealed in self.sealed.items() if i > done}

    def _make_logic(self) -> SourceLogic:
        stage = self._plan.stages[self.stage]
        interval = self._plan.key_interval(stage, self.partition)
        runtime = ProcessorContext.of(self._plan, stage.operator, interval)
        self._failed = runtime.failures
        logic: SourceLogic = stage.logic(LogicContext(self.partition, runtime))
        return logic

    def _feed(self, read: Read) -> None:
        """Have the rows processed; where user code raises, a task does it again, with whatever retries there are."""
        if self._logic is not None:
            self._logic.without = self._without(self._plan.interval_of(read.tick))
            try:
                self._logic.feed(read)
            except (UserError, *ENDINGS):
                self._logic = None

    def _without(self, interval: int) -> frozenset[int]:
        """Channels that nobody needs of an interval."""
        return frozenset(c for c, through in self._ending.items() if through < interval) if self._ending else NOTHING

    def _seal(self, interval: int, tick: int, *, final: bool = False) -> list[Command]:
        records, size_bytes = self._records, self._size_bytes
        contents = self._contents(interval, tick, final=final)
        if contents is not None:
            self._store.put(Name(self.stage, interval, self.partition), contents)
        if records:
            self._waiting[interval] = 0 if contents is None else content_bytes(contents)
        self._records, self._size_bytes, self._has_read = 0, 0, False
        self._sealed = interval
        self.records_in += records
        failed = tuple(found for _, found in self._failed.take()) if contents is not None else ()
        self.sealed[interval] = Sealed(
            self.id, interval, tick, records, size_bytes, final, contents is not None, failed
        )
        return [Tell(self.sealed[interval])]

    def _contents(self, interval: int, tick: int, *, final: bool) -> Sequence[Content] | None:
        """The blocks of the interval; None where user code raised."""
        after = 0 if self._plan.batch else self._plan.last_tick(interval - 1)
        try:
            if self._logic is not None:
                self._logic.without = self._without(interval)
                return self._logic.take(Given(interval, after, tick, final, ()))
        except (UserError, *ENDINGS):
            pass
        self._logic = self._make_logic()
        return None
