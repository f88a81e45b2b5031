"""How far intervals are: closed, complete, safe; and how long each took."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from dstream.blocks import Name
from dstream.plan import Kind, StreamPlan
from elastic.report import FailedRecords, added


@dataclass(slots=True)
class Interval:
    """One interval's job.

    Attributes:
        ends_s: When its last tick was; what total delay and scheduling delay count from.
        started_s: When its first task was given out.
        left: Tasks that were never done; None while none of them was made.
        tasks: How many there were.
        failed: Records that each task has skipped or diverted; the same however often it is done.
    """

    number: int
    left: set[Name] | None = None
    tasks: int = 0
    ends_s: float = 0.0
    started_s: float | None = None
    records: int = 0
    size_bytes: int = 0
    failed: dict[Name, tuple[FailedRecords, ...]] = field(default_factory=dict)

    def told(self, now_s: float) -> dict[str, Any]:
        """Its figures, complete now."""
        started_s = now_s if self.started_s is None else self.started_s
        return {
            "interval": self.number,
            "records": self.records,
            "bytes": self.size_bytes,
            "ended_s": self.ends_s,
            "scheduling_delay_ms": max(0.0, started_s - self.ends_s) * 1000,
            "processing_ms": (now_s - started_s) * 1000,
            "total_delay_ms": max(0.0, now_s - self.ends_s) * 1000,
            "tasks": self.tasks,
            "failed": [asdict(found) for found in added(chain.from_iterable(self.failed.values()))],
        }


@dataclass(slots=True)
class Progress:
    """Which intervals are complete, and which are safe.

    Attributes:
        done: Every task of intervals through this one has been done.
        safe: Through it, all state is kept wherever it should be and all sinks have committed: nothing before is
            computed again, but for what windows read.
        recomputed: Tasks that were done again, since the last interval that was complete.
    """

    plan: StreamPlan
    done: int = 0
    safe: int = 0
    recomputed: int = 0
    intervals: dict[int, Interval] = field(default_factory=dict)

    @property
    def every(self) -> int:
        """Intervals between two checkpoints."""
        stateful = any(s.kind is Kind.STATE for s in self.plan.stages)
        return self.plan.checkpoint_intervals if stateful else 1

    def lacks(self, name: Name) -> bool:
        """Whether a task was never done."""
        interval = self.intervals.get(name.interval)
        return interval is not None and name in (interval.left or ())

    def did(self, name: Name) -> None:
        """A task is done, maybe not for the first time."""
        if (interval := self.intervals.get(name.interval)) is not None and interval.left is not None:
            interval.left.discard(name)

    def failed(self, name: Name, found: tuple[FailedRecords, ...]) -> None:
        """Records that a task has skipped or diverted."""
        if found and (interval := self.intervals.get(name.interval)) is not None:
            interval.failed[name] = found

    def completed(self) -> list[Interval]:
        """The intervals that have become complete, in order."""
        complete = []
        while (following := self.intervals.get(self.done + 1)) is not None and following.left == set():
            complete.append(self.intervals.pop(self.done + 1))
            self.done += 1
        return complete

    def advance(self, committed: int, stored: set[int] | None) -> bool:
        """Move ``safe`` as far as state and sinks allow; whether it moved.

        Args:
            committed: All sinks have committed through this interval.
            stored: Versions that all state has wherever it should; None if there is no state.
        """
        limit = min(committed, self.done)
        best = limit if stored is None else max((v for v in stored if v <= limit), default=0)
        if best <= self.safe:
            return False
        self.safe = best
        return True
