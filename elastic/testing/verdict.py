"""The judgement over a simulated job: what its sinks must hold, and whether a failure was justified by the facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Protocol

from elastic.batch import Batch, rows
from elastic.coordinator.judgement import MAX_DEATHS
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.procedure import Procedure
from elastic.plan import Plan
from elastic.testing.invariants import InvariantError, Watch
from elastic.testing.story import Story
from elastic.testing.worker import SimulatedWorker
from elastic.testing.world import CheckpointDisk, TargetStore

ENOUGH_WORKERS = 4
"""For an instance, two copies of its state, and one that takes over: so many it takes to survive two losses at once."""

MAX_LOSSES = 3
"""Two copies and the instance itself may be gone with so many losses."""

GRACE_S = 1.0
"""A lost copy must lie somewhere again by then: a message or two over slow links, or after a nudge if one was lost."""

SinkRows = dict[str, dict[int, list[Any]]]


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What came of a simulated job.

    Attributes:
        seed: Replays it.
        status: ``done``, ``interrupted`` if it was to be stopped, ``failed``, ``stalled`` if it never ended, or
            ``broken`` if an invariant did not hold or the system raised.
        error: What the job said when it failed.
        sinks, expected: Rows by tick of each sink; of the job, and of the reference run over the same input log.
        faults: How many there were.
        excused: The job failed and had every reason to: an instance and every copy of its checkpoint were gone.
        concerned: The operator that the outcome speaks of, if it is wrong.
    """

    seed: int
    status: str
    error: str | None
    sinks: SinkRows
    expected: SinkRows
    faults: int
    excused: bool
    concerned: str | None
    history: Story = field(repr=False)

    @property
    def story(self) -> tuple[str, ...]:
        """Everything that happened, one line each; a line names the one that caused it."""
        return self.history.texts()

    @property
    def wrong(self) -> str | None:
        """What is wrong with the outcome; None if nothing is."""
        if self.excused:
            return None
        if self.status not in {"done", "interrupted"}:
            return f"the job {self.status}: {self.error}"
        for sink in self.expected:
            if (tick := _first_difference(self.sinks[sink], self.expected[sink])) is not None:
                found, expected = self.sinks[sink].get(tick), self.expected[sink].get(tick)
                return f"{sink} differs at tick {tick}: {found} instead of {expected}"
        return None

    @property
    def story_of_what_is_wrong(self) -> tuple[str, ...]:
        """The end of the story of the operator concerned, with the faults and all causes."""
        differing = (s for s in self.expected if _first_difference(self.sinks[s], self.expected[s]) is not None)
        return self.history.about(self.concerned or next(differing, None))


def _first_difference(found: Mapping[int, list[Any]], expected: Mapping[int, list[Any]]) -> int | None:
    return next((t for t in sorted(expected.keys() | found.keys()) if found.get(t, []) != expected.get(t, [])), None)


def expected_rows(
    reference: Mapping[str, Sequence[tuple[int, Batch]]], targets: Mapping[str, TargetStore], *, stopped: bool
) -> SinkRows:
    """What the sinks must hold of what a clean run gives; if it was stopped, what their targets say they hold."""
    expected: SinkRows = {}
    for sink, ticks in reference.items():
        expected[sink] = {}
        for tick, batch in ticks:
            assert batch.values is not None
            held = targets[sink].tick[batch.groups] >= tick
            part = rows(batch.values)
            expected[sink][tick] = [row for row, h in zip(part, held, strict=True) if h] if stopped else part
    return expected


class HasCoordinator(Protocol):
    """A job, whose coordinator may be another one each time."""

    coordinator: Coordinator


