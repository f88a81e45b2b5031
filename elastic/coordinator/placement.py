"""Where the successors of instances run: procedures that wait for a worker are carried on as soon as there is one."""

from __future__ import annotations

from elastic.coordinator.membership import Membership
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.coordinator.workforce import Workforce

PATIENCE_S = 2.0
"""So long the next checkpoint of an instance that is to be cut is waited for: what came since one is replayed."""

JOIN_DEADLINE_S = 5.0
"""A join that takes longer is called off: its instances take no checkpoint meanwhile."""

WAIT_FOR_SPARE_S = 5.0
"""A worker process is up in about half a second; past ten times that, lost instances crowd together instead."""


class Placement:
    """Carries procedures on, and chooses their workers."""

    def __init__(self, members: Membership, reconfigurer: Reconfigurer, workforce: Workforce) -> None:
        self._members, self._reconfigurer, self._workforce = members, reconfigurer, workforce
        self._heir: dict[int, int] = {}  # by lost worker: the spare that takes over what ran there

    def progress(self, now_s: float) -> list[object]:
        """What can be done by now for every procedure that runs."""
        actions: list[object] = []
        for procedure in list(self._reconfigurer.running.values()):
            if not procedure.cut and procedure.at is None and self._members.live:
                self._reconfigurer.locate(procedure)
                actions += self._reconfigurer.cut(procedure)
            if procedure.scales:
                actions += self._carry_split_on(procedure, now_s)
            elif procedure.cut and (worker := self._place(procedure, now_s)) is not None:
                actions += self._reconfigurer.commit(procedure, worker)
        return actions

    def _carry_split_on(self, procedure: Procedure, now_s: float) -> list[object]:
        """Have the parts restored once they are cut, also while they are being written to the disk.

        The old instance, if it lives, goes on until all of them are; otherwise they take over once they are stored.
        """
        if procedure.joined and now_s - procedure.since_s > JOIN_DEADLINE_S:
            return self._reconfigurer.abort(procedure)
        if not procedure.cut and procedure.patient and now_s - procedure.since_s > PATIENCE_S:
            procedure.patient = False
            return self._reconfigurer.cut(procedure)
        if not (procedure.cut or procedure.at_hand):
            return []
        if not procedure.joined and self._members.workers[procedure.old.worker].lost:
            return self._take_over(procedure)
        if not procedure.version:
            return self._reconfigurer.prepare(procedure)
        return self._reconfigurer.commit(procedure) if procedure.is_complete else []

    def _take_over(self, procedure: Procedure) -> list[object]:
        """Parts whose workers were lost too go to the idlest that live; if none does, they wait."""
        usable = self._members.usable
        choice = [w for w in usable if w != procedure.at] or usable
        homeless = [id for id, worker in procedure.places.items() if self._members.workers[worker].lost]
        if homeless and not choice:
            return []
        for successor in homeless:
            procedure.places[successor] = self._members.idlest_first(choice)[0]
            procedure.restored.pop(successor, None)
        if procedure.cut and not procedure.version:
            return self._reconfigurer.commit(procedure)
        if not procedure.version:
            return self._reconfigurer.prepare(procedure)
        starts: list[object] = [
            s for s in self._reconfigurer.orders.restore(procedure) if s.message.instance in homeless
        ]
        return [*starts, *self._reconfigurer.commit(procedure)] if procedure.cut else starts

    def _place(self, procedure: Procedure, now_s: float) -> int | None:
        """A worker for the successor: its neighbours' heir, else a spare, else after a while the idlest.

        None of them is the one where the part lies, while there is another: its loss would be that of both.
        """
        members, old = self._members, procedure.old
        if not members.workers[old.worker].lost:
            return old.worker
        heir = self._heir.get(old.worker)
        if heir is not None and heir in members.usable and heir != procedure.at:
            return heir
        running = self._reconfigurer.running.values()  # who hands state out for them, or restores it, is busy with that
        busy = {p.at for p in running} | {worker for p in running for worker in p.places.values()}
        spares = sorted((s for s in members.spares if s != procedure.at), key=lambda s: (s in busy, s))
        if (spare := next(iter(spares), None)) is not None:
            self._heir[old.worker] = spare
            return spare
        if self._workforce.spawning and now_s - procedure.since_s < WAIT_FOR_SPARE_S:
            return None
        return members.idlest([w for w in members.usable if w != procedure.at] or members.live)
