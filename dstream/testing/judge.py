"""Whether a scheduler was right to give up, and whether state has its copies all the while."""

from __future__ import annotations

from typing import cast

from dstream.plan import Kind
from dstream.scheduler.ledger import Held, Ledger
from dstream.scheduler.machine import Scheduler
from dstream.scheduler.recovery import MAX_DEATHS
from dstream.worker.host import TaskHost
from elastic.testing.invariants import InvariantError, Watch
from elastic.testing.verdict import GRACE_S, Copies, HasCoordinator
from elastic.testing.worker import SimulatedWorker


class Judge(Copies):
    """A scheduler gives up only when there are no workers, or they die again and again, or state is lost with them."""

    def __init__(self, job: HasCoordinator, workers: dict[int, SimulatedWorker]) -> None:
        self._job, self._workers = job, workers
        self._losses = 0
        self._lost_at: list[float] = []  # when a worker was lost, as ``check`` told the time last
        self._now = 0.0
        self._single_since: dict[int, float] = {}

    @property
    def _ledger(self) -> Ledger:
        return cast(Scheduler, self._job.coordinator).ledger

    def started(self, instance: int) -> None:
        """Nothing to note."""

    def lost(self, stored: Watch) -> None:
        """One more."""
        self._losses += 1
        self._lost_at.append(self._now)

    def check(self, now: float, stored: Watch) -> None:
        """Without a disk, state that lives has a copy on another worker; if that is lost, soon on a third one.

        Raises:
            InvariantError: It has had none for so long that nobody can be making one.
        """
        self._now = now
        if self._ledger.plan.has_disk:
            return
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
            return not self._ledger.plan.has_disk and self._is_state_lost()
        return "no worker is left" in error and not self._present()

    def _is_state_lost(self) -> bool:
        """Whether more workers were lost in a row than there were copies: another may have been under way, unknown."""
        late = [at for at in self._lost_at if at > self._now - 2 * GRACE_S]
        return len(late) > self._ledger.plan.settings.copies or len(self._present()) < 2
