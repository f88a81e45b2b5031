"""``reconfigure(operator, assignment)``: deploy, recover, scale out and scale in are one procedure (invariant 4).

Take the checkpoint parts that cover each new instance's interval, restore them on a worker, tell the downstreams who
their producers are now; everybody subscribes from their own τ. Its steps are idempotent, and what it decided is
journalled before it is done.

Where the old instance is gone, the procedure only rolls forward. Where it lives, it goes on until its successors have
restored their parts: only then is it replaced, and until then any loss calls the whole off at no cost. So no single
loss during a scale out costs more than the scale out. Scaling in differs in its beginning alone: neighbours checkpoint
at one tick that is agreed on, and their checkpoints are joined where the first one's lies.

Source: SEEP Alg. 3, scale-out-operator(o, π); recovery is scale-out-operator(o, 1). We differ: nobody is stopped,
since versions and subscriptions do what stop, re-route and start do there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from elastic.coordinator.events import Journal, Record
from elastic.coordinator.holders import Holders
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.orders import Orders
from elastic.coordinator.procedure import Procedure
from elastic.keys import KeyInterval
from elastic.protocol import Cut, CutDone, Hold, Release, Retire, Send, Started
from elastic.units import counted


class Reconfigurer:
    """Runs procedures over the membership's facts; returns what is to be sent, recorded and journalled.

    Attributes:
        running: Procedures that are not committed, by id.
        last: The highest id of a procedure so far.
        planned: Instances without state that were replaced while they lived, and may find that out at log or target;
            and those that replaced them.
    """

    def __init__(self, members: Membership) -> None:
        self.holders, self.orders = Holders(members), Orders(members)
        self._members = members
        self.running: dict[int, Procedure] = {}
        self.planned: set[int] = set()
        self.last = 0

    # -- beginning -----------------------------------------------------------------------------------------------------

    def begin(
        self, old: InstanceRecord, cause: str, now_s: float, parts: Sequence[tuple[KeyInterval, int]] = ()
    ) -> list[object] | None:
        """Replace an instance; None if its state is lost: it had a checkpoint and every copy is gone.

        An instance without state of its own is replaced at once: a log or target has one writer, so its successors
        cannot begin before it ends, and find there all that it has done.

        Args:
            old: The instance.
            cause: What for.
            now_s: Time.
            parts: Interval and worker of each successor of an instance that lives; none to replace a lost one, whole.
        """
        if (running := next((p for p in self.running.values() if old in p.olds), None)) is not None:
            return self.cut(running) if self._members.is_lost(old.worker) and not running.joined else []
        procedure = self.new(old, parts or [(old.interval, None)], cause, now_s)
        procedure.patient = bool(parts)
        if not self.locate(procedure):
            return None
        note = self.open(procedure)
        if parts and not self._members.is_stateful(old):
            return [note, *self.commit(procedure)]
        return [note, *self.cut(procedure)]

    def new(
        self,
        old: InstanceRecord,
        parts: Sequence[tuple[KeyInterval, int | None]],
        cause: str,
        now_s: float,
        joined: Sequence[InstanceRecord] = (),
    ) -> Procedure:
        """A procedure with an id for each successor; their workers may be chosen later."""
        self.last += 1
        ids = {self._members.new_id(): part for part in parts}
        successors = tuple((id, interval) for id, (interval, _) in ids.items())
        places = {id: worker for id, (_, worker) in ids.items() if worker is not None}
        return Procedure(self.last, old, successors, cause, now_s, places=places, joined=tuple(joined))

    def open(self, procedure: Procedure) -> Journal:
        """From now on the procedure runs."""
        self.running[procedure.id] = procedure
        olds = [old.id for old in procedure.olds]
        body = {"id": procedure.id, "old": olds, "new": procedure.successors, "cause": procedure.cause}
        return Journal("reconfigure", body)

    # -- the checkpoint and its parts ----------------------------------------------------------------------------------

    def locate(self, procedure: Procedure) -> bool:
        """Find who is to cut the old instance's checkpoint: its holder, else whoever reads it from the disk.

        Returns whether there can be one. If no worker lives to read it, the procedure waits for the next.
        """
        old, members = procedure.old, self._members
        procedure.term, procedure.at = members.new_term(), None
        procedure.cut = procedure.at_hand = False
        if not members.is_stateful(old):
            procedure.cut = True
            return True
        if (members.has_disk or members.plan.settings.copies > 1) and members.plan.settings.checkpoint_ticks:
            procedure.origin = old.origin or old.id
        if not members.is_lost(old.holder):
            procedure.at = old.holder
        elif old.origin is not None and not members.is_lost(old.origin_at):
            procedure.at = old.origin_at
        elif members.has_disk and procedure.origin is not None:
            procedure.at = self._reader(old)
        elif self.holders.fall_back(old):
            procedure.at = old.holder
        else:
            procedure.cut = old.holder is not None and old.fresh
            return procedure.cut
        procedure.second = self.beside(procedure)
        return True

    def beside(self, procedure: Procedure) -> int | None:
        """Who is to have the parts too, before they take over from an instance that lives: another than all others.

        Nobody, where one copy is enough, or the disk keeps them. A lost instance is replaced at once: where its
        second copy lies, the one successor can be made from it again.
        """
        members = self._members
        if members.has_disk or not procedure.scales:
            return None
        taken = {procedure.at, *procedure.places.values()}
        return members.second_for(procedure.old, [worker for worker in taken if worker is not None])

    def _reader(self, old: InstanceRecord) -> int | None:
        """A worker that reads checkpoints from the disk: not the one that is next in turn to run the successor."""
        members = self._members
        heirs = members.spares[:1]
        return members.idlest([w for w in members.usable if w not in heirs and w != old.worker] or members.live)

    def cut(self, procedure: Procedure) -> list[object]:
        """The command to whoever has the checkpoint, or reads it; the same again is harmless."""
        if procedure.cut or procedure.at is None:
            return []
        old = procedure.old
        patient = procedure.patient and not self._members.is_lost(old.worker)
        cut = Cut(
            self._members.epoch, procedure.id, old.id, procedure.successors, procedure.term, old.origin, patient,
            procedure.second,
        )  # fmt: skip
        return [*self.hold_second(procedure), Send(procedure.at, cut)]

    def hold_second(self, procedure: Procedure) -> list[object]:
        """The orders to whoever is to have the parts too."""
        if (second := procedure.second) is None:
            return []
        epoch, fresh = self._members.epoch, procedure.old.fresh and not procedure.joined
        return [Send(second, Hold(epoch, id, fresh, procedure.term)) for id, _ in procedure.successors]

    def on_cut_done(self, message: CutDone) -> Procedure | None:
        """The parts lie at the holder; returns the procedure unless it is over already."""
        procedure = self.running.get(message.reconfigure)
        if procedure is not None:
            procedure.at_hand, procedure.tick = True, message.tick
            procedure.cut = procedure.cut or message.stored
        return procedure

    def cut_at_former(self, procedure: Procedure) -> list[object]:
        """The holder had nothing yet: the one before it is asked, or whoever has what the instance was made from."""
        old, origin_at = procedure.old, procedure.old.origin_at
        if self.holders.fall_back(old):
            procedure.at = old.holder
        elif old.origin is not None and not self._members.is_lost(origin_at) and procedure.at != origin_at:
            procedure.at = origin_at
        else:
            return []
        procedure.cut, procedure.at_hand = False, False
        procedure.second = self.beside(procedure)
        return self.cut(procedure)

    def prepare(self, procedure: Procedure) -> list[object]:
        """Have the successors restore their parts; without views they do nothing after that."""
        procedure.version = self._members.versions[procedure.old.operator] + 1
        return list(self.orders.restore(procedure))

    def on_restored(self, message: Started) -> list[object]:
        """A successor has its part; the last of them brings the switch, if all parts are stored."""
        procedure = next((p for p in self.running.values() if message.instance in p.places), None)
        if procedure is None:
            return []
        procedure.restored[message.instance] = message
        return self.commit(procedure) if procedure.is_complete else []

    # -- the end -------------------------------------------------------------------------------------------------------

    def abort(self, procedure: Procedure) -> list[object]:
        """Call scaling off: the old instances have all the state, and back it up anew."""
        del self.running[procedure.id]
        members = self._members
        actions: list[object] = [
            Journal("aborted", {"id": procedure.id, "cause": procedure.cause, "new": len(procedure.successors)})
        ]
        actions += [
            Send(worker, Retire(members.epoch, id))
            for id, worker in procedure.places.items()
            if not members.workers[worker].lost
        ]
        for worker in [w for w in (procedure.at, procedure.second) if w is not None and not members.is_lost(w)]:
            actions += [Send(worker, Release(members.epoch, id, gone=True)) for id, _ in procedure.successors]
        for alive in [old for old in procedure.olds if not members.workers[old.worker].lost]:
            is_cut = not procedure.joined and alive.holder == procedure.at
            gone = is_cut or members.is_lost(alive.holder)  # else whoever had the second copy may be the holder by now
            actions += self.holders.hold_elsewhere(alive) if gone else self.hold_beside(alive)
        return actions

    def commit(self, procedure: Procedure, worker: int | None = None) -> list[object]:
        """Put the successors into the assignment, on ``worker`` or where they have restored, and tell everybody."""
        members, old = self._members, procedure.old
        del self.running[procedure.id]
        fresh = self._succeed(procedure, worker)
        retired: list[object] = [
            Send(replaced.worker, Retire(members.epoch, replaced.id))
            for replaced in procedure.olds
            if not members.workers[replaced.worker].lost
        ]
        told: list[object] = []
        if members.is_stateful(old):
            told = [a for record in fresh for a in self.holders.protect(record, told=bool(procedure.version))]
        elif procedure.scales:
            self.planned |= {replaced.id for replaced in procedure.olds} | {record.id for record in fresh}
        for record in fresh:
            told += self.orders.views_for(record) if procedure.version else [self.orders.start(record)]
        return [
            members.journalled(old.operator),
            *(restored(r, procedure.restored[r.id]) for r in fresh if r.running and members.is_lost(old.worker)),
            *(told + retired if members.is_stateful(old) else retired + told),  # a log or target has one writer
            *self._released(procedure, fresh),
            *self.orders.views_of(old.operator),
        ]

    def _released(self, procedure: Procedure, fresh: Sequence[InstanceRecord]) -> list[object]:
        """What is held for those that are replaced is needed no more, unless their successors may be made from it."""
        members = self._members
        kept = {(record.origin, record.origin_at) for record in fresh}
        useless = [(replaced, replaced.holder) for replaced in procedure.joined]
        useless += [(replaced, replaced.second) for replaced in procedure.olds]
        return [
            Send(worker, Release(members.epoch, replaced.id, gone=bool(procedure.joined)))
            for replaced, worker in useless
            if worker is not None and not members.is_lost(worker) and (replaced.id, worker) not in kept
        ]

    def _succeed(self, procedure: Procedure, worker: int | None) -> list[InstanceRecord]:
        """The successors in the place of what they replace, under a new version of the assignment."""
        members, operator = self._members, procedure.old.operator
        loads = _joined_loads(procedure.olds)
        for replaced in procedure.olds:
            del members.instances[replaced.id]
        members.versions[operator] += 1
        fresh = [self._successor(procedure, id, interval, worker) for id, interval in procedure.successors]
        for record in fresh:
            members.instances[record.id] = record
            low, high = (group - procedure.low for group in record.interval)
            record.loads = None if loads is None else loads[low:high]
        for index, record in enumerate(members.assignment(operator)):
            record.index = index
        return fresh

    def _successor(self, procedure: Procedure, id: int, interval: KeyInterval, worker: int | None) -> InstanceRecord:
        old, part_at, second = procedure.old, procedure.at, procedure.second
        if second is None:
            second = old.second
        elif self._members.is_lost(part_at):
            part_at, second = second, None
        origin = procedure.origin if len(procedure.successors) == 1 else None  # parts of several are written at once
        origin_at = old.origin_at if old.origin is not None else old.second
        return InstanceRecord(
            id, old.operator, old.index, interval,
            version=procedure.version or self._members.versions[old.operator],
            worker=procedure.places[id] if worker is None else worker,
            holder=part_at, second=second, part_at=part_at, protected=part_at is not None,
            fresh=old.fresh and not procedure.joined, cause=procedure.cause,
            term=procedure.term if self._members.is_stateful(old) else 0,  # of holders, and it has none
            origin=origin, origin_at=None if origin is None or part_at is None else origin_at,
            running=id in procedure.restored,
            start_tick=procedure.restored[id].tick if id in procedure.restored else None,
        )  # fmt: skip

    # -- copies --------------------------------------------------------------------------------------------------------

    def hold_beside(self, record: InstanceRecord) -> list[object]:
        """Have another worker than before hold beside the holder.

        Not while the instance is being replaced: its checkpoint is cut, and what it stored elsewhere now would be
        acknowledged, and be lost with it.
        """
        replaced = any(record in procedure.olds for procedure in self.running.values())
        return [] if replaced else self.holders.hold_beside(record)

    def on_protected(self, record: InstanceRecord, holder: int) -> list[object]:
        """An instance's first own checkpoint is stored."""
        return self.holders.on_protected(record, holder, {p.origin for p in self.running.values()})


def restored(record: InstanceRecord, message: Started) -> Record:
    """The event that an instance which replaces a lost one has its state."""
    text = f"{counted(message.keys, 'key')} at tick {message.tick}"
    return Record("restored", record.operator, record.index, record.worker, text)


def _joined_loads(records: Sequence[InstanceRecord]) -> npt.NDArray[np.float32] | None:
    """What was measured of neighbours, end to end; None if nothing is known of one."""
    found = [record.loads for record in records if record.loads is not None]
    return np.concatenate(found) if len(found) == len(records) else None
