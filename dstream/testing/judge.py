"""Whether a scheduler was right to give up, and whether state has its copies all the while."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from dstream.plan import Kind
from dstream.scheduler.ledger import Held, Ledger
from dstream.scheduler.machine import Scheduler
from dstream.scheduler.recovery import MAX_DEATHS
from dstream.worker.host import TaskHost
from elastic.testing.invariants import InvariantError, Watch
from elastic.testing.verdict import GRACE_S, Copies, HasCoordinator
from elastic.testing.worker import SimulatedWorker


@dataclass(slots=True)
class Fate:
    """What became of one version of one partition's state.

    Attributes:
        lost_with: Workers that had it when they were lost.
        fewest: Workers that there were at least while somebody had it.
        is_gone: When one of them was lost, nobody else had it; what is under way then from the dead is nobody's.
    """

    lost_with: set[int] = field(default_factory=set)
    fewest: int = 1 << 30
    is_gone: bool = False


class Judge(Copies):
    """A scheduler gives up only when there are no workers, or they die again and again, or state is lost with them.

    State is lost if the last worker that had it is, and as many as the settings say were lost with it, if there were so
    many: a copy that was dropped, or never made, excuses nothing.
    """

    def __init__(self, job: HasCoordinator, workers: dict[int, SimulatedWorker]) -> None:
        self._job, self._workers = job, workers
        self._losses = 0
        self._fates: dict[tuple[int, int, int], Fate] = {}  # by stage, partition, interval
        self._single_since: dict[int, float] = {}

    @property
    def _ledger(self) -> Ledger:
        return cast(Scheduler, self._job.coordinator).ledger

    def started(self, instance: int) -> None:
        """Nothing to note."""

    def lost(self, stored: Watch) -> None:
        """One more; its scheduler is about to hear of it."""
        self._losses += 1
        self._note()

    def check(self, now: float, stored: Watch) -> None:
        """Without a disk, state that lives has a copy on another worker; if that is lost, soon on a third one.

        Raises:
            InvariantError: It has had none for so long that nobody can be making one.
        """
        if self._ledger.plan.has_disk:
            return
        self._note()
        single = {held.record.id for held in self._ledger.of_kind(Kind.STATE) if self._is_alone(held)}
        before = {} if any(w.hung for w in self._present()) else self._single_since  # who stands still keeps nothing
        self._single_since = {id: before.get(id, now) for id in single}
        for id, since in self._single_since.items():
            if now - since > GRACE_S:
                record = self._members.instances[id]
                lasts = f"{now - since:.2f} s"
                raise InvariantError(
                    f"{record.operator}#{record.index} has had no copy of its state elsewhere for {lasts}"
                )

    def _is_alone(self, held: Held) -> bool:
        """Whether its own worker has the only copy of what a partition would start from, though there are others."""
        at = self._ledger.restarts_at(held.stage.id)
        return at > 0 and self._having(held, at) == {held.record.worker} and len(self._present()) > 1

    def _having(self, held: Held, version: int) -> set[int]:
        """Workers that have a version in memory."""
        hosts = {w.number: cast(TaskHost, w.host) for w in self._present()}
        partition = (held.stage.id, held.partition)
        return {number for number, host in hosts.items() if host.keeping.versions.get(partition, version)}

    def excuse(self, error: str, stored: Watch) -> bool:
        """Whether a failed job was right to give up."""
        if "times while interval" in error:
            return self._losses >= MAX_DEATHS
        if "the state of" in error:
            return not self._ledger.plan.has_disk and self._is_state_lost(error)
        return "no worker is left" in error and not self._present()

    def _note(self) -> None:
        """Look where versions are; of a worker that is lost, its scheduler is about to hear."""
        live = self._members.live
        lost = {number for number in live if self._workers[number].declared_lost}
        having: dict[tuple[int, int, int], set[int]] = {}
        for number in live:
            for name in cast(TaskHost, self._workers[number].host).keeping.versions.names():
                having.setdefault(name, set()).add(number)
        for name, workers in having.items():
            fate = self._fates.setdefault(name, Fate())
            fate.fewest = min(fate.fewest, len(live))
            fate.lost_with |= workers & lost
            fate.is_gone |= workers <= lost

    def _is_state_lost(self, error: str) -> bool:
        """Whether nobody has what some partition of those that the error names would start from."""
        return any(
            self._is_gone(held)
            for held in self._ledger.of_kind(Kind.STATE)
            if f"the state of {held.stage.operator}#{held.partition} " in error
        )

    def _is_gone(self, held: Held) -> bool:
        fate = self._fates.get((held.stage.id, held.partition, held.done or 0), Fate())
        enough = self._ledger.plan.settings.copies + 1
        return fate.is_gone and (len(fate.lost_with) >= enough or fate.fewest < enough)
