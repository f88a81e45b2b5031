"""Where sources, state and sinks live, and where they go when their worker is lost."""

from __future__ import annotations

from collections import Counter

from dstream.plan import Kind, Stage
from dstream.protocol import Resume, Unguard
from dstream.scheduler.guarding import Guarding
from dstream.scheduler.ledger import Held, Ledger
from dstream.scheduler.restoring import Restoring
from elastic.coordinator.ending import Ending
from elastic.coordinator.events import Journal
from elastic.coordinator.membership import InstanceRecord
from elastic.keys import KeyInterval
from elastic.protocol import Finish, Retire, Send, Start


class Placement:
    """The part of the scheduler that puts partitions on workers."""

    def __init__(self, ledger: Ledger, ending: Ending, guarding: Guarding, restoring: Restoring) -> None:
        self._ledger, self._ending = ledger, ending
        self._guarding, self._restoring = guarding, restoring

    def deploy(self, workers: list[int]) -> list[object]:
        """Place sources, state and sinks, each stage's partitions in turn round the workers."""
        actions: list[object] = []
        for stage in self._ledger.plan.stages:
            shift = 1 if stage.kind is Kind.SINK else 0  # a sink outlives the source that feeds it
            for partition in range(stage.partitions):
                if stage.kind is not Kind.TASK:
                    worker = workers[(partition + shift) % len(workers)]
                    actions += self._place(stage, partition, worker)
        return [Journal("deploy", {"workers": workers}), *actions]

    def move(self, cause: str) -> list[object]:
        """What lived on lost workers lives on the others from now on, spread over all of them, state where copies are.

        Source: D-Streams §4.2, parallel recovery.
        """
        members = self._ledger.members
        lost = {w.id for w in members.workers.values() if w.lost}
        gone = [r for r in members.instances.values() if r.worker in lost]
        gone.sort(key=lambda r: (self._ledger.stage(r).kind is not Kind.STATE, r.id))
        if not gone or not members.live:
            return []
        actions: list[object] = [
            Journal("reconfigure", {"cause": cause, "operator": r.operator, "new": [r.index]}) for r in gone
        ]
        share = Counter(dict.fromkeys(members.live, 0))
        for record in gone:
            load, copies = members.load(), self._copies(record)
            worker = min(share, key=lambda w: (share[w], w not in copies, load[w], w))
            share[worker] += 1
            actions += self.replace(record, worker, cause)
        return [*actions, Journal("moved", {"cause": cause})]

    def balance(self, wanted: int) -> list[object]:
        """Have workers that came late hold their share of sources and state, where fewer than are wanted hold any.

        State is best moved just after it became safe: then hardly any interval is computed again.
        """
        ledger = self._ledger
        live, spares = ledger.members.live, ledger.members.spares
        idle = spares[: max(0, wanted - (len(live) - len(spares)))]
        movable = [r for r in ledger.members.instances.values() if ledger.stage(r).kind in {Kind.SOURCE, Kind.STATE}]
        if not idle or any(r.worker not in live for r in movable):
            return []
        at: dict[int, list[InstanceRecord]] = {worker: [] for worker in live}
        for record in sorted(movable, key=lambda r: r.id):
            at[record.worker].append(record)
        share = len(movable) // min(wanted, len(live))
        actions: list[object] = []
        for worker in idle:
            for _ in range(share):
                fullest = max(at, key=lambda w: (len(at[w]), -w))
                if len(at[fullest]) <= share:
                    return actions
                record = at[fullest].pop()
                actions.append(Send(fullest, Retire(ledger.epoch, record.id)))
                actions += self.replace(record, worker, "")
        return actions

    def end(self, stage: Stage) -> list[object]:
        """The partitions of a stage with state live nowhere from now on."""
        ledger = self._ledger
        actions: list[object] = []
        for key in [key for key in ledger.held if key[0] == stage.id]:
            record = ledger.held.pop(key).record
            del ledger.members.instances[record.id], ledger.stage_of[record.id]
            actions.append(Send(record.worker, Retire(ledger.epoch, record.id)))
            actions += [Send(worker, Unguard(ledger.epoch, *key)) for worker in ledger.copies.forget(key)]
        return actions

    def _copies(self, record: InstanceRecord) -> tuple[int, ...]:
        """Workers that have in memory what a partition would start from; nobody has that of a source or a sink."""
        stage = self._ledger.stage(record).id
        return self._ledger.copies.where((stage, record.index), self._ledger.restarts_at(stage))

    def replace(self, record: InstanceRecord, worker: int, cause: str) -> list[object]:
        """Another incarnation of a partition takes over, on this worker."""
        ledger = self._ledger
        del ledger.members.instances[record.id]
        stage = ledger.plan.stages[ledger.stage_of.pop(record.id)]
        ledger.miss()
        return self._place(stage, record.index, worker, before=record, cause=cause)

    def _place(
        self, stage: Stage, partition: int, worker: int, *, before: InstanceRecord | None = None, cause: str = ""
    ) -> list[object]:
        """A partition of a stage that lives somewhere lives on a worker from now on."""
        ledger = self._ledger
        generation = 1 if before is None else before.version + 1
        record = InstanceRecord(
            ledger.members.new_id(), stage.operator, partition, self._interval(stage, partition), generation, worker,
            cause=cause,
        )  # fmt: skip
        if stage.kind is Kind.STATE:
            self._guarding.choose_for(record, before)
        ledger.members.instances[record.id] = record
        ledger.stage_of[record.id] = stage.id
        return self.begin(record)

    def begin(self, record: InstanceRecord) -> list[object]:
        """Have an instance begin on its worker."""
        ledger, stage = self._ledger, self._ledger.stage(record)
        if stage.kind is Kind.SOURCE:
            return self._start_source(stage, record)
        held = ledger.held[stage.id, record.index] = Held(stage, record.index, record)
        if stage.kind is Kind.SINK:
            return [Send(record.worker, self._start(record))]
        held.done = held.told = ledger.restarts_at(stage.id)
        ledger.rerun(held)
        return self._restoring.restore(held)

    def _interval(self, stage: Stage, partition: int) -> KeyInterval:
        plan = self._ledger.plan
        if stage.kind is Kind.SOURCE:
            return plan.partition_interval(stage.operator, partition)
        return plan.key_interval(stage, partition)

    def _start(self, record: InstanceRecord) -> Start:
        ledger = self._ledger
        final = None if ledger.finish is None else Finish(ledger.epoch, record.id, *ledger.finish)
        return Start(
            ledger.epoch, record.id, record.operator, record.index, record.interval, record.version, record.version,
            None, None, (), final, record.cause,
        )  # fmt: skip

    def _start_source(self, stage: Stage, record: InstanceRecord) -> list[object]:
        """A receiver goes on after the last interval that was closed; tasks read lost blocks again."""
        ledger = self._ledger
        closed = ledger.closed.setdefault((stage.id, record.index), 0)
        tick = 0 if ledger.plan.batch else ledger.plan.last_tick(closed)
        if ledger.finish is not None:
            tick = min(tick, ledger.finish[0])  # the last interval may be cut short
        resume = Send(record.worker, Resume(ledger.epoch, record.id, tick))
        return [resume, Send(record.worker, self._start(record)), *self._ending.told(record)]
