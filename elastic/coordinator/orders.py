"""What instances have to know: that they are to run and from what, and who their producers are."""

from __future__ import annotations

from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.procedure import Procedure
from elastic.protocol import Finish, ProducerRef, Send, Start, View


class Orders:
    """Puts the facts into commands. The same command again is harmless."""

    def __init__(self, members: Membership) -> None:
        self._members = members

    def start(self, record: InstanceRecord) -> Send:
        """The command that makes an instance run; a source is told the end with it, so that it cannot run past it."""
        members = self._members
        end = members.finish if members.plan.operators[record.operator].kind == "source" else None
        final = None if end is None else Finish(members.epoch, record.id, *end)
        views = tuple(self._view(e.id, e.producer, record.id) for e in members.plan.inputs(record.operator))
        command = Start(
            members.epoch, record.id, record.operator, record.index, record.interval, record.version, record.version,
            record.holder, record.part_at, views, final, record.cause, record.term, record.second,
        )  # fmt: skip
        return Send(record.worker, command)

    def restore(self, procedure: Procedure) -> list[Send]:
        """The commands that make successors restore their parts; without views they do nothing after that."""
        old, at, version = procedure.old, procedure.at, procedure.version
        return [
            Send(procedure.places[id], Start(
                self._members.epoch, id, old.operator, old.index, interval, version, version, at, at, (), None,
                procedure.cause, procedure.term,
            ))
            for id, interval in procedure.successors
        ]  # fmt: skip

    def views_of(self, producer: str) -> list[object]:
        """The operator's assignment to all instances that consume it."""
        return [
            Send(consumer.worker, self._view(e.id, producer, consumer.id))
            for e in self._members.plan.outputs(producer)
            for consumer in self._members.assignment(e.consumer)
            if not self._members.workers[consumer.worker].lost
        ]

    def views_for(self, record: InstanceRecord) -> list[object]:
        """All inputs of one instance: sent again when it runs, since assignments may have changed meanwhile."""
        inputs = self._members.plan.inputs(record.operator)
        return [Send(record.worker, self._view(e.id, e.producer, record.id)) for e in inputs]

    def _view(self, edge: int, producer: str, consumer: int) -> View:
        """The whole assignment of an edge's producer, as one of its consumers is told."""
        refs = tuple(ProducerRef(i.id, i.interval, i.worker) for i in self._members.assignment(producer))
        return View(self._members.epoch, consumer, edge, self._members.versions[producer], refs)
