"""What one partition of a stage computes: deterministic, over immutable blocks, without I/O.

Design: rows keep their tick. A block's content is its rows tick by tick, each tick's batch sorted by key group, so that
a shuffle is a slice, and so that an operator gives the same result however ticks are cut into intervals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dstream.versions import Version
from elastic.batch import Batch
from elastic.connectors.base import Chunk
from elastic.instance.ahead import Held
from elastic.keys import KeyInterval
from elastic.operators.base import ProcessorContext
from elastic.operators.failure import Failures
from elastic.state.processing import StateTable

Content: TypeAlias = tuple[tuple[int, Batch], ...]
"""The rows of a block: (tick, batch), ticks ascending."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a source partition has read in one tick.

    Attributes:
        chunks: In order; they tell of what was left out, too.
        held: By edge of an elastic plan: how far the marks of event time may go.
    """

    tick: int
    chunks: Sequence[Chunk]
    held: Held = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What a task is computed from.

    Attributes:
        interval: Its number.
        after: The last tick of the interval before.
        through: The interval's last tick; the stream's, if it ends there.
        final: The stream ends with ``through``.
        inputs: By input of the stage, then by interval (oldest first), then by partition of the producer.
        without: Channels that nobody needs any more: they give no rows, and their user code is not called.
        read: Of a source, in place of inputs.
    """

    interval: int
    after: int
    through: int
    final: bool
    inputs: Sequence[Sequence[Sequence[Content]]]
    without: frozenset[int] = frozenset()
    read: Sequence[Read] = ()


class Logic(ABC):
    """One partition of a stage. ``compute`` is called with ascending intervals, each once, after ``restore`` if at all.

    What it gives must be a function of the inputs of this interval and, for a stage with state, of those before.

    Attributes:
        at: The channel that is being computed; None while it is what all of them begin with. So whoever catches what
            user code raises knows who misses something.
    """

    at: int | None = None

    @abstractmethod
    def compute(self, given: Given) -> Sequence[Content]:
        """The blocks of an interval, by channel.

        Raises:
            UserCodeError: User code raised; the object is unusable from then on.
        """

    def full(self) -> StateTable | None:
        """The state now, all of it, to be kept; None for none. What happens later does not change it."""
        return None

    def delta(self) -> StateTable | None:
        """What was written or deleted since the last ``full`` or ``delta``; None if that is not known."""
        return None

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        raise NotImplementedError

    def common(self) -> Any:
        """State that belongs to no key, as plain values; None for none."""
        return None

    def restore_common(self, common: Any) -> None:
        """Take over what ``common`` gave, before ``restore``."""
        raise NotImplementedError

    def version(self, base: int | None = None) -> Version:
        """All state now, to be kept; or where a base is named that was cut last, what was written since."""
        table = None if base is None else self.delta()
        return Version(self.full(), self.common()) if table is None else Version(table, self.common(), base)

    def begin_from(self, version: Version) -> None:
        """Take over a whole version."""
        if version.common is not None:
            self.restore_common(version.common)
        if version.table is not None:
            self.restore(version.table)

    def __len__(self) -> int:
        """Number of keys held."""
        return 0


class SourceLogic(Logic):
    """What one partition of a source makes of what it reads: as it is read, so that little is left when it ends.

    What comes out is a function of the columns and ticks that were fed, in their order: those that the input log names.

    Attributes:
        without: As of what is given, of the interval that is being fed.
    """

    without: frozenset[int] = frozenset()

    @abstractmethod
    def feed(self, read: Read) -> None:
        """Take in what was read in a tick, which is after the one fed last.

        Raises:
            UserCodeError: User code raised; the object is unusable from then on.
        """

    @abstractmethod
    def take(self, given: Given) -> Sequence[Content]:
        """The blocks of all that was fed since the last call, by channel; what is given has no inputs.

        Raises:
            UserCodeError: User code raised; the object is unusable from then on.
        """

    @property
    @abstractmethod
    def size_bytes(self) -> int:
        """Memory of what was fed and not taken."""

    def compute(self, given: Given) -> Sequence[Content]:
        """The same of an interval's rows that are read again."""
        self.without = given.without
        for read in given.read:
            self.feed(read)
        return self.take(given)


@dataclass(frozen=True, slots=True)
class LogicContext:
    """What a partition's logic is made with; ``runtime`` is what an elastic processor would be given."""

    partition: int
    runtime: ProcessorContext

    @property
    def failures(self) -> Failures:
        """Where records are counted that are skipped or diverted."""
        return self.runtime.failures

    @property
    def interval(self) -> KeyInterval:
        """The key groups of the partition."""
        return self.runtime.interval


def sliced(content: Content, interval: KeyInterval) -> Content:
    """The rows of some key groups, as views."""
    parts = ((tick, batch.slice(interval)) for tick, batch in content)
    return tuple((tick, part) for tick, part in parts if part is not None)


def content_bytes(contents: Sequence[Content]) -> int:
    """Memory of a task's blocks."""
    return sum(batch.size_bytes for content in contents for _, batch in content)


def content_rows(contents: Sequence[Content]) -> int:
    """Rows of a task's blocks."""
    return sum(len(batch) for content in contents for _, batch in content)
