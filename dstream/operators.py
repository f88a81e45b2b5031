"""An elastic query as stages: the same sources, chains, processors and sinks, an interval at a time.

Each operator becomes a deterministic task (state before, rows) → (state after, rows). Ticks inside the interval are
kept, so that what comes out is what the elastic model gives, tick by tick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from dstream.logic import Content, Given, Logic, LogicContext, Read, SourceLogic
from dstream.plan import Input, Kind, Reach, Stage, StreamPlan, as_cut
from elastic.batch import Batch
from elastic.instance.ahead import Held
from elastic.instance.source import diverted
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.stateless import Memo, chains_of
from elastic.plan import Edge, OperatorPlan, Plan
from elastic.state.processing import StateTable


@dataclass(frozen=True)
class SourceChains:
    """What a source's edges make of one partition's rows; ``make`` gives the logic of one partition.

    Attributes:
        diverts: Records that the source cannot read are diverted, and not skipped.
    """

    edges: tuple[Edge, ...]
    diverts: bool = False

    def make(self, context: LogicContext) -> SourceLogic:
        """The logic of one partition."""
        edges = _Edges(self.edges, context)
        return ChainLogic(edges, context, diverts=self.diverts)


@dataclass(frozen=True)
class Keyed:
    """A keyed operator and its output edges; ``make`` gives the logic of one partition, without state."""

    processor: Callable[[ProcessorContext], Processor]
    inputs: tuple[Edge, ...]
    edges: tuple[Edge, ...]

    def make(self, context: LogicContext) -> Logic:
        """The logic of one partition, without state."""
        numbers = [edge.input for edge in self.inputs]
        return KeyedLogic(self.processor(context.runtime), numbers, _Edges(self.edges, context))


class _Edges:
    """The chains of some output edges, a channel each."""

    def __init__(self, edges: Sequence[Edge], context: LogicContext) -> None:
        self._chains = chains_of(edges, context.runtime.key_groups, context.failures)

    def run(
        self, tick: int, outputs: Sequence[Output], into: list[list[tuple[int, Batch]]], logic: Logic,
        without: frozenset[int], held: Held = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Add what the edges make of one tick's outputs, each in one piece or several, to their channels' blocks.

        Args:
            tick: When.
            outputs: What the operator emitted.
            into: The blocks.
            logic: Whose edges they are; its ``at`` follows.
            without: Channels that are left out.
            held: By edge: how far the marks of event time may go.
        """
        pieces: list[tuple[Output, Memo]] = [(o, {}) for o in outputs if len(o.groups) or o.marks]
        for number, ((edge, chain), block) in enumerate(zip(self._chains.items(), into, strict=True)):
            logic.at = number
            if number in without:
                continue
            mine = [piece for piece in pieces if piece[0].name == chain.output or piece[0].marks]
            batch = chain.run(mine, tick, held.get(edge, ()))
            if batch is not None and (len(batch) or batch.marks):
                block.append((tick, batch))

    def blocks(self) -> list[list[tuple[int, Batch]]]:
        """An empty block for each channel."""
        return [[] for _ in self._chains]


class ChainLogic(SourceLogic):
    """Rows of a source partition through the chains of its edges, tick by tick."""

    def __init__(self, edges: _Edges, context: LogicContext, *, diverts: bool) -> None:
        self._edges, self._context, self._diverts = edges, context, diverts
        self._blocks = edges.blocks()
        self._size_bytes = 0

    def feed(self, read: Read) -> None:
        tick, interval = read.tick, self._context.interval
        outputs = [Output(np.full(len(c.rows), interval.low, np.uint16), c.rows) for c in read.chunks if len(c.rows)]
        chunks = [(interval, chunk) for chunk in read.chunks]
        outputs += diverted(self._context.runtime.operator, tick, chunks, self._context.failures, divert=self._diverts)
        self._edges.run(tick, outputs, self._blocks, self, self.without, read.held)
        self._size_bytes += sum(block[-1][1].size_bytes for block in self._blocks if block and block[-1][0] == tick)

    def take(self, given: Given) -> Sequence[Content]:
        blocks, self._blocks, self._size_bytes = self._blocks, self._edges.blocks(), 0
        return tuple(map(tuple, blocks))

    @property
    def size_bytes(self) -> int:
        return self._size_bytes


