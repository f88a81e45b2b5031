"""Taking a worker out of a running job: what it runs and what it holds moves elsewhere, and then it ends.

Nothing of it is a recovery: an instance moves by the ``reconfigure`` that cuts it into one part, which is restored
elsewhere while it goes on; and a checkpoint is kept until another worker has a newer one.
"""

from __future__ import annotations

from elastic.coordinator.events import EndWorker, Journal, Record
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.placement import WAIT_FOR_SPARE_S
from elastic.coordinator.reconfigure import Reconfigurer

SURPLUS_S = 5.0
"""A spare that is one too many is ended after so long: what needed it may need it again."""


class Draining:
    """Workers that are on their way out.

    Attributes:
        since_s: When each of them was asked to go.
        lacks_worker: There is no worker that something could move to.
    """

    def __init__(self, members: Membership, reconfigurer: Reconfigurer) -> None:
        self._members, self._reconfigurer = members, reconfigurer
        self.since_s: dict[int, float] = {}
        self._heirs: dict[int, int] = {}
        self._surplus_s: float | None = None
        self.lacks_worker = False

    def refusal(self, worker: int) -> str | None:
        """Why a worker cannot be drained; None if it can."""
        known = self._members.workers.get(worker)
        if known is None or known.lost:
            return f"there is no worker {worker}; this job has {', '.join(map(str, self._members.live))}"
        keyed = any(r.worker == worker for r in self._members.of_kind("keyed"))
        if keyed and not self._members.plan.settings.checkpoint_ticks:
            return f"worker {worker} has keyed state and checkpoints are off: what moves is a checkpoint"
        return None

    def request(self, worker: int, now_s: float, cause: str | None = None) -> list[object]:
        """Let a worker go as soon as nothing depends on it; a warning if that cannot be."""
        if (problem := self.refusal(worker)) is not None:
            return [Record("warning", worker=worker, cause=f"not drained: {problem}")]
        if self._members.workers[worker].draining:
            return []
        self._members.workers[worker].draining = True
        self.since_s[worker] = now_s
        return [Journal("draining", {"worker": worker}), Record("draining", worker=worker, cause=cause)]

    def progress(self, now_s: float) -> list[object]:
        """Move what can be moved, and end who has nothing left."""
        actions: list[object] = []
        self.lacks_worker = False
        for worker in list(self.since_s):
            if self._members.workers[worker].lost:
                del self.since_s[worker]
                continue
            here = [r for r in self._members.instances.values() if r.worker == worker]
            if here:
                actions += [a for record in here for a in self._move(record, now_s)]
            elif self._is_free(worker):
                del self.since_s[worker]
                self._members.workers[worker].lost = True
                actions += [Journal("drained", {"worker": worker}), Record("drained", worker=worker), EndWorker(worker)]
            else:
                actions += self._hand_over(worker)
        return actions

    def _move(self, record: InstanceRecord, now_s: float) -> list[object]:
        """Have an instance go on elsewhere."""
        busy = any(record in p.olds for p in self._reconfigurer.running.values())
        if busy or not record.running or (self._members.is_stateful(record) and not record.can_be_cut):
            return []
        place = self._place(record, late=now_s - self.since_s[record.worker] > WAIT_FOR_SPARE_S)
        if place is None:
            self.lacks_worker = True
            return []
        cause = f"draining worker {record.worker}"
        return self._reconfigurer.begin(record, cause, now_s, [(record.interval, place)]) or []

    def _place(self, record: InstanceRecord, *, late: bool) -> int | None:
        """The worker that gets what was on the draining one: a spare; if it is late, the idlest."""
        members = self._members
        heir = self._heirs.get(record.worker)
        if heir in members.usable and heir not in (record.holder, record.second):
            return heir
        if (spare := next((s for s in members.spares if s not in (record.holder, record.second)), None)) is not None:
            self._heirs[record.worker] = spare
            return spare
        if not late:
            return None
        return members.idlest(w for w in members.usable if w != record.holder)

    def _is_free(self, worker: int) -> bool:
        """Whether no checkpoint that somebody may need lies there."""
        held = any(self._members.needs(worker, record) for record in self._members.instances.values())
        return not held and not any(worker in (*p.workers, p.at, p.second) for p in self._reconfigurer.running.values())

    def _hand_over(self, worker: int) -> list[object]:
        """Have other workers hold what this one holds; until they do, it does."""
        actions: list[object] = []
        changing = [old for p in self._reconfigurer.running.values() for old in p.olds]
        for record in self._members.of_kind("keyed"):
            if not record.running or record in changing:
                continue
            if record.second == worker:
                actions += self._reconfigurer.hold_beside(record)
            if record.holder != worker:
                continue
            if self._members.holder_for(record) is None:
                self.lacks_worker = True
            else:
                actions += self._reconfigurer.holders.hand_over(record)
        return actions

    def surplus(self, many: int, now_s: float) -> list[object]:
        """So many spares are not needed: let the newest of them go, once that has been so for a while."""
        spares = sorted(self._members.spares, key=lambda w: (self._members.workers[w].extra, -w))
        if many <= 0 or self.since_s:
            self._surplus_s = None
            return []
        self._surplus_s = now_s if self._surplus_s is None else self._surplus_s
        if now_s - self._surplus_s < SURPLUS_S:
            return []
        return [a for worker in spares[:many] for a in self.request(worker, now_s, "it is one spare more than needed")]
