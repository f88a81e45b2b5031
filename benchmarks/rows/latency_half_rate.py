"""Latency of WordCount that emits every tick of 10 ms, fed with half of what it can take at such ticks.

The start, when memory is fresh and all keys are new, counts in; so that it does not decide about the 99th percentile,
the run is ten times as long as others. In a quick run it is five times as long, and the start may decide.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.wordcount import lines_for, word_count
from benchmarks.runtime import repeats, run
from elastic import sinks


def maximum_lines_per_s(emit: str, tick: str, effort: Effort) -> float:
    """As fast as the job goes, over about a timed run; when in a hurry, over the small input a few times."""
    lines = lines_for(effort)
    if effort.quick:
        return run(word_count(sinks.discard(), lines, emit=emit, repeat=4), tick=tick).records_per_s
    once = run(word_count(sinks.discard(), lines, emit=emit), tick=tick)
    repeat = repeats(effort.timed_s, lambda: once.wall_s)
    return run(word_count(sinks.discard(), lines, emit=emit, repeat=repeat), tick=tick).records_per_s


def _measure(effort: Effort) -> Sequence[Row]:
    rate = int(maximum_lines_per_s("tick", "10ms", effort) / 2)
    lines, times = lines_for(effort), 5 if effort.quick else 10
    repeat = repeats(times * effort.timed_s, lambda: lines / rate)
    report = run(word_count(sinks.discard(), lines, emit="tick", rate=f"{rate}/s", repeat=repeat), tick="10ms")
    latency = report.latency_ms
    assert latency.p50 is not None
    assert latency.p99 is not None
    return [
        limit_row("latency_half_rate_p50", latency.p50, "ms", at_most=20),
        limit_row("latency_half_rate_p99", latency.p99, "ms", at_most=50),
    ]


MEASUREMENT = Measurement("latency_half_rate", "latency at half of the maximum rate, emit=tick", _measure)
