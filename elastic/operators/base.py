"""What an operator is to the runtime (``Processor``) and to the user who writes one (``Operator``)."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from elastic.batch import Batch, Column, Groups, Marks, Times, merge
from elastic.keys import KeyInterval
from elastic.operators.failure import Failures
from elastic.operators.snapshot import is_immutable
from elastic.operators.states import Clock, State, checked, unbound
from elastic.operators.timestamps import BEGINNING
from elastic.plan import MAIN, Plan
from elastic.state.processing import StateTable


@dataclass(frozen=True, slots=True)
class ProcessorContext:
    """What an instance gives its processor when it is made; all of it a function of the plan and the interval.

    Attributes:
        read: The operator's outputs that something reads; what is emitted on another is dropped at once.
        event_time: Its rows have event times, and its ticks a watermark.
        failures: Where records are counted that are skipped or diverted.
        broadcast: Numbers of the inputs whose rows come to every instance.
    """

    operator: str
    interval: KeyInterval
    key_groups: int
    tick_ms: int
    tick_zero_s: float
    seed: int
    read: frozenset[str] = frozenset({MAIN})
    event_time: bool = False
    failures: Failures = field(default_factory=Failures, compare=False)
    broadcast: frozenset[int] = frozenset()

    @classmethod
    def of(cls, plan: Plan, operator: str, interval: KeyInterval, failures: Failures | None = None) -> ProcessorContext:
        """The context of an operator's instance that owns the interval."""
        settings, read = plan.settings, frozenset(edge.output for edge in plan.outputs(operator))
        timed = any(edge.event_time is not None for edge in plan.inputs(operator))
        return cls(
            operator, interval, settings.key_groups, settings.tick_ms, plan.tick_zero_s, settings.seed, read, timed,
            failures=failures or Failures(),
            broadcast=plan.broadcast_inputs(operator),
        )  # fmt: skip

    def now(self, tick: int) -> float:
        """Unix time of a tick, seconds: the only clock that an operator has."""
        return self.tick_zero_s + tick * self.tick_ms / 1000

    def now_us(self, tick: int) -> int:
        """The same in whole microseconds."""
        return self.start_us + tick * self.tick_us

    @property
    def start_us(self) -> int:
        """Unix time of tick 0, microseconds."""
        return round(self.tick_zero_s * 1_000_000)

    @property
    def tick_us(self) -> int:
        """Length of a tick, microseconds."""
        return self.tick_ms * 1000

    def tick_at(self, time_us: int) -> int:
        """The first tick at or after a time."""
        return -((self.start_us - time_us) // self.tick_us)


@dataclass(frozen=True, slots=True)
class TickInput:
    """All rows of one tick that an instance owns.

    Attributes:
        tick: The tick that is being closed.
        slices: (input number, batch), ordered by input and then by the upstream interval.
        final: The stream ends with this tick: emit what is pending, flush.
        watermark_us: Event time is this far when the tick's rows have been processed, and was ``before_us`` until then.
    """

    tick: int
    slices: Sequence[tuple[int, Batch]]
    final: bool = False
    watermark_us: int = BEGINNING
    before_us: int = BEGINNING

    def merged(self) -> tuple[Batch, npt.NDArray[np.uint8]] | None:
        """All rows in canonical order (key group, input, upstream interval, position), with the input of each row."""
        if not self.slices:
            return None
        streams = np.repeat(np.array([i for i, _ in self.slices], np.uint8), [len(b) for _, b in self.slices])
        if len(self.slices) == 1:
            return self.slices[0][1], streams
        batches = [b for _, b in self.slices]
        order = np.argsort(np.concatenate([b.groups for b in batches]), kind="stable")
        return merge(batches), streams[order]


@dataclass(frozen=True, slots=True)
class Output:
    """Rows that an operator emitted in one tick on one of its outputs.

    Attributes:
        groups: The emitting key group of each row, ascending.
        values: The rows.
        keys: The emitting key of each row where the operator knows it cheaply; used to name it in an error only.
        name: Which output.
        times: Event time of each row; None where rows have none.
        marks: How far event time has come, for all outputs.
    """

    groups: Groups
    values: Column
    keys: Column | None = None
    name: str = MAIN
    times: Times | None = None
    marks: Marks = ()


class Processor(ABC):
    """The logic and the processing state of one instance. No I/O, no clock, no randomness of its own.

    ``process`` is called with ascending ticks: for every tick that has rows, for every tick that ``due_after`` names,
    and for the final one. Ticks in between are closed without a call, so a result must not depend on being called.
    What it emits must be a function of the rows of the ticks so far, key by key, whatever interval it owns.
    """

    @abstractmethod
    def process(self, tick: TickInput) -> Sequence[Output]:
        """Apply one tick's rows and return what is emitted at its close, each output at most once, in any order."""

    def due_after(self, tick: int) -> int | None:
        """The first tick after ``tick`` that must be processed though no row comes; None if there is none."""
        return None

    @abstractmethod
    def delta(self) -> StateTable:
        """Entries written or deleted since the last ``delta`` or ``full``; calling it makes them clean."""

    @abstractmethod
    def full(self) -> StateTable:
        """All entries; calling it makes them clean."""

    def clean(self) -> None:
        """Forget what was written or deleted so far: the next table that is asked for is a full one.

        Called again and again where no checkpoint is taken; deletions would be remembered for ever.
        """

    @abstractmethod
    def restore(self, table: StateTable) -> None:
        """Take over the entries of a full table; called once, before the first ``process``."""

    def common(self) -> Any:
        """What belongs to no key, and so is the same in every instance; plain values, None for nothing.

        It is part of every checkpoint, whole, and copied to each part when a checkpoint is cut.
        """
        return None

    def restore_common(self, common: Any) -> None:
        """Take over what ``common`` gave, before ``restore``."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of keys held."""


class ValueState(State):
    """A value of the key being processed. Owned by the system: set a new value instead of changing one in place.

    A value that was changed in place after ``get`` is kept as it is when the tick ends, at the cost of writing it into
    the next checkpoint whether it was changed or not. ``process`` is given one; more of them are declared.

    Args:
        of: Type of the value; without it, anything.
        default: What ``get`` gives while the key has none.
        ttl: How long a value lives after it was set, such as ``"30m"``.
        clock: Whose time that is.
    """

    kind = "value"

    def __init__(
        self, of: type | None = None, *, default: Any = None, ttl: str | None = None, clock: Clock = "processing"
    ) -> None:
        super().__init__((of,), ttl, clock)
        if default is not None:
            checked(self, default)
        if not is_immutable(default):
            kinds = {list: "ListState", dict: "MapState"}
            better = next((kinds[kind] for kind in kinds if isinstance(default, kind)), "get() and a fallback")
            raise ValueError(f"ValueState(default={default!r}) would be one object for all keys; use {better}")
        self.default = default

    def get(self) -> Any:
        """The key's value; the default if it has none."""
        raise unbound(self)

    def set(self, value: Any) -> None:
        """Replace the key's value; None deletes it."""
        raise unbound(self)

    def clear(self) -> None:
        """Delete the key's value."""
        raise unbound(self)


class ColumnState:
    """The state of all keys of an instance, for an operator that takes columns."""

    __slots__ = ()

    def get_many(self, keys: Column) -> list[Any]:
        """The value of each key, in order; None where it has none."""
        raise NotImplementedError

    def set_many(self, keys: Column, values: Column) -> None:
        """Replace the value of each key; None deletes it. Of a key that is given twice, the last value holds."""
        raise NotImplementedError


class Timer(NamedTuple):
    """A timer that fires.

    Attributes:
        name: As it was set.
        time: The time that it was set to, Unix time, seconds.
        clock: Whose time that is.
    """

    name: str
    time: float
    clock: Clock


class Context:
    """What user code may know beside its row: the tick, times, timers, and repeatable randomness.

    Attributes:
        tick: The tick being processed.
        now: Unix time of the tick, seconds; the same whenever and wherever the tick is processed.
        input: Number of the input that the row came on, from 0; 0 in ``on_timer``.
        inputs: The same for every row, for an operator that takes columns.
        shared: What ``process_broadcast`` has kept, to be read only; empty without a broadcast input.
    """

    tick: int
    now: float
    input: int
    inputs: npt.NDArray[np.uint8]
    shared: Mapping[Any, Any] = MappingProxyType({})

    @property
    def event_time(self) -> float | None:
        """Event time of the row, or of the timer; Unix time, seconds. None where rows have none."""
        raise NotImplementedError

    @property
    def watermark(self) -> float:
        """How far event time has come before this tick; Unix time, seconds, minus infinity while nothing is known."""
        raise NotImplementedError

    def set_timer(self, time: float | dt.datetime, name: str = "", *, clock: Clock = "processing") -> None:
        """Have ``on_timer`` called for this key; a timer of this name that is set already is moved.

        By processing time, at the first tick at or after ``time``, but not in this one. By event time, in the first
        tick whose watermark reaches ``time``, which may be this one.

        Args:
            time: Unix time in seconds, or a datetime (UTC if it has no zone).
            name: A key has one timer per name and clock.
            clock: Whose time that is.

        Raises:
            ValueError: Not a time; or set by ``on_timer`` by event time, and not later than the timer that fires.
            TypeError: The operator has no ``on_timer``, or its rows no event time.
        """
        raise NotImplementedError

    def cancel_timer(self, name: str = "", *, clock: Clock = "processing") -> bool:
        """The key's timer of this name does not fire; whether it was set."""
        raise NotImplementedError

    def timer(self, name: str = "", *, clock: Clock = "processing") -> float | None:
        """The time of the key's timer of this name; None if it is not set."""
        raise NotImplementedError

    @property
    def random(self) -> Random:
        """Randomness of this tick and key group, the same whenever and wherever the tick is processed."""
        raise NotImplementedError

    def emit(self, output: str, value: Any) -> None:
        """Emit a row on one of the operator's named outputs, from the key that is being processed.

        Rows of one key and output keep their order. What nobody reads is dropped.

        Raises:
            ValueError: The operator does not declare the output.
        """
        raise NotImplementedError

    def emit_columns(self, output: str, keys: Column, values: Column) -> None:
        """Emit pairs of keys and values on a named output, under the rules of what ``process_columns`` returns.

        Raises:
            ValueError: The operator does not declare the output, a key had no row in the tick, or the columns differ in
                length.
        """
        raise NotImplementedError


class BroadcastContext:
    """What ``process_broadcast`` may know beside its row: nothing that belongs to a key.

    Attributes:
        tick: The tick being processed.
        now: Unix time of the tick, seconds.
        input: Number of the input that the row came on.
    """

    tick: int
    now: float
    input: int


class Operator:
    """Base class of a user's own keyed operator; override ``process`` (row by row) or ``process_columns``.

    Every instance works on a copy of the object that the query was built with, which is thrown away with the instance:
    attributes are for what ``__init__`` sets once. What must survive a crash belongs into the state.

    Attributes:
        inputs: Names of its inputs, for one that is applied to connected streams. A row of the input "orders" goes to
            ``process_orders``, which takes what ``process`` takes, or to ``process`` where there is none.
        outputs: Names of its outputs beside the main one, which ``ctx.emit`` emits on and ``Stream.output`` hands out.
    """

    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any] | None:
        """Handle one row; yield, or return a list of, any number of output rows.

        Rows come in canonical order. What is emitted may depend on the key's rows and state, and on ``ctx``, only.
        ``value`` must not be changed in place.
        """
        raise NotImplementedError

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterable[Any] | None:
        """Handle a timer that ``ctx.set_timer`` has set for the key; yield, or return a list of, output rows.

        Within a tick, a key group's timers come after its rows: those of processing time, then those of event time,
        each by their times, then by keys, then by names. At the end of the input, timers of event time fire once more,
        whatever time they are set to; those of processing time do not.
        """
        raise NotImplementedError

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: BroadcastContext) -> None:
        """Handle a row of a broadcast stream, which every instance gets: keep what ``process`` is to find of it.

        ``shared`` holds anything that can be pickled. It is the same in every instance at every tick: what is kept may
        depend on these rows, on what was kept before and on ``ctx`` only. Broadcast rows of a tick come before all
        others of it. They emit nothing.
        """
        raise NotImplementedError

    def process_columns(
        self, keys: Column, values: Column, state: ColumnState, ctx: Context
    ) -> tuple[Column, Column] | None:
        """Handle all rows of a tick at once; return keys and values of the output rows, which are the pairs of them.

        Columns are lists or Arrow arrays, values also ``Pairs``. Rows are in canonical order, so that those of one key
        are in the order in which they came. What is emitted for a key may depend on that key's rows and state only,
        since other keys may live elsewhere next time; and only keys of this tick's rows may be emitted. Output rows are
        put in canonical order of their keys; those of one key keep theirs.
        """
        raise NotImplementedError
