"""The execution plan: what a query becomes before it is placed on workers.

Operators are sources, keyed operators and sinks. Stateless steps belong to the *edge* between two operators: they run
in the instance that produces the rows, without serialising in between (a chain), and the edge ends with the key
function, the key group and, where it is exact, a partial aggregation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeAlias

from elastic.keys import KEY_GROUPS, KeyInterval, even_intervals
from elastic.policies import Policy

StepKind: TypeAlias = Literal[
    "map", "filter", "flat_map", "map_values", "flat_map_values", "split", "rest", "key", "failed", "event_time"
]

FALLIBLE: frozenset[StepKind] = frozenset(
    {"map", "filter", "flat_map", "map_values", "flat_map_values", "split", "key", "event_time"}
)
"""Kinds of steps of which users say what becomes of a record on which they fail."""

OnError: TypeAlias = Literal["fail", "skip", "divert"]
"""What becomes of a record on which user code raises: it ends the job, is left out, or goes to an output of its own."""

Route: TypeAlias = Literal["group", "spread", "broadcast"]
"""``group``: each row goes to whoever owns the key group that it was emitted from. ``spread``: evenly to all groups.
``broadcast``: to every instance."""

MAIN = "main"
"""The output of an operator that ``apply`` gives; what it emits without naming an output goes there."""

ERRORS = "errors"
"""The output that records are diverted to."""


@dataclass(frozen=True)
class Step:
    """One stateless step of a chain.

    Attributes:
        kind: ``map`` gives one row per row, ``filter`` keeps rows, ``flat_map`` gives any number per row;
            ``map_values`` and ``flat_map_values`` do so with the second half of ``(key, value)`` rows. ``split`` is a
            filter, and ``rest``, whose function is not called, gives what the split right before it did not keep.
            ``key`` gives rows their keys. ``failed``, whose function is not called, gives the records on which the step
            right before it failed, as ``elastic.operators.failure.failed_record`` tells of them.
            ``event_time`` gives each row the time that the function reads from it.
        name: What the user sees in errors and reports, such as ``flat_map(split)``.
        function: Takes a row; a function of ``elastic.functions`` also takes a whole column.
        identity: Equal for the same step of the query on two edges, so that a shared prefix is computed once a tick.
    """

    kind: StepKind
    name: str
    function: Callable[[Any], Any]
    identity: int
    on_error: OnError = "fail"


@dataclass(frozen=True)
class EventTime:
    """How far event time has come on an edge: as far as every origin's latest row, less the slack, but for idle ones.

    Attributes:
        slack_ms: So much earlier than the latest row of its source partition a row may be without being late.
        idle_ms: A partition without rows for so long, by processing time, is idle; None for never.
    """

    slack_ms: int = 0
    idle_ms: int | None = None


@dataclass(frozen=True)
class Folding:
    """The functions of a user's ``aggregate``, as they are described there.

    Attributes:
        init: Makes a new accumulator.
        add: (accumulator, row) to accumulator.
        merge: (accumulator, accumulator) to accumulator; given only where it is exact and commutative.
        result: Accumulator to what is emitted; the accumulator itself if None.
    """

    init: Callable[[], Any]
    add: Callable[[Any, Any], Any]
    merge: Callable[[Any, Any], Any] | None = None
    result: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class ByPane:
    """Count a key's rows for each pane that their event times lie in; a pane is named by its start. Microseconds."""

    pane_us: int
    offset_us: int


Combine: TypeAlias = Literal["count", "sum", "mean", "min", "max", "first", "last", "keys", "pairs"] | Folding | ByPane
"""What can be made of a key's rows before the shuffle, tick by tick: an aggregate of them, where that is exact; only
the first or the last; only the key. Or of rows with the same key and value only one, of which both together are the
key from then on."""


