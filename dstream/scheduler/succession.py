"""How a scheduler takes over from one that is gone: every worker says what it has, and what is missing is done again.

Tasks have gone on meanwhile. What was done and told to nobody who lives is in a worker's account; what was ordered
and not done is ordered again, since a task that is done twice gives the same twice.
"""

from __future__ import annotations

from dstream.blocks import Name
from dstream.plan import Kind
from dstream.protocol import Account, Guard
from dstream.scheduler.copies import DISK, holders
from dstream.scheduler.ledger import Ledger
from dstream.scheduler.placement import Placement
from elastic.coordinator.ending import Ending
from elastic.coordinator.events import Record, Recovered
from elastic.coordinator.membership import InstanceRecord
from elastic.protocol import Peers, Rejoin, Retire, Send


class Succession:
    """The beginning of a scheduler that is not the job's first.

    Attributes:
        waiting: Workers whose account has not come; until all have, nobody is told to do anything.
    """

    def __init__(self, ledger: Ledger, ending: Ending, placement: Placement) -> None:
        self._ledger, self._ending, self._placement = ledger, ending, placement
        self.waiting = ledger.unheard

    def begin(self, event: Recovered) -> list[object]:
        """Ask those who live for what they have."""
        self.waiting |= set(event.alive) & set(self._ledger.members.live)
        self._ledger.miss()
        if event.resumed:
            return [self._ending.resume()]
        return [Record("coordinator_recovered", cause=event.cause), *self.ask()]

    def ask(self) -> list[object]:
        """Ask those who have not answered; the question or the answer may have been lost."""
        return [Send(worker, Rejoin(self._ledger.epoch)) for worker in sorted(self.waiting)]

    def heard(self, worker: int, message: Account) -> list[object]:
        """What a worker has: take note of it, end what should not be there, begin what should."""
        ledger, members = self._ledger, self._ledger.members
        if worker not in self.waiting:
            return []
        self.waiting.discard(worker)
        actions: list[object] = [Send(worker, Peers(ledger.epoch, members.addresses))]
        for name in message.blocks:
            ledger.locate(Name(*name), worker)
            ledger.progress.did(Name(*name))
        for place, versions in ((DISK, message.kept), (worker, message.copies)):
            for stage, partition, interval in versions:
                ledger.copies.kept((stage, partition), place, interval)
        for sealed in message.sealed:
            ledger.sealed(sealed, worker)
        for stage, number, partition, found in message.failed:
            ledger.progress.failed(Name(stage, number, partition), found)
        self._note_positions(message)
        here = set(message.instances)
        actions += [Send(worker, Retire(ledger.epoch, id)) for id in sorted(here - members.instances.keys())]
        for record in sorted(members.instances.values(), key=lambda r: r.id):
            if record.worker == worker:
                actions += self._told_again(record) if record.id in here else self._placement.begin(record)
        return actions

    def _told_again(self, record: InstanceRecord) -> list[object]:
        """What an instance may not have heard."""
        if self._ledger.stage(record).kind is not Kind.STATE:
            return self._ending.told(record)
        guard = Guard(self._ledger.epoch, record.id, holders(record))
        return [Send(record.worker, guard), *self._ending.told(record)]

    def _note_positions(self, message: Account) -> None:
        """How far sources, state and sinks are."""
        ledger = self._ledger
        for id, done in message.states:
            if (held := ledger.held_by(id)) is not None:
                held.record.running = True
                held.record.start_tick = ledger.plan.last_tick(done)
                ledger.reached(held, done)
        for id, committed, taken in message.sinks:
            if (held := ledger.held_by(id)) is not None:
                held.record.running, held.record.start_tick = True, committed
                ledger.reached(held, taken)
        for id, interval in message.sources:  # of what its predecessor has closed, a source has not told
            if (record := ledger.members.instances.get(id)) is not None:
                ledger.close(record, interval)
