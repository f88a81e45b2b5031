"""Where an interval is cut, so that the parts carry the same load.

Source: SEEP §3.2, partition-processing-state: an even split of the hash space, or one guided by the distribution of
keys. This is the latter, by records instead of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from elastic.coordinator.membership import InstanceRecord
from elastic.keys import KeyInterval
from elastic.plan import Plan

EVEN_SHARE = 0.02
"""So much of the load counts as spread evenly: a key group without records may still hold keys."""


@dataclass(frozen=True)
class Cuttable:
    """An instance's interval, as something that can be cut.

    Attributes:
        bounds: Ascending; cuts may be made at these key groups. The first and the last are the interval's own.
        loads: What was measured between each two of them; None if nothing was.
    """

    bounds: Sequence[int]
    loads: npt.NDArray[np.float32] | None = None

    @property
    def most(self) -> int:
        """How many parts there can be."""
        return len(self.bounds) - 1

    @cached_property
    def shares(self) -> npt.NDArray[np.float64]:
        """Of the interval's load, between each two bounds; they add up to 1."""
        widths = np.diff(np.asarray(self.bounds, np.float64))
        even: npt.NDArray[np.float64] = widths / widths.sum()
        if self.loads is None or not self.loads.sum() > 0:
            return even
        measured = self.loads.astype(np.float64)
        shares: npt.NDArray[np.float64] = measured / measured.sum() * (1 - EVEN_SHARE) + even * EVEN_SHARE
        return shares

    def cut(self, count: int) -> list[KeyInterval]:
        """So many intervals that tile this one; each carries its share of what the ones before it have left.

        Args:
            count: At least 1, and at most ``most``.
        """
        ends = self._ends(count)
        return [KeyInterval(self.bounds[a], self.bounds[b]) for a, b in pairwise(ends)]

    def largest_share(self, count: int) -> float:
        """What the busiest of so many parts has of the interval's load."""
        return float(np.add.reduceat(self.shares, self._ends(count)[:-1]).max())

    @property
    def hottest(self) -> tuple[int, float]:
        """Where the busiest piece begins that cannot be cut, and its share."""
        at = int(self.shares.argmax())
        return self.bounds[at], float(self.shares[at])

    def _ends(self, count: int) -> list[int]:
        """Positions in ``bounds`` at which the parts begin, and the last one ends."""
        sums = np.concatenate(([0.0], np.cumsum(self.shares)))
        ends = [0]
        for left in range(count, 1, -1):
            before = ends[-1]
            wanted = sums[before] + (sums[-1] - sums[before]) / left
            at = int(np.searchsorted(sums, wanted))
            at -= int(at > 0 and wanted - sums[at - 1] < sums[min(at, self.most)] - wanted)
            ends.append(min(max(at, before + 1), self.most - left + 1))
        return [*ends, self.most]


def cuttable(plan: Plan, record: InstanceRecord) -> Cuttable:
    """An instance, as something that can be cut: a keyed one between any two groups, a source between partitions."""
    low, high = record.interval
    bounds = [b for b in plan.bounds(record.operator) if low <= b <= high]
    if record.loads is None:
        return Cuttable(bounds)
    return Cuttable(bounds, np.add.reduceat(record.loads, np.asarray(bounds[:-1]) - low))
