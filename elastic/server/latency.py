"""Latency and lag, from what sources read and how far sinks got.

The latency of a record counts from its read to the commit of the tick in which its effect leaves the job: a keyed
aggregate that emits every n ticks holds it back to the next multiple of n, or to the end. Weighted by records. Lag is
the age of the newest tick that every sink has settled: it also grows when nothing is read. What is told of it is the
largest of the last second, since a sink that gets its rows once a second is up to date just before they come.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush, merge
from typing import Any

import numpy as np

from elastic.plan import Plan
from elastic.report import Percentiles

LAG_WINDOW_S = 1.0

REPORTS_COME_S = 1.5
"""Workers report at least once a second."""


def visible_tick(plan: Plan) -> Callable[[int], int]:
    """From the tick of a record to the tick in which the slowest sink shows it; ``emit="end"`` is left out."""
    periods: dict[str, tuple[int, ...]] = {}
    for name, operator in plan.operators.items():
        before = max((periods[e.producer] for e in plan.inputs(name)), key=sum, default=())
        own = (operator.emit_ticks,) if operator.emit_ticks and operator.emit_ticks > 1 else ()
        periods[name] = before + own
    longest = max((periods[n] for n, o in plan.operators.items() if o.kind == "sink"), key=sum, default=())

    def visible(tick: int) -> int:
        for period in longest:
            tick = -(-tick // period) * period
        return tick

    return visible


class LatencyHistogram:
    """Weighted latencies in buckets 2 % wide: percentiles exact to 2 %, the maximum exact."""

    BASE_MS, STEP = 0.01, 1.02

    def __init__(self) -> None:
        self._weights = np.zeros(1200, np.int64)
        self._max_ms = 0.0

    def add(self, latencies_ms: Sequence[float] | np.ndarray[Any, Any], records: Sequence[int]) -> None:
        """Count so many records of each of these latencies."""
        found = np.maximum(latencies_ms, 0.0)
        buckets = (np.log(np.maximum(found, self.BASE_MS) / self.BASE_MS) / np.log(self.STEP)).astype(np.int64)
        np.add.at(self._weights, np.minimum(buckets, len(self._weights) - 1), np.asarray(records, np.int64))
        self._max_ms = max(self._max_ms, float(found.max(initial=0.0)))

    def percentiles(self) -> Percentiles:
        """Of everything counted."""
        total = int(self._weights.sum())
        if not total:
            return Percentiles()
        cumulative = np.cumsum(self._weights)

        def at(share: float) -> float:
            bucket = int(np.searchsorted(cumulative, share * total))
            return min(self._max_ms, self.BASE_MS * self.STEP ** (bucket + 1))

        return Percentiles(at(0.5), at(0.95), at(0.99), self._max_ms)


class LatencyTracker:
    """Joins reads with settles.

    Attributes:
        tick_zero_s: Unix time of tick 0.
        frontier: Every sink has settled through this tick.
        peaks: (time, lag just before an advance, lag just after) of every advance of the frontier, seconds. Nothing
            lags behind where nothing was read: a source that is idle closes a tick only once in a while.
    """

    def __init__(self, plan: Plan, sinks: list[tuple[str, int]]) -> None:
        self._visible, self._tick_s = visible_tick(plan), plan.settings.tick_ms / 1000
        self.tick_zero_s = plan.tick_zero_s
        self.histogram = LatencyHistogram()
        self._waiting: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)  # (time, records) by visible tick
        self._unsettled: list[int] = []  # a heap of the ticks in which something was read
        self._final: int | None = None
        self._marks: dict[tuple[str, int], deque[tuple[int, float]]] = {s: deque(maxlen=20_000) for s in sinks}
        self._timeline: dict[tuple[str, int], deque[tuple[float, int]]] = {s: deque() for s in sinks}
        self._newest: dict[tuple[str, int], int] = dict.fromkeys(sinks, 0)
        self.frontier = 0
        self._until_s = 0.0
        self._late: deque[tuple[float, float]] = deque()  # of the last second: (time, lag just before an advance)
        self.peaks: deque[tuple[float, float, float]] = deque()

    def saved(self) -> tuple[LatencyHistogram, int, dict[tuple[str, int], int]]:
        """What is worth keeping beyond this process; ticks under way are not."""
        return self.histogram, self.frontier, self._newest

    def recall(self, saved: tuple[LatencyHistogram, int, dict[tuple[str, int], int]]) -> None:
        """Go on from what another tracker has saved."""
        self.histogram, self.frontier, newest = saved
        self._newest.update(newest)

    def tick_time(self, tick: int) -> float:
        """Unix time of a tick, seconds."""
        return self.tick_zero_s + tick * self._tick_s

    def read(self, tick: int, read_s: float, records: int) -> None:
        """A source read records in a tick."""
        self._waiting[self._visible(tick)].append((read_s, records))
        heappush(self._unsettled, tick)

    def end(self, tick: int) -> None:
        """The stream ends with a tick: whatever would have been visible later is visible there."""
        self._final = tick

    def settle(self, sink: tuple[str, int], tick: int, at_s: float) -> None:
        """A sink instance settled everything through a tick."""
        if sink in self._marks:
            self._marks[sink].append((tick, at_s))
            self._timeline[sink].append((at_s, tick))

    def advance(self, until_s: float) -> None:
        """Work through what happened before ``until_s``, by when every worker has reported."""
        self._until_s = until_s = max(until_s, self._until_s)
        streams = []
        for sink, timeline in self._timeline.items():
            ready = []
            while timeline and timeline[0][0] <= until_s:
                ready.append((*timeline.popleft(), sink))
            streams.append(ready)
        for at_s, tick, sink in merge(*streams, key=lambda item: item[0]):
            self._newest[sink] = max(self._newest[sink], tick)
            frontier = min(self._newest.values())
            if frontier > self.frontier:
                before, after = at_s - self.tick_time(self.frontier), at_s - self.tick_time(frontier)
                self.peaks.append((at_s, before if self._settles_rows(frontier) else after, after))
                self._late.append((at_s, before))
                self.frontier = frontier
        while self._late and self._late[0][0] <= until_s - LAG_WINDOW_S:
            self._late.popleft()
        self._match()

    def _settles_rows(self, frontier: int) -> bool:
        """Whether anything was read in the ticks past the frontier so far and through this one."""
        found = False
        while self._unsettled and self._unsettled[0] <= frontier:
            found |= heappop(self._unsettled) > self.frontier
        return found

    def _match(self) -> None:
        """Latencies of all reads whose visible tick every sink has settled."""
        due = [t for t in self._waiting if min(t, self._final or t) <= self.frontier]
        for visible in sorted(due):
            read_s, records = zip(*self._waiting.pop(visible), strict=True)
            times = []
            for marks in self._marks.values():
                while marks and marks[0][0] < min(visible, self._final or visible):
                    marks.popleft()
                if marks:
                    times.append(marks[0][1])
            if times:
                self.histogram.add((max(times) - np.array(read_s)) * 1000, records)

    def lag_s(self, now_s: float) -> float:
        """The largest age of the frontier within a second of the time that all reports have reached.

        Who has not reported for longer than is usual is taken to have settled nothing since.
        """
        until_s = max(self._until_s, now_s - REPORTS_COME_S)
        newest_s = max(0.0, until_s - self.tick_time(self.frontier))
        return max([newest_s, *(lag_s for _, lag_s in self._late)])
