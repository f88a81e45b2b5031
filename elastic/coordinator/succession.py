"""How a coordinator takes over from one that is gone: what it asks, and what it makes of the answers.

Data has been flowing meanwhile. Whatever the old one had decided is journalled; what it was told last, or what it told
others last, may be lost: so workers give an account of what they have, and are told again what they should have. All
that is said twice is harmless.
"""

from __future__ import annotations

from elastic.coordinator.ending import Ending
from elastic.coordinator.events import Record, Recovered
from elastic.coordinator.membership import Membership
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.protocol import Peers, Rejoin, Release, Retire, Running, Send


class Succession:
    """The beginning of a coordinator that is not the job's first."""

    def __init__(self, members: Membership, reconfigurer: Reconfigurer, ending: Ending) -> None:
        self._members, self._reconfigurer, self._ending = members, reconfigurer, ending

    def begin(self, event: Recovered) -> list[object]:
        """Ask those who live for an account, and have them hold what they are to hold."""
        members, epoch = self._members, self._members.epoch
        actions: list[object] = [] if event.resumed else [Record("coordinator_recovered", cause=event.cause)]
        if event.resumed:
            actions.append(self._ending.resume())
        actions += [Send(worker, Rejoin(epoch)) for worker in members.live if worker in event.alive]
        for record in members.of_kind("keyed"):
            if record.holder in event.alive and not members.is_lost(record.holder):
                actions += self._reconfigurer.holders.hold(record)
        return actions

    def begin_again(self, procedure: Procedure) -> list[object] | None:
        """Carry on with what was begun: cuts are ordered again, joins called off. None if there is no state."""
        if procedure.joined:
            return self._reconfigurer.abort(procedure)
        if procedure.scales:
            return self._reconfigurer.cut(procedure)
        return self._reconfigurer.cut(procedure) if self._reconfigurer.locate(procedure) else None

    def account(self, worker: int, message: Running) -> list[object]:
        """What a worker has, by its own account: end what should not be there, begin what should."""
        members, epoch = self._members, self._members.epoch
        running = set(message.instances)
        actions: list[object] = [Send(worker, Peers(epoch, members.addresses))]
        procedures = self._reconfigurer.running.values()
        successors = {id for p in procedures for id, _ in p.successors}
        unknown = running - members.instances.keys() - successors
        actions += [Send(worker, Retire(epoch, id)) for id in sorted(unknown)]
        needed = {id for id, i in members.instances.items() if members.needs(worker, i)}
        needed |= {i.origin for i in members.instances.values() if i.origin is not None and i.origin_at == worker}
        needed |= successors | {old.id for p in procedures for old in p.olds}
        actions += [Send(worker, Release(epoch, id)) for id in sorted(set(message.held) - needed)]
        for procedure in [p for p in procedures if p.version]:
            starts = self._reconfigurer.orders.restore(procedure)
            actions += [s for s in starts if s.worker == worker and s.message.instance not in running]
        for record in sorted(members.instances.values(), key=lambda i: i.id):
            if worker in (record.holder, record.second):
                actions += self._reconfigurer.holders.hold(record)
            if record.worker != worker:
                continue
            if record.id not in running:
                actions.append(self._reconfigurer.orders.start(record))
                continue
            if members.is_stateful(record):
                actions.append(self._reconfigurer.holders.set_holder(record))
            actions += [*self._reconfigurer.orders.views_for(record), *self._ending.told(record)]
        return actions
