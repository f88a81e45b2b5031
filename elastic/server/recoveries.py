"""One failure after another: when it happened, was seen, was repaired, and when lag was back to normal."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from elastic.report import Recovery

LAG_BOUND_S = 0.5
STAYS_S = 1.0
"""Lag must stay under its bound for so long before a recovery counts as caught up."""


@dataclass(slots=True)
class OpenRecovery:
    """A recovery that is under way, or over; times are Unix times, seconds."""

    cause: str
    failed_s: float
    detected_s: float
    bound_s: float
    strategy: str
    replaces: int = 0
    waits_for: int = 0
    restored_s: float | None = None
    good_since_s: float | None = None
    caught_up_s: float | None = None
    replayed: int = 0
    keys: int = 0

    def report(self) -> Recovery:
        """Times counted from the failure."""
        return Recovery(
            self.cause, self.strategy, max(0.0, self.detected_s - self.failed_s), self._since(self.restored_s),
            self._since(self.caught_up_s), self.bound_s, self.replayed, self.keys,
        )  # fmt: skip

    def _since(self, at_s: float | None) -> float | None:
        return None if at_s is None else max(0.0, at_s - self.failed_s)


class Recoveries:
    """All recoveries of a job, by their cause."""

    def __init__(self, strategy: str = "checkpoint") -> None:
        self._strategy = strategy
        self.all: dict[str, OpenRecovery] = {}
        self._lags: deque[float] = deque(maxlen=10_000)

    def failed(self, cause: str, failed_s: float, detected_s: float) -> None:
        """A worker was lost."""
        p99 = float(np.percentile(self._lags, 99)) if self._lags else 0.0
        self.all[cause] = OpenRecovery(cause, failed_s, detected_s, max(LAG_BOUND_S, 2 * p99), self._strategy)

    def replacing(self, cause: str, successors: int = 1) -> None:
        """An instance is being replaced because of it, by so many."""
        if (recovery := self.all.get(cause)) is not None:
            recovery.replaces += 1
            recovery.waits_for += successors

    def called_off(self, cause: str, successors: int) -> None:
        """What was to replace an instance is not to any more."""
        if (recovery := self.all.get(cause)) is not None:
            recovery.replaces -= 1
            recovery.waits_for -= successors

    def restored(self, cause: str, keys: int, at_s: float) -> None:
        """A successor runs."""
        if (recovery := self.all.get(cause)) is not None:
            recovery.waits_for -= 1
            recovery.keys += keys
            if recovery.waits_for == 0:
                recovery.restored_s = at_s

    def replayed(self, cause: str, records: int) -> None:
        """A successor has replayed its input."""
        if cause in self.all:
            self.all[cause].replayed += records

    @property
    def real(self) -> list[OpenRecovery]:
        """Those that had something to recover: a spare, too, can fail."""
        return [r for r in self.all.values() if r.replaces]

    @property
    def open(self) -> list[OpenRecovery]:
        """Those that have not caught up."""
        return [r for r in self.real if r.caught_up_s is None]

    def advanced(self, at_s: float, peak_s: float, after_s: float) -> list[OpenRecovery]:
        """Lag was ``peak_s`` just before ``at_s`` and ``after_s`` just after; returns what has caught up by that."""
        if not self.open:
            self._lags.append(peak_s)
        caught: list[OpenRecovery] = []
        for recovery in self.open:
            if recovery.restored_s is None or at_s < recovery.restored_s:
                continue
            if peak_s > recovery.bound_s:
                recovery.good_since_s = None
            if recovery.good_since_s is None and after_s <= recovery.bound_s:
                recovery.good_since_s = at_s
            if recovery.good_since_s is not None and at_s - recovery.good_since_s >= STAYS_S:
                recovery.caught_up_s = recovery.good_since_s
                caught.append(recovery)
        return caught

    def finish(self) -> None:
        """The job ended: what was good until then has caught up."""
        for recovery in self.open:
            recovery.caught_up_s = recovery.good_since_s
