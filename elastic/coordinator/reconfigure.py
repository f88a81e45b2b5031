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
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from elastic.coordinator.events import Journal
from elastic.coordinator.holders import Holders
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.keys import KeyInterval
from elastic.protocol import (
    Align,
    Aligned,
    AlignRefused,
    Cut,
    CutDone,
    Finish,
    Join,
    ProducerRef,
    Release,
    Retire,
    Send,
    Start,
    View,
)

ALIGN_AHEAD_MS = 100
"""So far ahead of all positions lies the tick at which neighbours checkpoint that are to be joined."""

PATIENCE_S = 2.0
"""So long the next checkpoint of an instance that is to be cut is waited for: what came since one is replayed."""

JOIN_DEADLINE_S = 5.0
"""A join that takes longer is called off: its instances take no checkpoint meanwhile."""

WAIT_FOR_SPARE_S = 5.0
"""A worker process is up in about half a second; past ten times that, lost instances crowd together instead."""


@dataclass(slots=True)
class Procedure:
    """One running reconfigure.

    Attributes:
        old: The instance that is replaced.
        successors: (id, interval) of the new ones.
        cut: Where its checkpoint lies is known: cut, or nothing to cut.
        at: The worker where it is cut or joined, and the parts lie; None if there is nothing to cut, or nobody yet.
        term: Under which the parts are held.
        origin: The instance whose checkpoint on the disk the one successor can be made from again.
        since_s: When it began, for its deadline.
        places: The worker of each successor, where they are to restore before the old instance is replaced.
        version: Of the successors that restore; above that of the old instance.
        restored: Which of them have, and at which tick.
        patient: The checkpoint to be cut is the next one, not the newest.
        joined: Instances that are to become one, the old one among them; none if it is only replaced or cut.
        align: The tick at which they all checkpoint; 0 while their positions are being asked for.
        positions: Where those stand that have said so.
        aligned: Those whose checkpoint of that tick is stored.
    """

    id: int
    old: InstanceRecord
    successors: tuple[tuple[int, KeyInterval], ...]
    cause: str
    since_s: float
    cut: bool = False
    at: int | None = None
    term: int = 0
    origin: int | None = None
    tick: int = 0
    places: dict[int, int] = field(default_factory=dict)
    version: int = 0
    patient: bool = False
    restored: dict[int, int] = field(default_factory=dict)
    joined: tuple[InstanceRecord, ...] = ()
    align: int = 0
    positions: dict[int, int] = field(default_factory=dict)
    aligned: set[int] = field(default_factory=set)

    @property
    def scales(self) -> bool:
        """Whether what it replaces was alive when it began: it scales out or in."""
        return bool(self.places)

    @property
    def low(self) -> int:
        """The first key group that it concerns."""
        return self.olds[0].interval.low

    @property
    def olds(self) -> tuple[InstanceRecord, ...]:
        """All that it replaces."""
        return self.joined or (self.old,)

    @property
    def workers(self) -> set[int]:
        """Whose loss calls it off, while it can be."""
        holders = {old.holder for old in self.joined if old.holder is not None}
        at = set() if self.at is None else {self.at}
        return at | holders | set(self.places.values()) | {old.worker for old in self.joined}


