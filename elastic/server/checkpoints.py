"""Figures of checkpoints, as the instances that took them tell of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from elastic.report import Checkpoints, Durations
from elastic.server.latency import LatencyHistogram
from elastic.wire.control import WorkerReport


@dataclass(slots=True)
class CheckpointFigures:
    """Those that were stored so far.

    Attributes:
        count: How many.
    """

    count: int = 0
    _size_bytes: int = 0
    _durations: LatencyHistogram = field(default_factory=LatencyHistogram)
    _stored_s: dict[int, float] = field(default_factory=dict)  # the newest one of each instance

    def add(self, report: WorkerReport) -> None:
        """Take a worker's report in."""
        for instance, _, size_bytes, took_s in report.checkpoints:
            self.stored(instance, size_bytes, took_s, report.at_s)

    def stored(self, instance: int, size_bytes: int, took_s: float, at_s: float) -> None:
        """A checkpoint of an instance is wherever it should be."""
        self.count += 1
        self._size_bytes += size_bytes
        self._durations.add([took_s * 1000], [1])
        self._stored_s[instance] = at_s

    def oldest_s(self, instances: Iterable[int]) -> float | None:
        """When the oldest of these instances' newest checkpoints was stored; None if none of them has one."""
        return min((self._stored_s[i] for i in instances if i in self._stored_s), default=None)

    def report(self) -> Checkpoints:
        """All of them."""
        found = self._durations.percentiles()
        return Checkpoints(self.count, self._size_bytes, Durations(found.p50, found.p99))
