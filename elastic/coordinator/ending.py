"""How a job ends: every source is frozen, one tick is agreed on that ends the stream, every sink commits through it.

The input ends by itself, or the user stops the job; either way nobody runs past a tick that others do not reach.
"""

from __future__ import annotations

from elastic.coordinator.events import EndJob, Journal, Record
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.protocol import Drain, Exhausted, Finish, Finished, Freeze, Frozen, Send

DRAIN_S = 1.0
"""A job that is stopped gets so long to commit what is complete, if nobody has more patience."""


class Ending:
    """The part of the coordinator that brings a job to its end.

    Attributes:
        stopping: The user has asked for the end.
        patient: And waits until everything is committed, however long that takes.
    """

    def __init__(self, members: Membership) -> None:
        self._members = members
        self.stopping, self.patient, self._drain_until_s = False, False, 0.0

    def stop(self, now_s: float, *, deployed: bool, patient: bool = False) -> list[object]:
        """Freeze the sources wherever they are; what they have read by then is drained and committed."""
        if self.stopping:
            return []
        self.stopping, self.patient, self._drain_until_s = True, patient, now_s + DRAIN_S
        if not deployed:
            return [EndJob("interrupted")]
        return [Record("stopping"), *self._tell_sources()]

    def resume(self) -> Record:
        """The job was stopped, or all of it was killed: what was to be its end is not, unless the input had ended."""
        self.stopping = self.patient = False
        if self._members.finish is not None and not self._members.finish[1]:
            self._members.finish = None
        for record in self._members.instances.values():
            record.exhausted, record.frozen, record.finished = False, None, False
        return Record("job_resumed")

    def out_of_patience(self, now_s: float) -> list[object]:
        """What could not be drained in time is dropped: it was never committed, so nothing is half done."""
        late = self.stopping and not self.patient and now_s > self._drain_until_s
        return [EndJob("interrupted")] if late else []

    def heard(self, message: Exhausted | Frozen | Finished) -> list[object]:
        """An instance has come to its end, or to where the end can be fixed."""
        record = self._members.instances.get(message.instance)
        if record is None:
            return []
        match message:
            case Exhausted():
                record.exhausted = True
                actions: list[object] = [Record("source_finished", record.operator, record.index, record.worker)]
                return actions + (self._tell_sources() if self._exhausted else [])
            case Frozen():
                record.frozen = message.tick
                return self._frozen(record)
            case Finished():
                record.finished = True
                return self._finished()

    def told(self, record: InstanceRecord) -> list[object]:
        """What an instance that has just started must be told about the end, as far as it is known."""
        kind, finish = self._members.plan.operators[record.operator].kind, self._members.finish
        if kind == "source":
            return self._tell_source(record)
        if kind == "sink" and finish is not None and not finish[1]:
            return [Send(record.worker, Drain(self._members.epoch, record.id, finish[0]))]
        return []

    @property
    def _exhausted(self) -> bool:
        operators = self._members.plan.operators
        return all(s.exhausted or operators[s.operator].logic.accompanies for s in self._members.of_kind("source"))

    def _frozen(self, record: InstanceRecord) -> list[object]:
        sources = self._members.of_kind("source")
        if self._members.finish is not None:
            return self._tell_source(record)
        if any(s.frozen is None for s in sources):
            return []
        return self._fix(max(s.frozen or 0 for s in sources) + 1)

    def _fix(self, tick: int) -> list[object]:
        """Fix the tick that ends the stream, once and for all instances."""
        final = not self.stopping
        tick = self._members.plan.end_from(tick, final=final)
        self._members.finish = (tick, final)
        actions: list[object] = [Journal("finish", {"tick": tick, "final": final}), *self._tell_sources()]
        return actions + [c for sink in self._members.of_kind("sink") for c in self.told(sink)]

    def _finished(self) -> list[object]:
        if not all(s.finished for s in self._members.of_kind("sink")):
            return []
        finish = self._members.finish
        return [Record("finished"), EndJob("done" if finish is None or finish[1] else "interrupted")]

    def _tell_sources(self) -> list[object]:
        return [c for source in self._members.of_kind("source") for c in self._tell_source(source)]

    def _tell_source(self, source: InstanceRecord) -> list[object]:
        epoch, finish = self._members.epoch, self._members.finish
        if finish is not None:
            return [Send(source.worker, Finish(epoch, source.id, *finish))]
        if source.frozen is None and (self.stopping or self._exhausted):
            return [Send(source.worker, Freeze(epoch, source.id))]
        return []
