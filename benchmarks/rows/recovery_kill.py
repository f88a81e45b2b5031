"""SIGKILL of a stateful worker, ten times in one run, at another point between two checkpoints each time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.latency_half_rate import maximum_lines_per_s
from benchmarks.rows.wordcount import lines_for, word_count
from benchmarks.runtime import run_broken
from elastic import sinks
from elastic.plan import Settings
from elastic.scenario.models import Fault

_BETWEEN_KILLS_S = 5.0  # the lag has to stay low for a second before the recovery counts, and the spare be replaced


def _measure(effort: Effort) -> Sequence[Row]:
    kills, lines = 1 if effort.quick else 10, lines_for(effort)
    rate = int(maximum_lines_per_s("1s", "auto", effort) / 2)
    # Checkpoints are a second apart: a kill comes at 0/kills, 1/kills … of that time.
    times = [4.0 + i * (_BETWEEN_KILLS_S + 1 / kills) for i in range(kills)]
    faults = tuple(_kill(at, instance=i % 4) for i, at in enumerate(times))
    repeat = math.ceil((times[-1] + _BETWEEN_KILLS_S) * rate / lines)
    query = word_count(sinks.discard(), lines, rate=f"{rate}/s", repeat=repeat)
    report = run_broken(query, faults, Settings(auto_tick=True))
    if len(report.recoveries) != kills:
        raise RuntimeError(f"{kills} workers were killed, and {len(report.recoveries)} recoveries reported")
    restored = _median("restored", [r.restored_s for r in report.recoveries])
    caught_up = _median("caught up", [r.caught_up_s for r in report.recoveries])
    return [
        limit_row("recovery_kill_restored", restored, "s", at_most=0.3),
        limit_row("recovery_kill_caught_up", caught_up, "s", at_most=1.5),
    ]


def _median(what: str, times: Sequence[float | None]) -> float:
    """The median, a recovery that never came so far taking longer than any that did."""
    middle = statistics.median(math.inf if time is None else time for time in times)
    if math.isinf(middle):
        raise RuntimeError(f"of {len(times)} recoveries, {times.count(None)} never {what}")
    return middle


def _kill(at_s: float, instance: int) -> Fault:
    target = {"owner_of": "count", "instance": instance}
    return Fault.model_validate({"at": f"{at_s:.1f}s", "kill": target})


MEASUREMENT = Measurement("recovery_kill", "SIGKILL of a stateful worker at half of the maximum rate", _measure)
