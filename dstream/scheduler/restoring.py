"""What a partition with state starts from: where the version lies is told to who is to hold it, or the job is over."""

from __future__ import annotations

from dstream.plan import Kind
from dstream.protocol import Place, StateMissing
from dstream.scheduler.copies import holders
from dstream.scheduler.ledger import Held, Ledger
from elastic.coordinator.events import EndJob
from elastic.coordinator.membership import InstanceRecord
from elastic.protocol import Send


class Restoring:
    """The part of the scheduler that has state restored: from a worker's memory if it can be, else from the disk."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._deferred: list[int] = []  # instances that wait until all workers have told what they have

    def restore(self, held: Held) -> list[object]:
        """Have a partition start from the version that it goes on from."""
        ledger, record, partition = self._ledger, held.record, (held.stage.id, held.partition)
        if ledger.unheard:
            self._deferred.append(record.id)
            return []
        if ledger.members.is_lost(record.worker):
            return []  # it is to be moved
        at = held.done or 0
        copies = ledger.copies.where(partition, at)
        if at and not copies and not ledger.plan.has_disk:
            copies = tuple(ledger.members.live)  # one may have it whose word has not come yet
        place = Place(ledger.epoch, record.id, *partition, at, copies, holders(record), record.cause)
        return [Send(record.worker, place)]

    def deferred(self) -> list[object]:
        """All workers have told what they have: restore what had to wait for that."""
        waiting, self._deferred = self._deferred, []
        held = [held for id in waiting if (held := self._ledger.held_by(id)) is not None]
        return [action for each in held for action in self.restore(each)]

    def again(self) -> list[object]:
        """A worker is lost from which others may have been reading state: they are told anew where it lies."""
        waiting = [h for h in self._ledger.of_kind(Kind.STATE) if not h.record.running and h.done]
        return [action for held in waiting for action in self.restore(held)]

    def missing(self, message: StateMissing) -> list[object]:
        """State was not where it was said to be, nor on the disk: it is in other places, or lost."""
        ledger, held = self._ledger, self._ledger.held_by(message.instance)
        if held is None or held.record.running:
            return []
        partition = (held.stage.id, held.partition)
        for worker in message.asked:
            ledger.copies.mislaid(partition, worker)
        if not ledger.unheard and not ledger.copies.where(partition, held.done or 0):
            return [self._lost(held.record)]
        return self.restore(held)

    def _lost(self, record: InstanceRecord) -> EndJob:
        """The end of a job of which a part is gone for good, and what would have kept it."""
        why = "no worker is left that had a copy: to survive that, keep state on the disk, too, or in more places"
        if self._ledger.plan.has_disk:
            why = "the job directory has no version of it that is still needed"
        elif self._ledger.plan.settings.copies > 1:
            why += ' ("disk: on")'
        else:
            why += ' ("disk: on", "copies: 2")'
        what = f"{record.operator}#{record.index} (key groups {record.interval})"
        return EndJob("failed", f"the state of {what} is lost: {why}", "state_lost")
