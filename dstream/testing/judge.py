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
class Whereabouts:
    """Where one version of one partition's state has been, as far as workers were not known to be lost.

    Attributes:
        ever: Workers that have had it.
        last: Those that had it when somebody had it last.
        fewest: Workers that there were at least while somebody had it.
    """

    ever: set[int] = field(default_factory=set)
    last: set[int] = field(default_factory=set)
    fewest: int = 1 << 30


class Judge(Copies):
    """A scheduler gives up only when there are no workers, or they die again and again, or state is lost with them.

    State is lost if every worker that had it last is: not if one that lives has it, or has dropped it. And as many must
    have had it as the settings say, if there were so many.
    """

    def __init__(self, job: HasCoordinator, workers: dict[int, SimulatedWorker]) -> None:
        self._job, self._workers = job, workers
        self._losses = 0
        self._versions: dict[tuple[int, int, int], Whereabouts] = {}  # by stage, partition, interval
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
        """Where versions are now; a worker that is about to be lost counts, whatever becomes of its copies."""
        live = set(self._members.live)
        having: dict[tuple[int, int, int], set[int]] = {}
        for number in live:
            for name in cast(TaskHost, self._workers[number].host).keeping.versions.names():
                having.setdefault(name, set()).add(number)
        for name, workers in having.items():
            at = self._versions.setdefault(name, Whereabouts())
            at.ever |= workers
            at.last, at.fewest = workers, min(at.fewest, len(live))

    def _is_state_lost(self, error: str) -> bool:
        """Whether nobody has what some partition of those that the error names would start from."""
        return any(
            self._is_gone(held)
            for held in self._ledger.of_kind(Kind.STATE)
            if f"the state of {held.stage.operator}#{held.partition} " in error
        )

    def _is_gone(self, held: Held) -> bool:
        self._note()
        at = self._versions.get((held.stage.id, held.partition, held.done or 0))
        enough = self._ledger.plan.settings.copies + 1
        lost = at is not None and at.last.isdisjoint(self._members.live)
        return at is not None and lost and (len(at.ever) >= enough or at.fewest < enough)
