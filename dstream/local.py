"""A program in one process, stage by stage: what RDDs are computed with, and what a job's result is held against."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from dstream.blocks import Name
from dstream.logic import Content, Given, Logic, LogicContext, Read, sliced
from dstream.outages import Outage, Outages
from dstream.plan import Input, Kind, Reach, Stage, StreamPlan
from dstream.reading import LoggedInput
from elastic.batch import Batch, merge
from elastic.connectors.base import Chunk, LogEntry, Sink, SinkContext
from elastic.connectors.input_log import read_log
from elastic.errors import UserError
from elastic.keys import KeyInterval
from elastic.operators.base import ProcessorContext
from elastic.plan import Plan

READ_BYTES = 8 << 20

ReadInput = Callable[[Stage, int, int], Sequence[Read]]
"""What a source's stage read, by partition and interval."""


class LocalRun:
    """All intervals of a program, one after the other; blocks are kept as long as windows read them.

    Attributes:
        sinks: What each sink got: (tick, rows) in order.
        outages: What was given up, if the plan says that the rest goes on: each at its first failure.
    """

    def __init__(self, plan: StreamPlan, read: ReadInput) -> None:
        self._plan, self._read = plan, read
        self._blocks: dict[tuple[int, int, int], Sequence[Content]] = {}
        self._logic: dict[tuple[int, int], Logic] = {}
        self._keep = plan.keep_back()
        self.outages = Outages(plan)
        self.sinks: dict[str, list[tuple[int, Batch]]] = {s.operator: [] for s in plan.stages if s.kind is Kind.SINK}

    def interval(self, number: int, after: int, through: int, *, final: bool) -> None:
        """Compute every stage's dataset of an interval.

        Raises:
            UserCodeError: User code raised.
        """
        given = Given(number, after, through, final, ())
        for stage in self._plan.stages:
            for partition in range(stage.partitions) if stage.kind is not Kind.SINK else ():
                if (contents := self._needed(stage, partition, given)) is not None:
                    self._blocks[stage.id, number, partition] = contents
            if stage.kind is Kind.SINK and number <= self.outages.until[stage.id]:
                self._take(stage, number)
        self._blocks = {k: b for k, b in self._blocks.items() if k[1] > number - self._keep[k[0]]}

    def _needed(self, stage: Stage, partition: int, given: Given) -> Sequence[Content] | None:
        """A task's blocks, without the channels that cannot be had; None once nobody needs any of them."""
        name = Name(stage.id, given.interval, partition)
        while self.outages.needs(name):
            before = self._logic_of(stage, partition).version() if self._plan.keep_going else None
            try:
                return self._compute(stage, partition, replace(given, without=frozenset(self.outages.without(name))))
            except UserError as error:
                if before is None:
                    raise
                channel = self._logic.pop((stage.id, partition)).at
                self._logic_of(stage, partition).begin_from(before)
                self.outages.add(Outage(stage.id, channel, given.interval, str(error)))
        return None

    def _compute(self, stage: Stage, partition: int, given: Given) -> Sequence[Content]:
        inputs = [self._input(i, stage, partition, given.interval) for i in stage.inputs]
        read = self._read(stage, partition, given.interval) if stage.kind is Kind.SOURCE else ()
        return self._logic_of(stage, partition).compute(replace(given, inputs=inputs, read=read))

    def _logic_of(self, stage: Stage, partition: int) -> Logic:
        key = (stage.id, partition)
        if key not in self._logic:
            runtime = ProcessorContext.of(self._plan, stage.operator, self._plan.key_interval(stage, partition))
            self._logic[key] = stage.logic(LogicContext(partition, runtime))
        return self._logic[key]

    def _input(self, input: Input, stage: Stage, partition: int, number: int) -> list[list[Content]]:
        producer = self._plan.stages[input.stage]
        groups = self._plan.key_interval(stage, partition)
        found: list[list[Content]] = []
        for back in input.back:
            if number - back < 1:
                found.append([])
            elif input.reach is Reach.SAME:
                found.append([self._blocks[input.stage, number - back, partition][input.channel]])
            else:
                blocks = [self._blocks[input.stage, number - back, p] for p in range(producer.partitions)]
                contents = [block[input.channel] for block in blocks]
                found.append(contents if input.reach is Reach.ALL else [sliced(c, groups) for c in contents])
        return found

    def _take(self, stage: Stage, number: int) -> None:
        """What a sink gets, tick by tick in canonical order."""
        at: dict[int, list[Batch]] = {}
        for input in stage.inputs:
            producer = self._plan.stages[input.stage]
            for partition in range(producer.partitions):
                for tick, batch in self._blocks[input.stage, number, partition][input.channel]:
                    at.setdefault(tick, []).append(batch)
        self.sinks[stage.operator] += [(tick, merge(at[tick])) for tick in sorted(at)]


