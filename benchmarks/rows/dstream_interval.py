"""The shortest interval at which WordCount is stable, fed with half of what it can take.

Stable: of all intervals that have rows, 99 % are complete within two intervals of their end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import check
from benchmarks.streams import LINES, maximum_lines_per_s, percentile, stream, word_count
from elastic import sinks

INTERVALS_MS = (400, 200, 100, 50)
TARGET_MS = 200


def _delay_in_intervals(interval_ms: int, rate: int, seconds: float) -> float:
    """The 99th percentile of total delay, in intervals; those of the first two seconds, while memory is fresh, not."""
    repeat = math.ceil((seconds + 2) * rate / LINES)
    build = partial(word_count, sink=sinks.discard(), repeat=repeat, rate=f"{rate}/s")
    outcome = stream(build, f"{interval_ms}ms")
    told = sum(each["records"] for each in outcome.intervals)
    check(None if told == LINES * repeat else f"{told} lines in all intervals, expected {LINES * repeat}")
    return percentile(outcome.figures("total_delay_ms", since=2000 // interval_ms), 99) / interval_ms


def _measure(effort: Effort) -> Sequence[Row]:
    rate = int(maximum_lines_per_s(effort.timed_s) / 2)
    delays = {}
    for interval_ms in INTERVALS_MS:
        delays[interval_ms] = _delay_in_intervals(interval_ms, rate, effort.timed_s)
        if delays[interval_ms] > 2 and interval_ms <= TARGET_MS:
            break
    stable = [interval_ms for interval_ms, delay in delays.items() if delay <= 2]
    return [
        limit_row("dstream_shortest_interval", min(stable, default=2 * INTERVALS_MS[0]), "ms", at_most=TARGET_MS),
        limit_row("dstream_total_delay_p99", delays[TARGET_MS], f"intervals of {TARGET_MS} ms", at_most=2.0),
    ]


MEASUREMENT = Measurement("dstream_interval", "shortest stable interval at half of the maximum rate", _measure)