class Copies:
    """Where state really is, by which a job that gives up is judged: not by what its coordinator believes.

    A copy is an instance that is known to run on a worker that is not lost, or a checkpoint that is held on one or
    lies on the disk.
    """

    def __init__(
        self, plan: Plan, job: HasCoordinator, workers: Mapping[int, SimulatedWorker], disk: CheckpointDisk
    ) -> None:
        self._plan, self._job, self._workers, self._disk = plan, job, workers, disk
        self._started: set[int] = set()
        self._single_since: dict[int, float] = {}
        self._gone: set[tuple[str, int]] = set()
        self._losses = 0
        self._losses_at_once = 0  # since every instance could have lost two workers
        self._was_whole = False  # there were enough workers then
        self._calm_since = -GRACE_S
        self._present_before: set[int] = set()
        self._has_second = plan.settings.copies > 1 and plan.settings.disk == "off"

    @property
    def _members(self) -> Membership:
        return self._job.coordinator.members

    @property
    def _running(self) -> Mapping[int, Procedure]:
        return self._job.coordinator.reconfigurer.running

    def started(self, instance: int) -> None:
        """An instance has said that it runs."""
        self._started.add(instance)

    def lost(self, stored: Watch) -> None:
        """A worker is lost, and the state of which the only copy was there."""
        self._losses += 1
        self._losses_at_once += 1
        records = self._members.of_kind("keyed")
        self._gone |= {(r.operator, r.index) for r in records if stored.is_needed(r) and not self._has_copy(r)}

    def check(self, now: float, stored: Watch) -> None:
        """An instance that runs has a copy of its state on another worker; if that is lost, soon on a third one.

        Raises:
            InvariantError: It has had none for so long that nobody can be making one.
        """
        single = {r.id: r for r in self._members.of_kind("keyed") if self._is_single(r) and stored.is_needed(r)}
        before = {} if any(w.hung for w in self._present()) else self._single_since  # who stands still stores nothing
        self._single_since = {id: before.get(id, now) for id in single}
        for id, since in self._single_since.items():
            if now - since > GRACE_S:
                record = single[id]
                raise InvariantError(
                    f"{record.operator}#{record.index} has had no copy of its state elsewhere for {now - since:.2f} s"
                )
        if self._has_second:
            self._check_second(now, stored)

    def _check_second(self, now: float, stored: Watch) -> None:
        """Any two workers can be lost at once, whatever is being done, unless one was lost a moment ago."""
        workers = self._present()
        present = {w.number for w in workers}
        if self._present_before - present or len(present) < ENOUGH_WORKERS or any(w.hung for w in workers):
            self._calm_since = now
        self._present_before = present
        needed = [r for r in self._members.of_kind("keyed") if stored.is_needed(r)]
        left = [[w for w in workers if w not in pair] for pair in combinations(workers, 2)]
        frail = next((r for r in needed for others in left if not self._is_among(others, r)), None)
        if frail is None and len(present) >= ENOUGH_WORKERS:
            self._losses_at_once, self._was_whole = 0, True
        elif not self._losses_at_once and not any(not w.alive and not w.declared_lost for w in self._workers.values()):
            self._was_whole &= len(present) >= ENOUGH_WORKERS
        if frail is not None and now - self._calm_since > GRACE_S:
            raise InvariantError(f"{frail.operator}#{frail.index} would not survive the loss of some two workers")

    def _is_single(self, record: InstanceRecord) -> bool:
        """Whether its own worker has the only copy, though there is another that could hold one."""
        here, others = self._workers[record.worker], [w for w in self._present() if w.number != record.worker]
        held = any(all(any(map(self._holds(id), others)) for id in ids) for ids in self._incarnations(record))
        return bool(others) and self._is_here(here, record.id) and not held and not self._is_on_disk(record)

    def _is_on_disk(self, record: InstanceRecord) -> bool:
        """Whether the disk has what the instance can be made from."""
        return self._disk.has_copy(record.id) or (record.origin is not None and self._disk.has_copy(record.origin))

    def _incarnations(self, record: InstanceRecord) -> list[set[int]]:
        """The instance, and those that together are about to replace it."""
        successors = [{id for id, _ in p.successors} for p in self._running.values() if record in p.olds]
        return [{record.id}, *successors]

    def _is_here(self, worker: SimulatedWorker, instance: int) -> bool:
        usable = worker.alive and not worker.hung and not worker.declared_lost
        return usable and instance in worker.host.instances

    def _present(self) -> list[SimulatedWorker]:
        known = self._members.workers
        return [w for w in self._workers.values() if w.alive and not w.declared_lost and w.number in known]

    @staticmethod
    def _holds(instance: int) -> Callable[[SimulatedWorker], bool]:
        return lambda worker: worker.host.backups.has_copy(instance)

    def excuse(self, error: str, stored: Watch) -> bool:
        """Whether a failed job was right to give up."""
        if "without getting past tick" in error:
            return self._losses >= MAX_DEATHS
        if "no worker is left" in error:
            return not self._present()
        named = re.match(r"(the state of )?(\S+)#(\d+) ", error)
        if named is None:
            return False
        operator, index = named[2], int(named[3])
        if not named[1]:  # it began again from tick 0, since news of its checkpoint went with the worker that sent it
            return "was dropped through tick" in error and (operator, index) in self._gone
        records = [r for r in self._members.assignment(operator) if r.index == index]
        if self._has_second and self._was_whole and self._losses_at_once < MAX_LOSSES:
            return False
        return any(stored.is_needed(r) and not self._has_copy(r) for r in records)

    def _has_copy(self, record: InstanceRecord) -> bool:
        workers = [w for w in self._workers.values() if not w.declared_lost]
        return self._is_on_disk(record) or self._is_among(workers, record)

    def _is_among(self, workers: Sequence[SimulatedWorker], record: InstanceRecord) -> bool:
        """Whether these workers together have an instance's state."""
        return any(all(any(self._is_copy(w, id) for w in workers) for id in ids) for ids in self._incarnations(record))

    def _is_copy(self, worker: SimulatedWorker, instance: int) -> bool:
        runs = instance in self._started and instance in worker.host.instances
        return runs or worker.host.backups.has_copy(instance)
