"""A job, the cluster that it runs on and how it is to be broken, all drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TypedDict

from elastic.plan import Settings
from elastic.policies import Policy, Threshold, TrueRates
from elastic.query import Query
from elastic.testing.jobs import random_job

TINY_BYTES = 4 << 10
"""A worker's memory with which every credit window, queue and buffer is full all the time."""

STALL_AFTER_MS = 400
"""A virtual job lasts a second or three."""


class How(TypedDict):
    """What the ``simulate`` of every model is called with."""

    settings: Settings
    workers: int
    spares: int
    faults: int
    within_s: float
    stop_at_s: float | None


@dataclass(frozen=True, slots=True)
class Trial:
    """A job and how it is to be broken.

    Attributes:
        faults: How many, in the first ``within_s`` virtual seconds.
        stop_at_s: When the user stops it; None if it runs to the end.
    """

    query: Query
    settings: Settings
    workers: int
    spares: int
    faults: int
    within_s: float
    stop_at_s: float | None

    @property
    def how(self) -> How:
        """On what cluster it is simulated, and how it is broken."""
        return {
            "settings": self.settings, "workers": self.workers, "spares": self.spares, "faults": self.faults,
            "within_s": self.within_s, "stop_at_s": self.stop_at_s,
        }  # fmt: skip


DISK_SHARE = 0.5
"""In so many of the worlds checkpoints lie on the disk too; in the others, losses of two workers at once tell."""

COPIES_SHARE = 0.3
"""In so many of the worlds two workers keep each checkpoint."""

POLICY_SHARE = 0.2
"""In so many of the worlds a policy decides how many instances there are, beside what faults do."""

PERIODS_S = 0.04, 0.1
"""So often it is asked: fewer instances come after six periods in a row."""

PARTS_SHARE = 0.3
"""In so many of the worlds a lost instance is restored as several."""


def random_trial(seed: int) -> Trial:
    """Every seed is another job, cluster and history; the faults themselves are drawn by the simulation."""
    chance = random.Random(f"job {seed}")
    seconds = chance.choice((0.6, 0.7, 0.8, 0.9, 3.0))
    query = random_job(chance, seconds)
    memory = chance.choice((512 << 20, 512 << 20, TINY_BYTES))
    checkpoint = chance.choice((60, 100, 200))
    partitions = chance.choice((0, 0, 3, 5))
    settings = Settings(
        tick_ms=10,
        checkpoint_ms=checkpoint,
        key_groups=16,
        memory_bytes=memory,
        seed=seed,
        partitions=partitions,
        stall_after_ms=STALL_AFTER_MS,
        spill_bytes=chance.choice((1 << 30, 1 << 30, 2 * TINY_BYTES, 0)),
    )
    stop = chance.random() * seconds if chance.random() < 0.08 else None
    faults = chance.choice((2, 2, 3, 4))
    workers, spares = chance.choice((2, 2, 3, 3, 4)), chance.choice((0, 1, 1, 2))
    if chance.random() >= DISK_SHARE:
        settings = replace(settings, disk="off")
    if chance.random() < COPIES_SHARE:
        settings = replace(settings, copies=2)
    if chance.random() < PARTS_SHARE:
        settings = replace(settings, recovery_parts=chance.choice((2, 3)))
    if chance.random() < POLICY_SHARE:
        settings = replace(settings, scaling=_policy(chance))
    return Trial(query, settings, workers, spares, faults, seconds, stop)


def _policy(chance: random.Random) -> Policy:
    period_s, at_most = chance.choice(PERIODS_S), chance.choice((3, 8))
    if chance.random() < 0.5:
        return Threshold(reports=chance.choice((1, 2)), period_s=period_s, at_most=at_most)
    return TrueRates(period_s=period_s, at_most=at_most)
