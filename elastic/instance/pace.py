"""How much a source reads in a tick, and how long a tick is: by its rate, or by what is processed in good time."""

from __future__ import annotations

from collections.abc import Sequence

from elastic.connectors.base import LogEntry, Rate
from elastic.plan import Plan

WORK_S = 0.03
"""With ``tick: auto`` a source without a rate reads about as much as is processed in this time: long enough for columns
to pay, short enough for latency. A tick of fixed length reads what fills that length."""

MIN_READ_BYTES = 64 << 10

CATCH_UP = 10
"""A tick reads at most what its rate allows in ten: enough to catch up fast, and never so much that everybody else on a
worker waits for one tick."""


class Pace:
    """Of one source instance. Times are Unix times, seconds; partitions are numbered as they are given.

    Attributes:
        rate: Of the source; None where it is read as fast as it goes.
        stretch: So many ticks are stamped as one: a power of two, so that sources agree.

    Args:
        plan: What runs.
        rate: As above.
        partitions: Of the source, those of its other instances among them.
        before: The newest log entry of each partition of this instance.
        now_s: When it begins.
    """

    def __init__(
        self, plan: Plan, rate: Rate | None, partitions: int, before: Sequence[LogEntry | None], now_s: float
    ) -> None:
        settings = plan.settings
        self.rate, self.stretch = rate, 1
        self._partitions, self._count = max(1, partitions), len(before)
        self._by_records = rate is not None and rate.unit == "records"
        self._tick_zero_s, self._tick_s = plan.tick_zero_s, settings.tick_ms / 1000
        self._auto, self._max_stretch = settings.auto_tick, settings.max_stretch
        self._work_s = WORK_S if self._auto else self._tick_s
        self._limit_bytes = min(settings.tick_bytes, settings.memory_bytes // 16)
        self._read_bytes = min(MIN_READ_BYTES * 4, self._limit_bytes)
        # Who had a partition before has said what was due by then and not read; of one that was never read, nothing is
        # due yet. What was due while the job did not run needs no catching up either.
        self._taken = [
            self._due(now_s) if last is None else self._due(max(last.read_time_s, plan.since_s)) - last.owed
            for last in before
        ]

    # -- how much ------------------------------------------------------------------------------------------------------

    def allowance(self, number: int, now_s: float) -> tuple[int, int | None]:
        """(bytes, records) that may be read from a partition now: what is due by the rate, within a tick's limit."""
        if self.rate is None:
            return self._read_bytes, None
        most = self.rate.fastest / self._partitions * CATCH_UP * self.stretch * self._tick_s
        due = max(0, int(min(self._due(now_s) - self._taken[number], max(1.0, most))))
        return (self._limit_bytes, due) if self._by_records else (min(self._limit_bytes, due), None)

    def took(self, number: int, records: int, size_bytes: int) -> None:
        """So much was read of a partition."""
        self._taken[number] += records if self._by_records else size_bytes

    def ran_dry(self, number: int, now_s: float) -> None:
        """A partition has nothing more for now: what was due and not there needs no catching up."""
        self._taken[number] = max(self._taken[number], self._due(now_s))

    def owed(self, number: int, now_s: float) -> int:
        """Of one partition, what is due and was not read."""
        return max(0, int(self._due(now_s) - self._taken[number]))

    def next_due_s(self, from_s: float, at_most_s: float) -> float:
        """About when some partition has something due, at or after a time; so much later where that is not foreseen."""
        lacking = min(self._taken) + 1 - self._due(from_s)
        if lacking <= 0:
            return from_s
        soon_s = self._tick_s * self.stretch
        growth = self._due(from_s + soon_s) - self._due(from_s)
        return from_s + (lacking / growth * soon_s if growth > 0 else at_most_s)

    def _due(self, now_s: float) -> float:
        """Records or bytes of one partition that the rate allows until then."""
        return 0.0 if self.rate is None else self.rate.due(now_s - self._tick_zero_s) / self._partitions

    # -- how long ------------------------------------------------------------------------------------------------------

    def tick_at(self, now_s: float) -> int:
        """The tick that may be stamped then."""
        return int((now_s - self._tick_zero_s) / self._tick_s) // self.stretch * self.stretch

    def next_tick_s(self, after_tick: int) -> float:
        """When the next tick that may be stamped begins."""
        return self.time_of((after_tick // self.stretch + 1) * self.stretch)

    def next_base_tick_s(self, now_s: float) -> float:
        """When the next tick begins, be it one that may be stamped or not."""
        return self.time_of(int((now_s - self._tick_zero_s) / self._tick_s) + 1)

    def time_of(self, tick: int) -> float:
        """When a tick begins."""
        return self._tick_zero_s + tick * self._tick_s

    def adapt(self, size_bytes: int, spent_s: float) -> None:
        """A tick with so much input took so long.

        Without a rate, the next one reads what takes as long as its work may. With a rate, fewer ticks are stamped
        while each takes a third of the time there is for it, until it takes a tenth.
        """
        if self.rate is None and size_bytes and spent_s > 0:
            wanted = size_bytes / self._count * self._work_s / spent_s
            smooth = 0.75 * self._read_bytes + 0.25 * wanted
            self._read_bytes = int(min(max(smooth, MIN_READ_BYTES), self._limit_bytes))
        share = spent_s / (self.stretch * self._tick_s)
        if self._auto and self.rate is not None and share > 1 / 3 and self.stretch < self._max_stretch:
            self.stretch *= 2
        elif share < 1 / 10 and self.stretch > 1:
            self.stretch //= 2
