"""The judgement over a simulated job: what its sinks must hold, and whether a failure was justified by the facts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elastic.batch import rows
from elastic.coordinator.machine import Coordinator
from elastic.coordinator.reconfigure import MAX_LOSSES
from elastic.plan import Plan
from elastic.testing.reference import ReferenceRun
from elastic.testing.story import Story
from elastic.testing.worker import SimulatedWorker
from elastic.testing.world import LogStore, TargetStore

GRACE_S = 1.5
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
    plan: Plan, logs: Mapping[tuple[str, int], LogStore], targets: Mapping[str, TargetStore], *, stopped: bool
) -> SinkRows:
    """What the sinks must hold of what is logged; of a job that was stopped, what its targets say they hold."""
    reference = ReferenceRun(plan).replay({key: store.entries for key, store in logs.items()})
    expected: SinkRows = {}
    for sink, ticks in reference.items():
        expected[sink] = {}
        for tick, batch in ticks:
            assert batch.values is not None
            held = targets[sink].tick[batch.groups] >= tick
            part = rows(batch.values)
            expected[sink][tick] = [row for row, h in zip(part, held, strict=True) if h] if stopped else part
    return expected


class Losses:
    """The facts about lost workers, by which a job that gives up is judged. None of them are the coordinator's own."""

    def __init__(self) -> None:
        self._living: set[int] = set()
        self._pair_since = math.inf
        self._last, self._close_at = -math.inf, -math.inf
        self._count = 0

    def joined(self, worker: int, now: float) -> None:
        """A worker has joined: from when there are two, checkpoints have a place to go."""
        self._living.add(worker)
        if len(self._living) == 2:
            self._pair_since = now

    def lost(self, worker: int, now: float) -> None:
        """A worker is lost: it is excused to lose state if the loss before, or the second worker, is recent."""
        self._count += 1
        if worker not in self._living:
            return
        if now - max(self._last, self._pair_since) <= GRACE_S:
            self._close_at = now
        self._last = now
        self._living.discard(worker)
        if len(self._living) < 2:
            self._pair_since = math.inf

    def excuse(self, error: str, now: float, coordinator: Coordinator, workers: Mapping[int, SimulatedWorker]) -> bool:
        """Whether a failed job was right to give up."""
        if "times in a row" in error:
            return self._count >= MAX_LOSSES
        if now - self._close_at > GRACE_S:
            return False
        named = re.match(r"the state of (\S+)#(\d+) ", error)
        if named is None:
            return "was dropped through tick" in error or "no worker is left" in error
        operator, index = named[1], int(named[2])
        ids = {r.id for r in coordinator.members.assignment(operator) if r.index == index}
        ids |= {id for p in coordinator.reconfigurer.running.values() if p.old.id in ids for id, _ in p.successors}
        return not any(
            w.host.backups.has_copy(id) for w in workers.values() if w.alive and not w.declared_lost for id in ids
        )
