"""What workers take of the machine's memory, and of its disk for want of memory."""

from __future__ import annotations

from typing import Any

from elastic.report import PeakMemory
from elastic.wire.control import WorkerReport


class Footprint:
    """The resident memory of each worker now, and the most that there was.

    Attributes:
        peak: The most so far.
    """

    def __init__(self, peak: PeakMemory | None = None) -> None:
        self.peak = PeakMemory() if peak is None else peak
        self._memory: dict[int, int] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Footprint, (self.peak,)  # another coordinator hears anew how large they are

    @property
    def memory_bytes(self) -> int:
        """Of all workers together, now."""
        return sum(self._memory.values())

    def add(self, report: WorkerReport, *, alive: bool) -> None:
        """Take a worker's report in; that of one that is lost counts for the most alone."""
        if alive:
            self._memory[report.worker] = report.rss_bytes
        before = self.peak
        worker, spilled = max(before.worker, report.rss_bytes), max(before.spilled, report.spilled_bytes)
        self.peak = PeakMemory(worker, max(before.total, self.memory_bytes), spilled)

    def forget(self, worker: int) -> None:
        """A worker has ended."""
        self._memory.pop(worker, None)