def clean_run(plan: Plan, log_directory: Path) -> dict[str, list[Batch]]:
    """What each sink gets of the logged input, in one process and without failures; sinks by name.

    Raises:
        SourceError: The input has gone or changed since it was logged.
        UserCodeError: User code raised.
    """
    assert isinstance(plan, StreamPlan)
    sources = [s for s in plan.stages if s.kind is Kind.SOURCE]
    logs = {(s.operator, p): read_log(log_directory, s.operator, p) for s in sources for p in range(s.partitions)}
    return {name: [batch for _, batch in ticks] for name, ticks in replay(plan, logs).items()}


def replay(plan: StreamPlan, logs: Mapping[tuple[str, int], Sequence[LogEntry]]) -> dict[str, list[tuple[int, Batch]]]:
    """What each sink gets of the logged input: (tick, rows), by sink; logs by source and partition."""
    inputs = {(name, p): LoggedInput(plan, name, p) for name, p in logs}
    last = max((entries[-1].tick for entries in logs.values() if entries), default=0)
    final = any(entries[-1].final for entries in logs.values() if entries)

    def read(stage: Stage, partition: int, number: int) -> Sequence[Read]:
        key = (stage.operator, partition)
        return inputs[key].read(e for e in logs[key] if plan.interval_of(e.tick) == number)

    run = LocalRun(plan, read)
    count = plan.interval_of(last)
    for number in range(1, count + 1):
        through = last if number == count else plan.last_tick(number)
        run.interval(number, 0 if plan.batch else plan.last_tick(number - 1), through, final=final and number == count)
    for input in inputs.values():
        input.close()
    return run.sinks


class TooLargeError(Exception):
    """There is more input than is to be read here."""


@dataclass(slots=True)
class Budget:
    """How many bytes of input may be read; any number if None."""

    left: int | None

    def spend(self, size_bytes: int) -> None:
        """So many were read.

        Raises:
            TooLargeError: That was too much.
        """
        if self.left is not None:
            self.left -= size_bytes
            if self.left < 0:
                raise TooLargeError


def read_all(plan: StreamPlan, stage: Stage, partition: int, budget: Budget) -> Sequence[Read]:
    """All of a bounded source's partition.

    Raises:
        SourceError: It cannot be read.
        TooLargeError: It is more than the budget.
    """
    reader = plan.operators[stage.operator].partitions[partition].open()
    found: list[Chunk] = []
    try:
        while not reader.finished and (chunk := reader.read(READ_BYTES)) is not None:
            budget.spend(chunk.size_bytes)
            found.append(chunk)
    finally:
        reader.close()
    return [Read(1, found)]


def write(sink: Sink, found: Sequence[tuple[int, Batch]], key_groups: int) -> None:
    """All rows are in a sink's target, and what it displays is printed.

    Raises:
        SinkError: The target cannot be used.
    """
    with TemporaryDirectory(prefix="elastic-") as directory:
        context = SinkContext(uuid4().hex, "rdd", sink.name, key_groups, 1, Path(directory))
        sink.prepare(context)
        writer = sink.open(context, KeyInterval(0, key_groups), 1)
        try:
            writer.commit(found, 1, final=True)
        finally:
            writer.close()
            sink.finish(context)
        display = sink.display(context)
        sys.stdout.writelines(f"{line}\n" for line in (display() if display is not None else ()))
