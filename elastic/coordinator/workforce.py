"""Processes that come and go: who joins, who ends before that, who is on the way. The same under every model."""

from __future__ import annotations

from elastic.coordinator.events import (
    EndJob,
    EndWorker,
    Journal,
    Record,
    Recovered,
    SpawnWorker,
    WorkerBack,
    WorkerJoined,
    WorkerLost,
)
from elastic.coordinator.membership import Membership, Worker
from elastic.protocol import Peers, Send

MAX_FALSE_STARTS = 5
"""So many workers may end one after another before they have joined."""


class Workforce:
    """The part of a coordinator that knows of processes.

    Attributes:
        wanted: How many workers are to share the work.
        spares: How many idle ones are to stand by.
        spawning: How many are on the way.
    """

    def __init__(self, members: Membership, wanted: int, spares: int) -> None:
        self.wanted, self.spares, self.spawning = wanted, spares, wanted + spares
        self._members = members
        self._never: set[int] = set()
        self._false_starts = 0
        self._of_earlier_runs = 0

    def recovered(self, event: Recovered) -> None:
        """Another coordinator was here before; where the job had stopped, a run begins with workers of its own."""
        self.spawning = len(event.starting)
        if event.resumed:
            self._of_earlier_runs = len(self._own)

    @property
    def _own(self) -> list[Worker]:
        """Those of the job's own that have ever joined."""
        return [w for w in self._members.workers.values() if not w.extra]

    def join(self, event: WorkerJoined, *, deployed: bool) -> list[object]:
        """A worker is there, and all know each other's addresses; nothing if it is known, or was given up."""
        workers = self._members.workers
        if event.worker in self._never or event.worker in workers:
            return []
        workers[event.worker] = Worker(event.worker, event.address, extra=event.extra)
        self.spawning = max(0, self.spawning - (not event.extra))
        self._false_starts = 0
        peers = Peers(self._members.epoch, self._members.addresses)
        return [
            Journal("worker", {"id": event.worker, "address": event.address}),
            *(Send(w, peers) for w in self._members.live),
            Record("spare_started" if deployed and not self._is_of_the_first(event) else "joined", worker=event.worker),
        ]

    def _is_of_the_first(self, event: WorkerJoined) -> bool:
        """Whether a worker that has joined is one of those that the run began with; instances may be placed already."""
        return not event.extra and len(self._own) - self._of_earlier_runs <= self.wanted + self.spares

    def lose(self, event: WorkerLost) -> list[object]:
        """A worker that had joined is gone for good; nothing if that is known."""
        worker = self._members.workers[event.worker]
        if worker.lost:
            return []
        worker.lost = True
        actions: list[object] = [
            Record("failed", worker=event.worker, cause=event.reason, at_s=event.last_seen_s),
            Record("detected", worker=event.worker, cause=event.reason),
        ]
        return [*actions, EndWorker(event.worker)] if self._locks_a_target(event.worker) else actions

    def _locks_a_target(self, worker: int) -> bool:
        """Whether the worker, if it merely stands still, may keep a successor of one of its sinks waiting for ever."""
        operators = self._members.plan.operators
        here = [operators[i.operator] for i in self._members.of_kind("sink") if i.worker == worker]
        return any(sink.logic.locks for sink in here)

    def never_joined(self, event: WorkerLost) -> list[object]:
        """A worker ended while it was starting: once or twice that is bad luck, then it is the machine's fault."""
        if event.worker in self._never:
            return []
        self._never.add(event.worker)  # its hello may still be under way
        self._false_starts += 1
        text = f"a worker ended before it joined: {event.reason}"
        if self._false_starts > MAX_FALSE_STARTS:
            return [EndJob("failed", f"{text}; so did {MAX_FALSE_STARTS} others: see their logs in the job directory")]
        return [Record("warning", worker=event.worker, cause=text), SpawnWorker(text)]

    def back(self, event: WorkerBack) -> list[object]:
        """A worker is heard: a zombie, if it was lost."""
        known = self._members.workers.get(event.worker)
        zombie = known is not None and known.lost
        return [Record("fenced", worker=event.worker), EndWorker(event.worker)] if zombie else []

    def spawn(self, lacking: int, cause: str) -> list[object]:
        """Have so many more, less those that are on the way."""
        missing = max(0, lacking - self.spawning)
        self.spawning += missing
        return [SpawnWorker(cause) for _ in range(missing)]