@dataclass(frozen=True)
class Edge:
    """A stream between two operators, with the chain that runs on its producer's side.

    Attributes:
        id: Position in ``Plan.edges``; subscriptions, buffers, acknowledgements and versions are kept per edge.
        input: Which input of the consumer this is, from 0; the second part of the canonical order. Edges of one input,
            of streams that were united and then connected to another, follow one another by their ids.
        steps: Stateless steps, in order. After a ``key`` step each row keeps its key, whatever they make of it.
        keyed: Whether rows are routed by key.
        route: How they are routed on an edge without keys.
        key: Function from a row to its key; None where a step gave it one or the row is its own, and without keys.
        key_name: What the user sees of the key function.
        value: Function from a row to the value that the consumer gets; None hands the row itself over.
        combine: What is made of the rows of each key before the shuffle, so that fewer have to cross it.
        output: Which output of the producer it carries.
        event_time: Its batches have marks, and most of them times; None where there is no event time.
    """

    id: int
    producer: str
    consumer: str
    input: int = 0
    steps: tuple[Step, ...] = ()
    key: Callable[[Any], Any] | None = None
    key_name: str = "key_by"
    keyed: bool = False
    value: Callable[[Any], Any] | None = None
    combine: Combine | None = None
    output: str = MAIN
    route: Route = "group"
    event_time: EventTime | None = None

    @property
    def narrow(self) -> bool:
        """Whether rows stay in the key groups of their producer.

        Then a consumer needs only those producers whose key intervals overlap its own (a narrow dependency, in the
        words of the RDD paper), and neither closes ticks for the others.
        """
        return not self.keyed and self.route == "group" and self.event_time is None


@dataclass(frozen=True)
class OperatorPlan:
    """One operator of the query.

    Attributes:
        logic: For a source the ``Source``, for a sink the ``Sink``, for a keyed operator a function that makes the
            ``Processor`` of one instance: ``make(context) -> Processor``.
        parallelism: Number of instances at the start.
        partitions: A source's partitions, one descriptor each; partition p of n covers the p-th of n even intervals.
        emit_ticks: Ticks between emissions of a keyed aggregate; 1 for every tick, 0 for the end only, None where the
            operator emits as it likes.
        user_code: Runs code of the user's, so that its replays are checked row by row.
    """

    name: str
    kind: Literal["source", "keyed", "sink"]
    logic: Any
    parallelism: int = 1
    partitions: tuple[Any, ...] = ()
    emit_ticks: int | None = None
    user_code: bool = False


