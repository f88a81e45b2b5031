"""How neighbours become one instance: they checkpoint at one tick that is agreed on, and these checkpoints are joined.

At first all are asked where they stand; then a tick is tried that lies ahead of all of them. Their checkpoints of it
carry the same τ, so that one instance can go on from there.
"""

from __future__ import annotations

from collections.abc import Sequence

from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.keys import KeyInterval
from elastic.protocol import Align, Aligned, AlignRefused, Join, Send

ALIGN_AHEAD_MS, ALIGN_FURTHEST_MS = 100, 1600
"""So far ahead of all positions lies the tick at which neighbours checkpoint that are to be joined; twice as far each
time one of them is past it when it is told, since it may take that long from one tick to the next."""


class Joining:
    """Begins the procedures that scale in, and brings them to where their parts lie joined."""

    def __init__(self, members: Membership, reconfigurer: Reconfigurer) -> None:
        self._members, self._reconfigurer = members, reconfigurer

    def begin(self, olds: Sequence[InstanceRecord], cause: str, now_s: float) -> list[object]:
        """Make one instance of neighbours, where the first of them runs."""
        first, whole = olds[0], KeyInterval(olds[0].interval.low, olds[-1].interval.high)
        procedure = self._reconfigurer.new(first, [(whole, first.worker)], cause, now_s, joined=olds)
        procedure.at, procedure.term = first.holder, self._members.new_term()
        procedure.second = self._reconfigurer.beside(procedure)
        note = self._reconfigurer.open(procedure)
        if not self._members.is_stateful(first):
            return [note, *self._reconfigurer.commit(procedure)]
        return [note, *self._align(procedure, 0)]

    def heard(self, message: Aligned | AlignRefused) -> list[object]:
        """An instance that is to be joined with others has checkpointed, or says where it stands."""
        procedure = self._reconfigurer.running.get(message.reconfigure)
        if procedure is None:
            return []
        return self._aligned(procedure, message) if isinstance(message, Aligned) else self._refused(procedure, message)

    def _align(self, procedure: Procedure, tick: int) -> list[object]:
        procedure.align, procedure.positions, procedure.aligned = tick, {}, set()
        epoch = self._members.epoch
        return [Send(old.worker, Align(epoch, procedure.id, old.id, tick)) for old in procedure.olds]

    def _refused(self, procedure: Procedure, message: AlignRefused) -> list[object]:
        """An instance says where it stands: that was the question, or it is past the tick, and a later one is tried."""
        if procedure.cut:
            return []
        procedure.positions[message.instance] = message.tick
        if procedure.align:
            procedure.ahead_ms *= 2
            if procedure.ahead_ms > ALIGN_FURTHEST_MS:
                return self._reconfigurer.abort(procedure)
            return self._align(procedure, max(message.tick, procedure.align) + self._ahead(procedure))
        if len(procedure.positions) < len(procedure.olds):
            return []
        procedure.ahead_ms = ALIGN_AHEAD_MS
        return self._align(procedure, max(procedure.positions.values()) + self._ahead(procedure))

    def _ahead(self, procedure: Procedure) -> int:
        """In ticks."""
        return procedure.ahead_ms // self._members.plan.settings.tick_ms + 1

    def _aligned(self, procedure: Procedure, message: Aligned) -> list[object]:
        """An instance's checkpoint of the tick is stored; those of all are then joined where the first one's lies."""
        if message.tick != procedure.align:
            return []
        procedure.aligned.add(message.instance)
        if len(procedure.aligned) < len(procedure.olds):
            return []
        sources = tuple((old.id, old.holder) for old in procedure.olds if old.holder is not None)
        holder, (successor, _) = procedure.old.holder, procedure.successors[0]
        assert holder is not None
        epoch, term = self._members.epoch, procedure.term
        join = Join(epoch, procedure.id, holder, successor, procedure.align, sources, term, procedure.second)
        return [*self._reconfigurer.hold_second(procedure), Send(holder, join)]
