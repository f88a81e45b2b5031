"""Figures of a job that runs in intervals, as its scheduler tells of each that is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elastic.report import FailedOutput, FailedRecords, Intervals, IntervalTimes, added
from elastic.server.latency import LatencyHistogram


@dataclass(slots=True)
class IntervalFigures:
    """Counts and times of all intervals so far.

    Attributes:
        last: The newest of them.
        failed: Outputs that were given up.
        records_failed: Those that were skipped or diverted, by operator or step.
    """

    last: IntervalTimes | None = None
    failed: tuple[FailedOutput, ...] = ()
    records_failed: tuple[FailedRecords, ...] = ()

    _counts: Intervals = field(default_factory=Intervals)
    _scheduling: LatencyHistogram = field(default_factory=LatencyHistogram)
    _processing: LatencyHistogram = field(default_factory=LatencyHistogram)
    _total: LatencyHistogram = field(default_factory=LatencyHistogram)

    def add(self, told: Mapping[str, Any]) -> list[FailedRecords]:
        """One more is complete; one that was told before is not. What it skips or diverts where nothing was before."""
        if self.last is not None and told["interval"] <= self.last.interval:
            return []
        self.last = IntervalTimes(int(told["interval"]), told["scheduling_delay_ms"], told["processing_ms"])
        so_far = self._counts
        self._counts = Intervals(
            count=so_far.count + 1,
            records=so_far.records + int(told["records"]),
            tasks=so_far.tasks + int(told["tasks"]),
            recomputed=so_far.recomputed + int(told["recomputed"]),
        )
        self._scheduling.add([told["scheduling_delay_ms"]], [1])
        self._processing.add([told["processing_ms"]], [1])
        self._total.add([told["total_delay_ms"]], [1])
        known = {found.where for found in self.records_failed}
        failed = [FailedRecords(**body) for body in told["failed"]]
        self.records_failed = added((*self.records_failed, *failed))
        return [found for found in failed if found.where not in known]

    @property
    def records(self) -> int:
        """Of all of them."""
        return self._counts.records

    def report(self) -> Intervals:
        """All of them."""
        so_far = self._counts
        return Intervals(
            so_far.count, so_far.records, self._scheduling.percentiles(), self._processing.percentiles(),
            self._total.percentiles(), so_far.tasks, so_far.recomputed, failed_outputs=self.failed,
        )  # fmt: skip