@dataclass(frozen=True)
class Settings:
    """What a job may set; every field has a default. Durations in the unit that the name says.

    Attributes:
        tick_ms: Length of a tick.
        checkpoint_ms: Time between checkpoints; 0 switches them off.
        key_groups: Number of key groups, fixed for the life of the job; at most 65,535.
        memory_bytes: Limit per worker that credit and buffers keep to.
        heartbeat_ms: A worker whose process lives but does not answer for so long is taken for hung.
        tick_bytes: A source reads at most this much in one tick and partition, or a sixteenth of a worker's memory.
        nondeterminism: ``fail`` stops the job when a replay differs, ``warn`` reports it and goes on.
        seed: Of ``ctx.random``.
        partitions: Into how many a source is cut, as far as its input allows, and so how many instances of it there can
            be; 0 for as many as there are workers.
        scaling: Decides how many instances operators should have; None leaves them as they are.
        disk: Checkpoints also lie in the job directory, so that a job can be resumed: ``on``; ``sync`` has them, and
            the input log, on the disk itself before anything is acknowledged; ``off`` keeps them in memory alone.
        on_error: Policies by the name of an operator or step, in place of those that the query says.
        recovery_parts: Into how many parts a lost keyed instance is cut, which are restored at once on as many workers.
        copies: How many workers keep each checkpoint in memory: 1 or 2.
        spill_bytes: So much of a worker's output may lie on the disk until it is covered by checkpoints or commits.
        stall_after_ms: An instance that has not got any further for so long is told of as a stall; 0 tells of none.
        deadline_ms: Of a recovery and of scaling, until they are said to be overdue; 0 waits for ever.
        auto_tick: Sources stamp only multiples of 2, 4 … ticks while a tick's work takes much of its length.
        max_stretch: The largest of these numbers: a power of two.
    """

    tick_ms: int = 10
    checkpoint_ms: int = 1000
    key_groups: int = KEY_GROUPS
    memory_bytes: int = 512 << 20
    heartbeat_ms: int = 1000
    tick_bytes: int = 32 << 20
    nondeterminism: Literal["fail", "warn"] = "fail"
    seed: int = 0
    partitions: int = 0
    disk: Literal["on", "sync", "off"] = "on"
    copies: int = 1
    recovery_parts: int = 1
    spill_bytes: int = 1 << 30
    stall_after_ms: int = 10_000
    deadline_ms: int = 60_000
    auto_tick: bool = True
    max_stretch: int = 8
    scaling: Policy | None = None
    on_error: Mapping[str, OnError] = field(default_factory=dict)

    @property
    def checkpoint_ticks(self) -> int:
        """Checkpoints are cut where τ passes a multiple of this; 0 when they are off."""
        return max(1, self.checkpoint_ms // self.tick_ms) if self.checkpoint_ms else 0


@dataclass(frozen=True)
class Plan:
    """A query that has been checked and cut into operators and edges; shipped whole to every worker.

    Attributes:
        operators: By name, in topological order.
        tick_zero_s: Unix time of tick 0, seconds; set when the job starts.
        since_s: Unix time since which this run of the job lasts; later than tick 0 if it was resumed.
        run_id: Of this run; sinks keep their commits under it.
        clean_run: From a plan and the directory of its input log to what each sink must get, batch by batch; None where
            operators and edges say it.
    """

    name: str
    operators: dict[str, OperatorPlan]
    edges: tuple[Edge, ...]
    settings: Settings = field(default_factory=Settings)
    tick_zero_s: float = 0.0
    since_s: float = 0.0
    run_id: str = ""
    clean_run: Callable[[Plan, Any], dict[str, list[Any]]] | None = None

    def end_from(self, tick: int, *, final: bool) -> int:
        """The first tick, this one or later, with which the stream may end; ``final`` if it is never resumed."""
        del final
        return tick

    @property
    def refused(self) -> Mapping[str, str]:
        """What cannot be done to a job of the execution model, by scenarios' words for it, and why."""
        return {}

    @property
    def durable(self) -> bool:
        """Whether all that its job keeps outlives its processes; the positions of sources and sinks always do."""
        keyed = any(operator.kind == "keyed" for operator in self.operators.values())
        return not keyed or (self.settings.disk != "off" and self.settings.checkpoint_ticks > 0)

    @property
    def cut(self) -> Mapping[str, Any]:
        """How the execution model has cut the work, as far as kept state depends on it; by users' words for it."""
        return {"model": "elastic"}

    def recut(self, cut: Mapping[str, Any]) -> Self:
        """The plan for a job that was cut in this way when it began, as far as that is nothing that users see."""
        del cut
        return self

    def inputs(self, operator: str) -> list[Edge]:
        """Edges into an operator, by input number."""
        return sorted((e for e in self.edges if e.consumer == operator), key=lambda e: e.input)

    def outputs(self, operator: str) -> list[Edge]:
        """Edges out of an operator, by id."""
        return [e for e in self.edges if e.producer == operator]

    def bounds(self, operator: str) -> Sequence[int]:
        """Where an operator's key groups can be cut, both ends included: a source between its partitions only."""
        known, groups = self.operators[operator], self.settings.key_groups
        if known.kind != "source":
            return range(groups + 1)
        return [interval.low for interval in even_intervals(len(known.partitions), groups)] + [groups]

    def broadcast_inputs(self, operator: str) -> frozenset[int]:
        """Numbers of the operator's inputs whose rows come to every instance."""
        return frozenset(edge.input for edge in self.inputs(operator) if edge.route == "broadcast")

    def intervals(self, operator: str) -> Sequence[KeyInterval]:
        """The key intervals of the operator's first instances; together they tile all key groups."""
        bounds = self.bounds(operator)
        shares = even_intervals(self.operators[operator].parallelism, len(bounds) - 1)
        return [KeyInterval(bounds[low], bounds[high]) for low, high in shares]

    def partition_interval(self, operator: str, partition: int) -> KeyInterval:
        """The key interval that a source partition's rows belong to."""
        return even_intervals(len(self.operators[operator].partitions), self.settings.key_groups)[partition]