@dataclass
class Reconfigurer:
    """Runs procedures over the membership's facts; returns what is to be sent, recorded and journalled.

    Attributes:
        running: Procedures that are not committed, by id.
        finish: The tick that ends the stream, and whether the input ended with it; None while that is open.
        last: The highest id of a procedure so far.
        planned: Instances without state that were replaced while they lived, and may find that out at log or target;
            and those that replaced them.
    """

    members: Membership
    running: dict[int, Procedure] = field(default_factory=dict)
    finish: tuple[int, bool] | None = None
    planned: set[int] = field(default_factory=set)
    last: int = 0

    def __post_init__(self) -> None:
        self.holders = Holders(self.members)

    @property
    def epoch(self) -> int:
        """Of this incarnation of the coordinator; commands carry it."""
        return self.members.epoch

    # -- deploy --------------------------------------------------------------------------------------------------------

    def deploy(self, workers: list[int]) -> list[object]:
        """Place every operator's first instances on the workers, round and round, and start them."""
        plan = self.members.plan
        fresh: list[InstanceRecord] = []
        for operator in plan.operators:
            self.members.versions[operator] = version = 1
            for n, interval in enumerate(plan.intervals(operator)):
                place = workers[(n + self._apart(operator)) % len(workers)]
                record = InstanceRecord(self.members.new_id(), operator, n, interval, version, place)
                self.members.instances[record.id] = record
                fresh.append(record)
        for record in fresh:
            if plan.operators[record.operator].kind == "keyed" and plan.settings.checkpoint_ticks:
                record.holder, record.term = self.members.holder_for(record), self.members.new_term()
                record.fresh, record.second = record.holder is not None, self.members.second_for(record)
        actions: list[object] = [self._journal(operator) for operator in plan.operators]
        actions += [hold for r in fresh for hold in self.holders.hold(r)]
        return actions + [self.start(record) for record in fresh]

    def _apart(self, operator: str) -> int:
        """1 for a sink behind user code: only a consumer that outlives its producer can tell that a replay differs."""
        plan = self.members.plan
        checked = any(plan.operators[e.producer].user_code for e in plan.inputs(operator))
        return int(checked and plan.operators[operator].kind == "sink")

    # -- recover, scale out --------------------------------------------------------------------------------------------

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
            return self.cut(running) if self.members.is_lost(old.worker) and not running.joined else []
        self.last += 1
        ids = {self.members.new_id(): part for part in parts or [(old.interval, old.worker)]}
        successors = tuple((id, interval) for id, (interval, _) in ids.items())
        procedure = Procedure(self.last, old, successors, cause, now_s)
        procedure.places = {id: worker for id, (_, worker) in ids.items()} if parts else {}
        procedure.patient = bool(parts)
        if not self.locate(procedure):
            return None
        self.running[procedure.id] = procedure
        note = Journal("reconfigure", {"id": procedure.id, "old": old.id, "new": procedure.successors, "cause": cause})
        if parts and not self._is_stateful(old):
            return [note, *self.commit(procedure)]
        return [note, *self.cut(procedure)]

    def locate(self, procedure: Procedure) -> bool:
        """Find who is to cut the old instance's checkpoint: its holder, else whoever reads it from the disk.

        Returns whether there can be one. If no worker lives to read it, the procedure waits for the next.
        """
        old, members = procedure.old, self.members
        procedure.term, procedure.cut, procedure.at = members.new_term(), False, None
        if members.plan.operators[old.operator].kind != "keyed":
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
        return True

    def _reader(self, old: InstanceRecord) -> int | None:
        """A worker that reads checkpoints from the disk: not the one that is next in turn to run the successor."""
        members = self.members
        heirs = members.spares[:1]
        return members.idlest([w for w in members.usable if w not in heirs and w != old.worker] or members.live)

    def _is_stateful(self, record: InstanceRecord) -> bool:
        return self.members.plan.operators[record.operator].kind == "keyed"

    def begin_join(self, olds: Sequence[InstanceRecord], cause: str, now_s: float) -> list[object]:
        """Make one instance of neighbours, where the first of them runs: at first they are asked where they stand."""
        self.last += 1
        first, interval = olds[0], KeyInterval(olds[0].interval.low, olds[-1].interval.high)
        successor = self.members.new_id()
        procedure = Procedure(self.last, first, ((successor, interval),), cause, now_s, joined=tuple(olds))
        procedure.places = {successor: first.worker}
        procedure.at, procedure.term = first.holder, self.members.new_term()
        self.running[procedure.id] = procedure
        ids = [old.id for old in olds]
        note = Journal("reconfigure", {"id": procedure.id, "old": ids, "new": procedure.successors, "cause": cause})
        return [note, *(self._align(procedure, 0) if self._is_stateful(first) else self.commit(procedure))]

    def _align(self, procedure: Procedure, tick: int) -> list[object]:
        procedure.align, procedure.positions, procedure.aligned = tick, {}, set()
        return [Send(old.worker, Align(self.epoch, procedure.id, old.id, tick)) for old in procedure.olds]

    def on_align_answer(self, message: Aligned | AlignRefused) -> list[object]:
        """An instance that is to be joined with others has checkpointed, or says where it stands."""
        return self._on_aligned(message) if isinstance(message, Aligned) else self._on_align_refused(message)

    def _on_align_refused(self, message: AlignRefused) -> list[object]:
        """An instance says where it stands; once all have, a tick is tried that lies ahead of all of them."""
        procedure = self.running.get(message.reconfigure)
        if procedure is None or procedure.cut:
            return []
        procedure.positions[message.instance] = message.tick
        if procedure.align or len(procedure.positions) < len(procedure.olds):
            return [] if not procedure.align else self.abort(procedure)
        ahead = max(procedure.positions.values()) + ALIGN_AHEAD_MS // self.members.plan.settings.tick_ms + 1
        return self._align(procedure, ahead)

    def _on_aligned(self, message: Aligned) -> list[object]:
        """An instance's checkpoint of the tick is stored; those of all are then joined where the first one's lies."""
        procedure = self.running.get(message.reconfigure)
        if procedure is None or message.tick != procedure.align:
            return []
        procedure.aligned.add(message.instance)
        if len(procedure.aligned) < len(procedure.olds):
            return []
        sources = tuple((old.id, old.holder) for old in procedure.olds if old.holder is not None)
        holder, successor = procedure.old.holder, procedure.successors[0][0]
        assert holder is not None
        join = Join(self.epoch, procedure.id, holder, successor, procedure.align, sources, procedure.term)
        return [Send(holder, join)]

    def cut(self, procedure: Procedure) -> list[object]:
        """The command to whoever has the checkpoint, or reads it; the same again is harmless."""
        if procedure.cut or procedure.at is None:
            return []
        old = procedure.old
        patient = procedure.patient and not self.members.is_lost(old.worker)
        cut = Cut(self.epoch, procedure.id, old.id, procedure.successors, procedure.term, old.origin, patient)
        return [Send(procedure.at, cut)]

    def on_cut_done(self, message: CutDone) -> Procedure | None:
        """The parts lie at the holder; returns the procedure unless it is over already."""
        procedure = self.running.get(message.reconfigure)
        if procedure is not None:
            procedure.cut, procedure.tick = True, message.tick
        return procedure

    def prepare(self, procedure: Procedure) -> list[object]:
        """Have the successors restore their parts; without views they do nothing after that."""
        procedure.version = self.members.versions[procedure.old.operator] + 1
        return list(self.starts(procedure))

    def starts(self, procedure: Procedure) -> list[Send]:
        """The orders to restore; the same again are harmless."""
        old, at, version = procedure.old, procedure.at, procedure.version
        commands = [
            (procedure.places[id], Start(
                self.epoch, id, old.operator, old.index, interval, version, version, at, at, (), None,
                procedure.cause, procedure.term,
            ))
            for id, interval in procedure.successors
        ]  # fmt: skip
        return [Send(worker, command) for worker, command in commands]

    def on_restored(self, instance: int, tick: int) -> list[object]:
        """A successor has its part; the last of them brings the switch."""
        procedure = next((p for p in self.running.values() if instance in p.places), None)
        if procedure is None:
            return []
        procedure.restored[instance] = tick
        return self.commit(procedure) if len(procedure.restored) == len(procedure.successors) else []

    def abort(self, procedure: Procedure) -> list[object]:
        """Call scaling off: the old instances have all the state, and back it up anew."""
        del self.running[procedure.id]
        workers = self.members.workers
        actions: list[object] = [Journal("aborted", {"id": procedure.id})]
        actions += [Send(w, Retire(self.epoch, id)) for id, w in procedure.places.items() if not workers[w].lost]
        if not self.members.is_lost(procedure.at):
            assert procedure.at is not None
            actions += [Send(procedure.at, Release(self.epoch, id, gone=True)) for id, _ in procedure.successors]
        for alive in [o for o in procedure.olds if not workers[o.worker].lost]:
            actions += self._resume(alive) if procedure.joined else self.holders.hold_elsewhere(alive)
        return actions

    def _resume(self, record: InstanceRecord) -> list[object]:
        """An instance that was aligned goes on backing up where it did, or elsewhere if that is gone."""
        return self.holders.hold_elsewhere(record) if self.members.is_lost(record.holder) else self.hold_beside(record)

    def commit(self, procedure: Procedure, worker: int | None = None) -> list[object]:
        """Put the successors into the assignment, on ``worker`` or where they have restored, and tell everybody."""
        members, old = self.members, procedure.old
        del self.running[procedure.id]
        loads = _joined_loads(procedure.olds)
        for replaced in procedure.olds:
            del members.instances[replaced.id]
        members.versions[old.operator] += 1
        version = members.versions[old.operator]
        part_at = procedure.at
        origin = procedure.origin if len(procedure.successors) == 1 else None  # parts of several are written at once
        origin_at = old.origin_at if old.origin is not None else old.second
        if origin is None or procedure.at is None:
            origin_at = None
        fresh: list[InstanceRecord] = []
        for id, interval in procedure.successors:
            place = worker if worker is not None else procedure.places[id]
            record = InstanceRecord(
                id, old.operator, old.index, interval, procedure.version or version, place,
                holder=part_at, part_at=part_at, protected=part_at is not None,
                fresh=old.fresh and not procedure.joined, cause=procedure.cause, term=procedure.term,
                origin=origin, origin_at=origin_at,
                running=id in procedure.restored, start_tick=procedure.restored.get(id),
                loads=None if loads is None else loads[interval.low - procedure.low : interval.high - procedure.low],
            )  # fmt: skip
            members.instances[id] = record
            fresh.append(record)
        for index, record in enumerate(members.assignment(old.operator)):
            record.index = index
        actions: list[object] = [self._journal(old.operator)]
        retired = [
            Send(replaced.worker, Retire(self.epoch, replaced.id))
            for replaced in procedure.olds
            if not members.workers[replaced.worker].lost
        ]
        if not self._is_stateful(old):
            if procedure.scales:
                self.planned |= {replaced.id for replaced in procedure.olds} | {id for id, _ in procedure.successors}
            actions += retired
        for record in fresh:
            if members.plan.operators[record.operator].kind == "keyed":
                actions += self.holders.protect(record, told=bool(procedure.version))
        for record in fresh:
            actions += self.views_for(record) if procedure.version else [self.start(record)]
        if self._is_stateful(old):
            actions += retired
        for replaced in procedure.joined:
            if replaced.holder is not None and not members.workers[replaced.holder].lost:
                actions.append(Send(replaced.holder, Release(self.epoch, replaced.id, gone=True)))
        return actions + self.views_of(old.operator)

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

    def cut_at_former(self, procedure: Procedure) -> list[object]:
        """The holder had nothing yet: the one before it is asked, if there is one."""
        old = procedure.old
        if not self.holders.fall_back(old):
            return []
        procedure.cut, procedure.at = False, old.holder
        return self.cut(procedure)

    # -- what instances have to know -----------------------------------------------------------------------------------

    def start(self, record: InstanceRecord) -> Send:
        """The command that makes an instance run; a source is told the end with it, so that it cannot run past it."""
        end = self.finish if self.members.plan.operators[record.operator].kind == "source" else None
        final = None if end is None else Finish(self.epoch, record.id, *end)
        views = tuple(self.view(e.id, e.producer, record.id) for e in self.members.plan.inputs(record.operator))
        command = Start(
            self.epoch, record.id, record.operator, record.index, record.interval, record.version, record.version,
            record.holder, record.part_at, views, final, record.cause, record.term, record.second,
        )  # fmt: skip
        return Send(record.worker, command)

    def view(self, edge: int, producer: str, consumer: int) -> View:
        """The whole assignment of an edge's producer, as one of its consumers is told."""
        refs = tuple(ProducerRef(i.id, i.interval, i.worker) for i in self.members.assignment(producer))
        return View(self.epoch, consumer, edge, self.members.versions[producer], refs)

    def views_of(self, producer: str) -> list[object]:
        """The operator's assignment to all instances that consume it."""
        return [
            Send(consumer.worker, self.view(e.id, producer, consumer.id))
            for e in self.members.plan.outputs(producer)
            for consumer in self.members.assignment(e.consumer)
            if not self.members.workers[consumer.worker].lost
        ]

    def views_for(self, record: InstanceRecord) -> list[object]:
        """All inputs of one instance: sent again when it runs, since assignments may have changed meanwhile."""
        return [
            Send(record.worker, self.view(e.id, e.producer, record.id))
            for e in self.members.plan.inputs(record.operator)
        ]

    def _journal(self, operator: str) -> Journal:
        instances = [
            {"id": i.id, "index": i.index, "interval": list(i.interval), "worker": i.worker, "holder": i.holder}
            for i in self.members.assignment(operator)
        ]
        body = {"operator": operator, "version": self.members.versions[operator], "instances": instances}
        return Journal("assignment", body)


def _joined_loads(records: Sequence[InstanceRecord]) -> npt.NDArray[np.float32] | None:
    """What was measured of neighbours, end to end; None if nothing is known of one."""
    found = [record.loads for record in records if record.loads is not None]
    return np.concatenate(found) if len(found) == len(records) else None
