"""A source's instance: stamps what was read with ticks and serves it. Its checkpoint is the input log.

The shell reads and logs; by the time ``emit`` is called the tick's log entry is durable, so that whatever a consumer
has seen of a tick, a successor reads the same from the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from elastic.batch import Column, concat, size_bytes
from elastic.connectors.base import Chunk
from elastic.instance.ahead import Held
from elastic.instance.group_load import GroupLoad
from elastic.instance.outputs import Outputs
from elastic.keys import KeyInterval
from elastic.operators.base import Output
from elastic.operators.failure import Failures
from elastic.plan import ERRORS, Plan
from elastic.protocol import (
    Ack,
    Command,
    Credit,
    Exhausted,
    GroupLoads,
    Standing,
    Start,
    Subscribe,
    Tell,
    Wait,
    Want,
)  # fmt: skip
from elastic.report import FailedRecords

CHUNK_BYTES = 4 << 20
"""A tick's input is read and goes through the chains in chunks of about so much: larger ones leave the caches, smaller
ones cost more calls. Filtering lines did 35 M lines/s on four cores with 2 MiB, 48 with 4, 42 with 8, 31 with 16."""


class SourceInstance:
    """One instance of a source, reading the partitions whose intervals lie in its own.

    Attributes:
        tau: Closed through it.
        finished: The stream ended with τ.
        exhausted: There is nothing more to read, and the coordinator was told.
        failures: (tick, emitting group, found) of records that steps skipped or diverted, until they are told.
        untold: The first tick with records that nobody was told of yet.
    """

    def __init__(self, plan: Plan, start: Start, floors: Sequence[int]) -> None:
        self.id, self.operator, self.interval = start.instance, start.operator, start.interval
        # Consumers that hear every instance are past all floors. On a narrow edge those of one partition may be behind.
        narrow = any(edge.narrow for edge in plan.outputs(start.operator))
        self.tau = base = (min if narrow else max)(floors, default=0)
        self.outputs = Outputs(plan, start, base, {}, Failures(by_group=True))
        for buffer in self.outputs.buffers.values():
            buffer.acknowledge(KeyInterval(0, plan.settings.key_groups), base)
        self.finished = self.exhausted = False
        self.records_in = 0
        self._diverts = plan.operators[start.operator].logic.errors == "divert"
        self._load = GroupLoad(start.interval)
        self._wanted: set[int] = set()
        self.failures: list[tuple[int, int, FailedRecords]] = []
        self.untold: int | None = None
        self._telling: int | None = None

    @property
    def full(self) -> bool:
        """Whether reading must wait for credit or for a downstream checkpoint. Empty ticks may still be closed."""
        return self.outputs.full

    @property
    def standing(self) -> Standing:
        """How far it is, and what keeps it from reading."""
        wait = Wait("end") if self.finished else self.outputs.wait() or Wait("data")
        return Standing(self.tau, self.records_in, wait)

    @property
    def floor(self) -> int:
        """The log is needed only past this tick: a successor counts again what nobody was told of."""
        unsaid = [self._telling, self.untold, *(tick for tick, *_ in self.failures[:1])]
        return min([self.outputs.floor, *(tick - 1 for tick in unsaid if tick is not None)])

    @property
    def wanted(self) -> int | None:
        """The next tick that a consumer waits for."""
        return min((tick for tick in self._wanted if tick > self.tau), default=None)

    def emit(
        self, tick: int, read: Sequence[tuple[KeyInterval, Chunk]], held: Held = MappingProxyType({}), *,
        final: bool = False, serve: bool = True,
    ) -> list[Command]:  # fmt: skip
        """Close ``tick`` with the chunks that were read, in the partitions' order.

        ``held`` says, by edge, how far the partitions' marks may go.

        Raises:
            UserCodeError: A function of a chain raised.
        """
        parts = [(interval, chunk.rows) for interval, chunk in read if len(chunk.rows)]
        if parts and self.untold is None:
            self.untold = tick
        outputs = [self._output(run) for run in _runs(parts)]
        outputs += diverted(self.operator, tick, read, self.outputs.failures, divert=self._diverts)
        commands: list[Command] = []
        if outputs or self.outputs.start < tick:
            commands += self.outputs.emit(tick, outputs, held)
            self.failures += [(tick, *taken) for taken in self.outputs.failures.take()]
        self.tau, self.finished = tick, final
        if serve:
            commands += self.serve()
        return commands

    def _output(self, parts: Sequence[tuple[KeyInterval, Column]]) -> Output:
        lengths = [len(column) for _, column in parts]
        self.records_in += sum(lengths)
        for (interval, _), records in zip(parts, lengths, strict=True):
            self._load.add_at(interval.low, records)
        groups = np.repeat(np.array([interval.low for interval, _ in parts], np.uint16), lengths)
        return Output(groups, concat([column for _, column in parts]))

    def serve(self) -> list[Command]:
        """What is due to consumers now."""
        self.outputs.stable = max(self.outputs.stable, self.outputs.floor)
        return self.outputs.serve(self.tau, final=self.finished) + self.outputs.need_checkpoints()

    def tell(self) -> list[tuple[int, int, FailedRecords]]:
        """Take ``failures``, to be told now with all that was read.

        They may be lost on the way if this process is killed: their ticks stay in the log until more is told.
        """
        told, self.failures = self.failures, []
        self._telling = told[0][0] if told else None
        self.untold = None
        return told

    def nudge(self) -> list[Command]:
        """Some time has passed: ask again for checkpoints that are needed, and say how busy the partitions were."""
        loads = self._load.taken()
        return self.outputs.nudge() + ([] if loads is None else [Tell(GroupLoads(self.id, loads))])

    def account(self) -> list[Command]:
        """What a new coordinator may not have heard."""
        return [Tell(Exhausted(self.id))] if self.exhausted else []

    def on_subscribe(self, message: Subscribe) -> list[Command]:
        """A consumer wants an output edge."""
        return self.outputs.on_subscribe(message, self.tau) + self.serve()

    def on_credit(self, message: Credit) -> list[Command]:
        """A consumer has room again."""
        self.outputs.on_credit(message)
        return self.serve()

    def on_ack(self, message: Ack) -> list[Command]:
        """A consumer is safe through a tick."""
        self.outputs.on_ack(message)
        return []

    def on_want(self, message: Want) -> list[Command]:
        """A consumer waits for a tick."""
        self._wanted = {tick for tick in self._wanted if tick > self.tau} | {message.tick}
        return []


def diverted(
    source: str, tick: int, read: Sequence[tuple[KeyInterval, Chunk]], failures: Failures, *, divert: bool
) -> list[Output]:
    """Count what a source left out of the chunks of a tick; what goes to its output ``errors``, if it diverts."""
    groups: list[int] = []
    told: list[dict[str, Any]] = []
    for interval, chunk in read:
        if chunk.malformed or chunk.skipped:
            told += failures.note_malformed(source, tick, chunk, interval.low, divert=divert)
            groups += [interval.low] * (len(told) - len(groups))
    return [Output(np.array(groups, np.uint16), told, name=ERRORS)] if told else []


def _runs(parts: Sequence[tuple[KeyInterval, Column]]) -> list[list[tuple[KeyInterval, Column]]]:
    """The parts in runs of about a chunk; so many small partitions go through the chains at once."""
    runs: list[list[tuple[KeyInterval, Column]]] = []
    room_bytes = 0
    for part in parts:
        part_bytes = size_bytes(part[1])
        if part_bytes > room_bytes:
            runs.append([])
            room_bytes = CHUNK_BYTES
        runs[-1].append(part)
        room_bytes -= part_bytes
    return runs
