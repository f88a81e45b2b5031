"""What an operator is to the runtime (``Processor``) and to the user who writes one (``Operator``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from elastic.batch import Batch, Column, Groups, merge
from elastic.keys import KeyInterval
from elastic.state.processing import StateTable


@dataclass(frozen=True, slots=True)
class ProcessorContext:
    """What an instance gives its processor when it is made; all of it a function of the plan and the interval."""

    operator: str
    interval: KeyInterval
    key_groups: int
    tick_ms: int
    epoch_s: float
    seed: int

    def now(self, tick: int) -> float:
        """Unix time of a tick, seconds: the only clock that an operator has."""
        return self.epoch_s + tick * self.tick_ms / 1000


@dataclass(frozen=True, slots=True)
class TickInput:
    """All rows of one tick that an instance owns.

    Attributes:
        tick: The tick that is being closed.
        slices: (input number, batch), ordered by input and then by the upstream interval.
        final: The stream ends with this tick: emit what is pending, flush.
    """

    tick: int
    slices: Sequence[tuple[int, Batch]]
    final: bool = False

    def merged(self) -> tuple[Batch, npt.NDArray[np.uint8]] | None:
        """All rows in canonical order (key group, input, upstream interval, position), with the input of each row."""
        if not self.slices:
            return None
        streams = np.repeat(
            np.array([i for i, _ in self.slices], np.uint8), [len(b) for _, b in self.slices]
        )
        if len(self.slices) == 1:
            return self.slices[0][1], streams
        batches = [b for _, b in self.slices]
        order = np.argsort(np.concatenate([b.groups for b in batches]), kind="stable")
        return merge(batches), streams[order]


@dataclass(frozen=True, slots=True)
class Output:
    """Rows that an operator emitted in one tick.

    Attributes:
        groups: The emitting key group of each row, ascending.
        values: The rows.
        keys: The emitting key of each row where the operator knows it cheaply; used to name it in an error only.
    """

    groups: Groups
    values: Column
    keys: Column | None = None


class Processor(ABC):
    """The logic and the processing state of one instance. No I/O, no clock, no randomness of its own.

    ``process`` is called with ascending ticks: for every tick that has rows, for every tick that ``due_after`` names,
    and for the final one. Ticks in between are closed without a call, so a result must not depend on being called.
    What it emits must be a function of the rows of the ticks so far, key by key, whatever interval it owns.
    """

    @abstractmethod
    def process(self, tick: TickInput) -> Output | None:
        """Apply one tick's rows and return what is emitted at its close; None for nothing."""

    def due_after(self, tick: int) -> int | None:
        """The first tick after ``tick`` that must be processed though no row comes; None if there is none."""
        return None

    @abstractmethod
    def delta(self) -> StateTable:
        """Entries written or deleted since the last ``delta`` or ``full``; calling it makes them clean."""

    @abstractmethod
    def full(self) -> StateTable:
        """All entries; calling it makes them clean."""

    @abstractmethod
    def restore(self, table: StateTable) -> None:
        """Take over the entries of a full table; called once, before the first ``process``."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of keys held."""


class ValueState:
    """The state of the key being processed. Owned by the system: set a new value instead of changing one in place."""

    __slots__ = ()

    def get(self) -> Any:
        """The key's value; None if it has none."""
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Replace the key's value; None deletes it."""
        raise NotImplementedError

    def clear(self) -> None:
        """Delete the key's value."""
        raise NotImplementedError


class Context:
    """What user code may know beside its row: the tick, its time, and repeatable randomness."""

    tick: int
    now: float
    input: int


class Operator:
    """Base class of a user's own keyed operator; override ``process`` (row by row) or ``process_columns``."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any] | None:
        """Handle one row; yield or return any number of output rows."""
        raise NotImplementedError


def no_rows() -> Iterator[Any]:
    """An iterator over nothing."""
    return iter(())
