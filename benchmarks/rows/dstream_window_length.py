"""Processing time of the sliding WordCount at a window of 60 s by that at 10 s, at a fixed rate and once it is full."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.dstream_sliding import LINES_PER_S, sliding
from benchmarks.streams import LINES, stream

RATE = LINES_PER_S // 2
"""In lines a second: where reading alone takes all cores, an interval takes as long as it waits for one."""


def _processing_ms(window: int, interval_ms: int, intervals: int) -> float:
    """The median over so many intervals, of a window of so many that is full."""
    seconds = (window + intervals) * interval_ms / 1000
    build = partial(
        sliding, window=f"{window * interval_ms}ms", slide=f"{interval_ms}ms",
        repeat=math.ceil(seconds * RATE / LINES), rate=f"{RATE}/s",
    )  # fmt: skip
    outcome = stream(build, f"{interval_ms}ms")
    return statistics.median(outcome.figures("processing_ms", since=window + 1))


def _measure(effort: Effort) -> Sequence[Row]:
    interval_ms, intervals = (100, 30) if effort.quick else (1000, 15)
    narrow, wide = (_processing_ms(window, interval_ms, intervals) for window in (10, 60))
    return [limit_row("dstream_window_60_by_10", wide / narrow, "x processing time", at_most=1.3)]


MEASUREMENT = Measurement("dstream_window_length", "processing time of a window of 60 s, by one of 10 s", _measure)
