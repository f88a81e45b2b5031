"""SIGKILL of a worker at half of the maximum rate, 100 k keys, intervals of 1 s, a checkpoint every ten of them.

Five times in one run, at another distance from the last checkpoint each time; medians. What counts is total delay: from
the end of an interval to its completion, with everything that had to be noticed, read and computed again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from benchmarks import expected
from benchmarks.recording import DurableDiscard
from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.wordcount import expected_counts
from benchmarks.runtime import check, scratch
from benchmarks.streams import LINES, broken, maximum_lines_per_s, word_count
from elastic.scenario.models import Fault

CHECKPOINT = 10
FIRST_S = 6.5
BETWEEN_S = 12  # so that each kill is two intervals further from a checkpoint than the one before
AGAIN = 2.0
"""An interval is normal again if it takes at most so many times the median."""


class Gap(NamedTuple):
    """What one kill did to intervals: the worst delay, and how many were not normal."""

    worst_ms: float
    intervals: int


def _gaps(delays_ms: dict[int, float], kills: int) -> tuple[float, list[Gap]]:
    """The normal delay, and what each kill did."""
    killed_in = [int(FIRST_S + n * BETWEEN_S) + 1 for n in range(kills)]
    calm = [ms for n, ms in delays_ms.items() if n > 3 and not any(k <= n < k + 6 for k in killed_in)]
    normal_ms = statistics.median(calm)
    gaps = []
    for first in killed_in:
        after = [delays_ms.get(n, 0.0) for n in range(first, first + BETWEEN_S)]
        late = [n for n, ms in enumerate(after) if ms > AGAIN * normal_ms]
        gaps.append(Gap(max(after), late[-1] - late[0] + 1 if late else 0))
    return normal_ms, gaps


def _measure(effort: Effort) -> Sequence[Row]:
    kills = 1 if effort.quick else 5
    rate = int(maximum_lines_per_s(effort.timed_s) / 2)
    repeat = math.ceil((FIRST_S + kills * BETWEEN_S) * rate / LINES)
    faults = tuple(_kill(FIRST_S + n * BETWEEN_S, n) for n in range(kills))
    with scratch() as directory:
        sink = DurableDiscard(directory)
        build = partial(word_count, sink=sink, repeat=repeat, rate=f"{rate}/s")
        outcome = broken(build, faults, checkpoint=CHECKPOINT)
        check(expected.difference(sink.last_values(), expected_counts(), repeat))
    if len(outcome.report.recoveries) != kills:
        raise RuntimeError(f"{kills} workers were killed, and {len(outcome.report.recoveries)} recoveries reported")
    delays_ms = {told["interval"]: told["total_delay_ms"] for told in outcome.intervals[:-1]}
    normal_ms, gaps = _gaps(delays_ms, kills)
    worst_s = statistics.median(max(0.0, gap.worst_ms - 2 * normal_ms) for gap in gaps) / 1000
    lasts = statistics.median(gap.intervals for gap in gaps)
    return [
        limit_row("dstream_kill_interval", worst_s, "s beyond 2 x normal", at_most=1.0),
        limit_row("dstream_kill_normal_again", lasts, "intervals", at_most=3.0),
    ]


def _kill(at_s: float, instance: int) -> Fault:
    return Fault.model_validate({"at": f"{at_s:.1f}s", "kill": {"owner_of": "count", "instance": instance % 4}})


MEASUREMENT = Measurement("dstream_kill", "SIGKILL of a worker at half of the maximum rate, in intervals", _measure)
