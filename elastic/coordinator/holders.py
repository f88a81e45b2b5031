"""Who keeps whose checkpoints: the orders to holders and to instances, and what becomes of both after a loss.

Source: SEEP Alg. 1, backup-state. We differ: the coordinator says who holds, so that a holder can refuse what it was
not told to hold; and there may be two.
"""

from __future__ import annotations

from collections.abc import Collection

from elastic.coordinator.events import Record
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.protocol import Hold, Release, Send, SetHolder


class Holders:
    """Chooses holders, and says what has to be said about them."""

    def __init__(self, members: Membership) -> None:
        self._members = members

    def protect(self, record: InstanceRecord, *, told: bool) -> list[object]:
        """The holder of the part goes on holding, unless it lies on the successor's own worker or is gone.

        Args:
            record: The successor.
            told: It was started already, under another holder.
        """
        if record.holder is not None and record.holder != record.worker:
            record.second = self._members.second_for(record)
            return self._hold_anew(record, told=told) if record.second is not None else []
        record.holder, record.protected = self._members.holder_for(record), False
        record.second = self._members.second_for(record)
        return self._hold_anew(record, told=told)

    def hold_elsewhere(self, record: InstanceRecord) -> list[object]:
        """Have another worker hold an instance's checkpoints, with a full one at once; a warning if there is none.

        Where there is a second one, it is that: it has what the holder had.
        """
        before, record.second = record.second, None
        if before is not None and before in self._members.usable and before != record.worker:
            record.holder = before
        else:
            record.holder, record.protected = self._members.holder_for(record), False
        record.second = self._members.second_for(record)
        return self._hold_anew(record, told=True) + self._left(record, before)

    def hold_beside(self, record: InstanceRecord) -> list[object]:
        """The holder goes on, and so does the second one, or another does in its place."""
        before, record.second = record.second, self._members.second_for(record)
        return self._hold_anew(record, told=True) + self._left(record, before)

    def _left(self, record: InstanceRecord, worker: int | None) -> list[object]:
        """Who held beside another, and does not any more, keeps what it has until there are two copies again."""
        if worker is None or self._members.is_lost(worker) or self._members.needs(worker, record):
            return []
        if record.former is None and record.holder is not None:
            record.former = worker
            return []
        return [Send(worker, Release(self._members.epoch, record.id))]

    def _hold_anew(self, record: InstanceRecord, *, told: bool) -> list[object]:
        """The orders to the holders, and to the instance if it runs already, under a new term."""
        record.term = self._members.new_term()
        orders: list[object] = [self.set_holder(record)] if told else []
        if record.holder is None:  # it keeps nothing for a successor any more, so tick 0 will not do either
            record.fresh = False
            return [*orders, self.unprotected(record)]
        return [*self.hold(record), *orders]

    def hold(self, record: InstanceRecord) -> list[object]:
        """The orders to the holders; the same again is harmless.

        Where one before them may have been sent a checkpoint that was not heard of yet, nothing here is not nothing.
        """
        fresh = record.fresh and record.former is None
        return [
            Send(worker, Hold(self._members.epoch, record.id, fresh, record.term))
            for worker in (record.holder, record.second)
            if worker is not None
        ]

    def promote(self, lost: int) -> set[int]:
        """Where a holder is lost, the second one takes its place; returns whose copies are fewer now."""
        fewer: set[int] = set()
        for record in self._members.instances.values():
            if record.origin_at == lost:
                record.origin_at = None
            if lost in (record.holder, record.second):
                fewer.add(record.id)
            if record.holder == lost and record.second is not None:
                record.holder, record.second = record.second, None
            elif record.second == lost:
                record.second = None
        return fewer

    def set_holder(self, record: InstanceRecord) -> Send:
        """The order to the instance's worker; the same again is harmless."""
        return Send(record.worker, SetHolder(self._members.epoch, record.id, record.holder, record.term, record.second))

    def on_protected(self, record: InstanceRecord, holder: int, origins: Collection[int | None]) -> list[object]:
        """An instance's first own checkpoint is stored: nothing that it was made from is needed any more.

        Args:
            record: The instance.
            holder: Who has the checkpoint.
            origins: Instances from whose checkpoints others are just being made.
        """
        record.fresh = False
        is_newest = holder == record.holder
        record.protected = record.protected or is_newest
        (at, record.part_at), (origin, record.origin) = (record.part_at, None), (record.origin, None)
        origin_at, record.origin_at = record.origin_at, None
        useless = {at}
        if is_newest:
            useless.add(record.former)
            record.former = None
        actions: list[object] = [
            Send(worker, Release(self._members.epoch, record.id))
            for worker in sorted(w for w in useless if w is not None)
            if worker not in (holder, record.second) and not self._members.workers[worker].lost
        ]
        others = {other.origin for other in self._members.instances.values()}
        if origin is not None and origin not in others and origin not in origins:
            keepers = {holder} if origin_at is None or self._members.is_lost(origin_at) else {holder, origin_at}
            actions += [Send(worker, Release(self._members.epoch, origin, gone=True)) for worker in sorted(keepers)]
        return actions

    def hand_over(self, record: InstanceRecord) -> list[object]:
        """Have another worker hold an instance's checkpoints; until it has one, the holder before keeps its own."""
        record.former = record.holder
        return self.hold_elsewhere(record)

    def fall_back(self, record: InstanceRecord) -> bool:
        """Whether the holder before has the newest checkpoint, which then is the holder again."""
        former, record.former = record.former, None
        if former is None or self._members.is_lost(former):
            return False
        record.holder, record.protected = former, True
        return True

    def unprotected(self, record: InstanceRecord) -> Record:
        """A warning that nobody can hold an instance's checkpoints."""
        text = "no other worker lives to keep its checkpoints: its loss would end the job; run with more workers"
        return Record("warning", record.operator, record.index, record.worker, text)
