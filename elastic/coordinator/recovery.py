"""What follows from the loss of a worker: what ran there is replaced, and the copies that lay there are made again.

Source: SEEP §4.2; recovery is scale-out-operator(o, 1), and with π > 1 it is parallel.
"""

from __future__ import annotations

from collections.abc import Iterator

from elastic.coordinator.cuts import cuttable
from elastic.coordinator.events import EndJob, Record
from elastic.coordinator.judgement import CrashLoops
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.keys import KeyInterval


class Recovery:
    """Brings a job back to where every instance runs and every checkpoint has its copies."""

    def __init__(self, members: Membership, reconfigurer: Reconfigurer) -> None:
        self._members, self._reconfigurer = members, reconfigurer
        self._loops = CrashLoops()

    def after(self, lost: int, cause: str, now_s: float) -> list[object]:
        """All that follows from the loss of a worker; where that ends the job, nothing more is begun."""
        actions: list[object] = []
        for action in self._steps(lost, cause, now_s):
            actions.append(action)
            if isinstance(action, EndJob):
                break
        return actions

    def _steps(self, lost: int, cause: str, now_s: float) -> Iterator[object]:
        fewer = self._reconfigurer.holders.promote(lost)
        yield from self._settle_splits(lost, fewer, now_s)
        yield from self._replace_instances(lost, cause, now_s)
        yield from self._cut_elsewhere(lost, cause)
        yield from self._mend(lost, fewer, cause, now_s)

    def _settle_splits(self, lost: int, fewer: set[int], now_s: float) -> Iterator[object]:
        """Scale outs that a loss concerns: off while the old instance lives; else they have become recoveries.

        Of these, one whose parts are lost before they were stored begins again with new successors: those that have
        restored a part may be ahead of what is cut now.
        """
        for procedure in [p for p in self._reconfigurer.running.values() if p.scales]:
            if procedure.joined or not self._members.workers[procedure.old.worker].lost:
                if lost in procedure.workers or any(old.id in fewer for old in procedure.joined):
                    yield from self._reconfigurer.abort(procedure)
            elif procedure.cut:
                yield from self._reconfigurer.commit(procedure)
            elif procedure.version and procedure.at == lost:
                old = procedure.old
                yield from self._reconfigurer.abort(procedure)
                begun = self._reconfigurer.begin(old, procedure.cause, now_s, self._parts(old))
                yield from [self.state_lost(old, procedure.cause)] if begun is None else begun

    def _replace_instances(self, lost: int, cause: str, now_s: float) -> Iterator[object]:
        """What ran on the worker is to run elsewhere."""
        for record in self._members.by_id():
            if record.worker != lost:
                continue
            if (loop := self._loops.died(record, cause)) is not None:
                yield EndJob("failed", loop)
            begun = self._reconfigurer.begin(record, cause, now_s, self._parts(record))
            yield from [self.state_lost(record, cause)] if begun is None else begun

    def _parts(self, record: InstanceRecord) -> list[tuple[KeyInterval, int]]:
        """Key interval and worker of each part of a lost instance; none if one successor is to take all of it.

        Several parts are of one checkpoint, also if one of them is lost: so there must be a disk that keeps them.
        """
        members, plan = self._members, self._members.plan
        wanted = plan.settings.recovery_parts
        stateful = members.is_stateful(record) and plan.settings.checkpoint_ticks
        if wanted < 2 or not stateful or not members.has_disk:
            return []
        whole = cuttable(plan, record)
        places = members.idlest_first(w for w in members.usable if w != record.holder)[: min(wanted, whole.most)]
        return list(zip(whole.cut(len(places)), places, strict=True)) if len(places) > 1 else []

    def _cut_elsewhere(self, lost: int, cause: str) -> Iterator[object]:
        """Checkpoints that were to be cut there are cut where there is another copy; parts are copied elsewhere."""
        for procedure in [p for p in self._reconfigurer.running.values() if lost in (p.at, p.second)]:
            if procedure.at != lost:
                procedure.second = self._reconfigurer.beside(procedure)
            elif not self._reconfigurer.locate(procedure):
                old = procedure.old
                if self._members.is_lost(old.worker) or not old.running:
                    yield self.state_lost(old, cause)
                else:  # it had restored its part before that was lost
                    yield from self._reconfigurer.abort(procedure)
                    continue
            yield from self._reconfigurer.cut(procedure)

    def _mend(self, lost: int, fewer: set[int], cause: str, now_s: float) -> Iterator[object]:
        """Instances that live: those whose part is lost are made anew, those that have fewer copies get others."""
        for record in self._members.by_id():
            if self._members.workers[record.worker].lost:
                continue
            if record.part_at == lost and not record.running:
                begun = self._restart(record, cause, now_s)
                yield from [self.state_lost(record, cause)] if begun is None else begun
            elif record.id in fewer:
                yield from self._hold_again(record)

    def _restart(self, record: InstanceRecord, cause: str, now_s: float) -> list[object] | None:
        """What an instance was to start from is lost: make it anew from what that was; None if there is nothing."""
        if record.origin is not None or self._members.has_disk or not self._members.is_lost(record.holder):
            return self._reconfigurer.begin(record, cause, now_s)
        if not record.fresh:
            return None
        actions = self._hold_again(record)
        record.part_at = None  # nothing lay there: tick 0 will do
        return [*actions, self._reconfigurer.orders.start(record)]

    def _hold_again(self, record: InstanceRecord) -> list[object]:
        gone = Record("checkpoint_lost", record.operator, record.index, record.worker, "its holder was lost")
        if not self._members.is_lost(record.holder):
            return [gone, *self._reconfigurer.hold_beside(record)]
        return [gone, *self._reconfigurer.holders.hold_elsewhere(record)]

    def protect_again(self) -> list[object]:
        """A worker has come: whose checkpoints had nowhere to go, or too few places, may keep them there."""
        if not self._members.plan.settings.checkpoint_ticks:
            return []
        actions: list[object] = []
        for record in self._members.of_kind("keyed"):
            if self._members.workers[record.worker].lost:
                continue
            if record.holder in (None, record.worker):
                actions += self._reconfigurer.holders.hold_elsewhere(record)
            elif record.second is None and self._members.plan.settings.copies > 1:
                actions += self._reconfigurer.hold_beside(record)
        return actions

    def nothing_to_cut(self, procedure: Procedure) -> list[object]:
        """The holder that was to cut a checkpoint has none: one before it may; else off with it, if it can wait."""
        if again := self._reconfigurer.cut_at_former(procedure):
            return again
        if procedure.joined or (procedure.scales and not self._members.workers[procedure.old.worker].lost):
            return self._reconfigurer.abort(procedure)
        if procedure.old.fresh:  # as far as anybody has heard, there never was one
            procedure.at, procedure.cut, procedure.at_hand = None, True, False
            return []
        return [self.state_lost(procedure.old, procedure.cause)]

    def state_lost(self, record: InstanceRecord, cause: str) -> EndJob:
        """The end of a job of which a part is gone for good, and what would have kept it."""
        members = self._members
        what = f"{record.operator}#{record.index} (key groups {record.interval})"
        if not members.plan.settings.checkpoint_ticks:
            why = "and checkpoints are off: set checkpoint to a duration"
        elif record.holder is None:
            why = "and it had no copy elsewhere: run with more workers"
        elif members.has_disk:
            why = "and there is no checkpoint of it in the job directory"
        elif not members.workers[record.holder].lost:
            why = f"and worker {record.holder}, which was to keep its checkpoints from then on, had none yet"
        else:
            why = (
                f"and its only checkpoint went with worker {record.holder}: to survive two losses at once, keep "
                'checkpoints on the disk too ("disk: on"), or twice ("copies: 2")'
            )
        return EndJob("failed", f"the state of {what} is lost: {cause}, {why}", "state_lost")