class KeyedLogic(Logic):
    """One partition of a keyed operator: its processor, driven tick by tick, and the chains behind it."""

    def __init__(self, processor: Processor, numbers: Sequence[int], edges: _Edges) -> None:
        self._processor, self._numbers, self._edges = processor, numbers, edges

    def compute(self, given: Given) -> Sequence[Content]:
        blocks = self._edges.blocks()
        arrived = ticks_of(given, self._numbers)
        tau = given.after
        while tau < given.through:
            tick = self._next(tau, given, arrived)
            if tick is None:
                break
            final = given.final and tick == given.through
            self.at = None
            outputs = self._processor.process(TickInput(tick, arrived.pop(tick, []), final))
            self._edges.run(tick, outputs, blocks, self, given.without)
            tau = tick
        return tuple(map(tuple, blocks))

    def _next(self, tau: int, given: Given, arrived: dict[int, list[tuple[int, Batch]]]) -> int | None:
        """The first tick after τ that must be processed; None if none is left in the interval."""
        rows = next(iter(arrived), None)
        ticks = (rows, self._processor.due_after(tau), given.through if given.final else None)
        return min((t for t in ticks if t is not None and t <= given.through), default=None)

    def full(self) -> StateTable | None:
        return self._processor.full()

    def delta(self) -> StateTable | None:
        return self._processor.delta()

    def restore(self, table: StateTable) -> None:
        self._processor.restore(table)

    def common(self) -> Any:
        return self._processor.common()

    def restore_common(self, common: Any) -> None:
        self._processor.restore_common(common)

    def __len__(self) -> int:
        return len(self._processor)


def ticks_of(given: Given, numbers: Sequence[int]) -> dict[int, list[tuple[int, Batch]]]:
    """By tick, ascending: (input number, batch), ordered by edge and then by the producer's partition.

    Args:
        given: An input for each edge.
        numbers: Of the operator's inputs, by edge: several edges may lead to one.
    """
    at: dict[int, list[tuple[int, Batch]]] = {}
    for number, (partitions,) in zip(numbers, given.inputs, strict=True):
        for content in partitions:
            for tick, batch in content:
                at.setdefault(tick, []).append((number, batch))
    return {tick: at[tick] for tick in sorted(at)}


def stream_plan(
    plan: Plan,
    *,
    interval_ticks: int,
    checkpoint_intervals: int,
    partitions: int,
    retries: int = 3,
    keep_going: bool = False,
    batch: bool = False,
) -> StreamPlan:
    """The plan's operators as stages.

    Args:
        plan: Of an elastic query.
        interval_ticks: Ticks of an interval.
        checkpoint_intervals: Intervals between two checkpoints of all state.
        partitions: Tasks of each keyed operator in each interval.
        retries: Of a task that fails in user code.
        keep_going: Then only the outputs that need it fail.
        batch: All input is one interval.
    """
    stages: list[Stage] = []
    emits: dict[str, int] = {}

    def add(
        operator: OperatorPlan, kind: Kind, count: int, inputs: tuple[Input, ...] = (), logic: object = None
    ) -> int:
        stages.append(Stage(len(stages), operator.name, kind, count, inputs, logic))
        return stages[-1].id

    for name, operator in plan.operators.items():
        edges = tuple(plan.outputs(name))
        inputs = tuple(
            Input(
                emits[e.producer],
                plan.outputs(e.producer).index(e),
                Reach.ALL if e.route == "broadcast" else Reach.KEYS,
            )
            for e in plan.inputs(name)
        )
        if operator.kind == "source":
            chains = SourceChains(edges, diverts=operator.logic.errors == "divert")
            emits[name] = add(operator, Kind.SOURCE, len(operator.partitions), logic=chains.make)
        elif operator.kind == "keyed":
            count = min(partitions, plan.settings.key_groups)
            emits[name] = add(
                operator, Kind.STATE, count, inputs, Keyed(operator.logic, tuple(plan.inputs(name)), edges).make
            )
        else:
            add(operator, Kind.SINK, operator.parallelism, inputs)
    given = {f.name: getattr(plan, f.name) for f in fields(Plan)}
    given["operators"] = as_cut(plan.operators, stages)
    return StreamPlan(
        **given,
        stages=tuple(stages),
        interval_ticks=interval_ticks,
        checkpoint_intervals=checkpoint_intervals,
        retries=retries,
        keep_going=keep_going,
        batch=batch,
    )
