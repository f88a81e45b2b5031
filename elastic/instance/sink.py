"""A sink's instance: hands closed ticks to the target in order and acknowledges what is committed.

The target keeps (generation, τ) beside the rows, so a sink has no checkpoint: it starts at the lowest tick that the
target holds for its interval and drops the groups that are past it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from elastic.batch import Batch, merge
from elastic.instance.inputs import Input
from elastic.instance.keyed import input_wait, make_inputs
from elastic.keys import KeyInterval
from elastic.plan import Plan
from elastic.protocol import (
    CaughtUp,
    Command,
    Commit,
    Deliver,
    Differs,
    Finished,
    NeedCheckpoint,
    Standing,
    Start,
    Tell,
    View,
    Wait,
)

PENDING_LIMIT_BYTES = 8 << 20
"""Ticks taken but not committed; past it, or past a 32nd of a worker's memory, the inputs keep the rest, and their
credit stops the producers."""


class SinkInstance:
    """One instance of a sink.

    Attributes:
        tau: Taken through it; what lies between ``committed`` and τ is pending.
        committed: The target holds everything through this tick.
        rows_committed: So many rows of this run, those of its predecessors among them.
        records_in: The same with what is pending.
    """

    def __init__(
        self,
        plan: Plan,
        start: Start,
        worker: int,
        committed: Sequence[tuple[KeyInterval, int]],
        inputs: Sequence[Input] | None = None,
        rows: int = 0,
    ) -> None:
        self.id, self.operator, self.interval = start.instance, start.operator, start.interval
        self.committed = self.tau = min(tick for _, tick in committed)
        self._skip = np.zeros(plan.settings.key_groups, np.int64)
        for interval, tick in committed:
            self._skip[interval.low : interval.high] = tick
        self._skip_through = max(tick for _, tick in committed)
        self.inputs: list[Input] = make_inputs(plan, start, worker) if inputs is None else list(inputs)
        self._producers_of = {e.id: e.producer for e in plan.edges}
        self._pending: list[tuple[int, Batch]] = []
        self._pending_bytes = 0
        self._pending_limit_bytes = min(PENDING_LIMIT_BYTES, plan.settings.memory_bytes // 32)
        self._under_way = False
        self._answers = 0  # commits that returned
        self._handed = self.committed
        self._open: deque[int] = deque()  # ticks with rows that were handed over and are not committed
        self._idle_ticks = max(1, plan.settings.checkpoint_ticks or 50)
        self._acked = self.committed
        self._ended: int | None = None
        self._drain: int | None = None
        self.finished = False
        self._replaying = bool(start.cause)
        self._replayed = 0
        self.records_in = self.rows_committed = rows

    def on_view(self, view: View) -> list[Command]:
        """The producers of an input are these from now on."""
        return self._input(view.edge).on_view(view, self.tau)

    def on_deliver(self, message: Deliver) -> list[Command]:
        """A producer closed ticks."""
        return self._input(message.edge).on_deliver(message)

    def on_differs(self, message: Differs) -> list[Command]:
        """A replayed tick differs from what was processed here."""
        producer = self._producers_of[message.edge]
        return self._input(message.edge).explain(producer, message.producer, message.tick, message.batch)

    def on_need_checkpoint(self, _: NeedCheckpoint) -> list[Command]:
        """A producer's buffer state is past its limit: acknowledge what is committed, and commit what is pending."""
        return self._ack() + self._commit(now=True)

    def _input(self, edge: int) -> Input:
        return next(i for i in self.inputs if i.edge == edge)

    def step(self) -> tuple[bool, list[Command]]:
        """Take the ticks that are closed and hand them to the target; whether anything was done, and what follows."""
        closed = min(i.closed for i in self.inputs)
        final = all(i.final for i in self.inputs) and all(i.closed == closed for i in self.inputs)
        moved = closed > self.tau and self._pending_bytes < self._pending_limit_bytes
        if moved:
            self._take(closed)
        if final and self.tau == closed:
            self._ended = closed
        commands = self._commit()
        if not moved:
            commands += self._waits()
        elif self._replaying and self.tau == closed:
            self._replaying = False
            commands.append(Tell(CaughtUp(self.id, self.tau, self._replayed)))
        return moved, commands

    def _take(self, closed: int) -> None:
        while self.tau < closed and self._pending_bytes < self._pending_limit_bytes:
            ticks = [t for i in self.inputs if (t := i.next_rows) is not None and t <= closed]
            if not ticks:
                self.tau = closed
                return
            self.tau = min(ticks)
            batch = merge([b for i in self.inputs for b in i.take(self.tau)])
            self._replayed += len(batch) if self._replaying else 0
            if self.tau <= self._skip_through:
                keep = np.flatnonzero(self._skip[batch.groups] < self.tau)
                batch = batch if len(keep) == len(batch) else batch.ordered(keep)
            self.records_in += len(batch)
            if len(batch):
                self._pending.append((self.tau, batch))
                self._pending_bytes += batch.size_bytes

    def _commit(self, *, now: bool = False) -> list[Command]:
        """Hand over what is pending; ticks without rows only once in a while, or at the end."""
        end = self._drain if self._ended is None else self._ended
        final = end is not None and self.tau >= end and not self.finished
        behind = self.tau - self._handed
        if self._under_way or not (self._pending or final or behind >= self._idle_ticks or (now and behind)):
            return []
        self._under_way, self._handed = True, self.tau
        self._open.extend(tick for tick, _ in self._pending)
        ticks, self._pending, self._pending_bytes = tuple(self._pending), [], 0
        return [Commit(self.id, ticks, self.tau, final=final)]

    @property
    def standing(self) -> Standing:
        """How far it is, and what it waits for; a commit that is under way counts only when it returns."""
        if self.finished:
            return Standing(self.tau, self._answers, Wait("end"))
        if self._under_way:
            return Standing(self.tau, self._answers, Wait("target", tick=self._handed))
        return Standing(self.tau, self.tau, input_wait(self.inputs, self.tau))

    def on_drain(self, tick: int) -> list[Command]:
        """The job is being stopped at ``tick``: no row comes after it, so the target is to hold all there is then."""
        self._drain = tick
        return self._commit()

    def account(self) -> list[Command]:
        """What a new coordinator may not have heard."""
        return [Tell(Finished(self.id, self.committed, self.rows_committed))] if self.finished else []

    def on_committed(self, through: int, rows: int, *, final: bool) -> list[Command]:
        """The target holds everything through this tick; ``rows`` is what the last commit wrote."""
        self._under_way = False
        self._answers += 1
        advanced, self.committed = through > self.committed, through
        self.rows_committed += rows
        while self._open and self._open[0] <= through:
            self._open.popleft()
        commands: list[Command] = [c for i in self.inputs for c in i.credits()]
        if final:
            self.finished = True
            commands.append(Tell(Finished(self.id, through, self.rows_committed)))
        if final or (advanced and through - self._acked >= self._idle_ticks // 20):
            commands += self._ack()
        return commands + self._commit()

    @property
    def settled(self) -> int:
        """Everything through this tick is in the target, or had no rows."""
        if self._open:
            return self._open[0] - 1
        return self._pending[0][0] - 1 if self._pending else self.tau

    def _ack(self) -> list[Command]:
        self._acked = self.committed
        return [c for i in self.inputs for c in i.acks(self.committed)]

    def _waits(self) -> list[Command]:
        newest = max((i.newest for i in self.inputs), default=0)
        return [c for i in self.inputs for c in i.wants(newest)] if newest > self.tau else []
