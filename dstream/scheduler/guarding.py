"""Who keeps second copies of state: chosen, told, and chosen anew when one of them is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dstream.blocks import Name
from dstream.plan import Kind
from dstream.protocol import Guard, Kept, Unguard
from dstream.scheduler.copies import DISK, holders, wanted
from dstream.scheduler.ledger import Held, Ledger
from elastic.coordinator.events import Record, Told
from elastic.coordinator.membership import InstanceRecord
from elastic.protocol import Send
from elastic.units import counted


class Guarding:
    """The part of the scheduler that sees to the copies of state."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._warned = False

    # -- who -----------------------------------------------------------------------------------------------------------

    def guard(self) -> list[object]:
        """See to it that each partition's versions are kept by as many other workers as are wanted, if they live."""
        members, orders = self._ledger.members, list[object]()
        lost: Counter[int] = Counter()
        for held in self._ledger.of_kind(Kind.STATE):
            record = held.record
            lost.update(worker for worker in holders(record) if members.is_lost(worker))
            if self._choose(record) and not members.is_lost(record.worker):
                orders.append(Send(record.worker, Guard(self._ledger.epoch, record.id, holders(record))))
        events = [
            Record("checkpoint_lost", worker=worker, cause=f"it kept copies of state of {counted(n, 'partition')}")
            for worker, n in sorted(lost.items())
        ]
        return [*events, *self._unprotected(), *orders]

    def choose_for(self, record: InstanceRecord, before: InstanceRecord | None) -> None:
        """Holders of a new incarnation: those of the one before, as far as they can be."""
        if before is not None:
            record.holder, record.second = before.holder, before.second
        self._choose(record)

    def _choose(self, record: InstanceRecord) -> bool:
        """Replace holders that cannot be; whether that changed any."""
        members, before = self._ledger.members, holders(record)
        found = [w for w in before if not members.is_lost(w) and w != record.worker]
        others = [w for w in members.live if w not in found and w != record.worker]
        if others and len(found) < members.plan.settings.copies:
            spares = set(members.spares)
            pairs, load = self._load(record)
            span = max(members.live) + 1
            used = [w for w in others if w not in spares] or others
            used.sort(key=lambda w: (pairs[w], load[w], (w - record.worker) % span))
            found += used[: members.plan.settings.copies - len(found)]
        record.holder, record.second = (*found, None, None)[:2]
        changed = holders(record) != before
        self._ledger.guarded += changed
        return changed

    def _load(self, record: InstanceRecord) -> tuple[Counter[int], Counter[int]]:
        """Partitions that each worker keeps for this one's worker, and for all: a lost worker's are with many then."""
        pairs, load = Counter[int](), Counter[int]()
        for held in self._ledger.of_kind(Kind.STATE):
            for worker in holders(held.record):
                load[worker] += 1
                pairs[worker] += held.record.worker == record.worker
        return pairs, load

    def _unprotected(self) -> Iterator[Record]:
        """A warning when the loss of one worker begins to be the end of the job."""
        alone = [h.record for h in self._ledger.of_kind(Kind.STATE) if h.record.holder is None]
        if not alone or self._ledger.plan.has_disk:
            self._warned = False
        elif not self._warned:
            self._warned = True
            text = "no other worker lives to keep copies of state: its loss would end the job; run with more workers"
            yield Record("warning", worker=alone[0].worker, cause=text)

    # -- what they have ------------------------------------------------------------------------------------------------

    def kept(self, worker: int, message: Kept) -> list[object]:
        """A version is somewhere; told once it is wherever it should be, and refused where it should not."""
        ledger, partition = self._ledger, (message.stage, message.partition)
        held = ledger.held.get(partition)
        if held is None:
            return []
        place, version = DISK if message.on_disk else worker, message.interval
        places = wanted(held.record, has_disk=ledger.plan.has_disk)
        before = ledger.copies.has(partition, version, places)
        ledger.copies.kept(partition, place, version)
        if place not in places and place != DISK:  # it is no holder any more
            return self._released(held)
        if before or not ledger.copies.has(partition, version, places):
            return []
        took_s = ledger.now_s - ledger.cut_s.pop(Name(message.stage, version, message.partition), ledger.now_s)
        body = {"instance": held.record.id, "bytes": message.size_bytes, "took_s": took_s}
        return [Told("checkpoint", body)]

    def tidy(self) -> list[object]:
        """Whenever more is safe: who kept copies, and is not to any more, need not keep what others have."""
        return [action for held in self._ledger.of_kind(Kind.STATE) for action in self._released(held)]

    def _released(self, held: Held) -> list[object]:
        """Those who have a partition's versions and are not to: what it starts again from is where it should be."""
        ledger, partition = self._ledger, (held.stage.id, held.partition)
        places = wanted(held.record, has_disk=ledger.plan.has_disk)
        needless = ledger.copies.needless(partition, ledger.restarts_at(held.stage.id), places)
        return [Send(w, Unguard(ledger.epoch, *partition)) for w in needless if not ledger.members.is_lost(w)]
