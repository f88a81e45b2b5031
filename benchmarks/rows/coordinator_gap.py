"""The coordinator is killed again and again: is the output silent for longer than while it lives?"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.recording import TimedDiscard
from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import run_broken, scratch
from elastic import Query, sources
from elastic.functions import field
from elastic.plan import Settings
from elastic.scenario.models import Fault

TICK_S = 0.01
RATE_PER_S = 200_000
WINDOW_S = 1.5
EVERY_S = 15.0  # five takeovers in a minute are one too many
WARM_S = 3.0


def _measure(effort: Effort) -> Sequence[Row]:
    kills = 1 if effort.quick else 3
    times = [WARM_S + WINDOW_S + EVERY_S * n for n in range(kills)]
    with scratch() as directory:
        sink = TimedDiscard(directory)
        query = Query("coordinator")
        records = int(RATE_PER_S * (times[-1] + 2 * WINDOW_S + 1.0))
        numbers = query.source(sources.generator(keys=10_000, count=records, rate=f"{RATE_PER_S}/s"))
        numbers.key_by(field("key")).count(emit="tick", name="count").sink(sink)
        report = run_broken(query, tuple(map(_kill, times)), Settings(tick_ms=10, auto_tick=False))
        found = [e.at_s for e in report.events if e.kind == "coordinator_recovered"]
        if len(found) != kills:
            raise RuntimeError(f"the coordinator was killed {kills} times, and recovered {len(found)} times")
        without = [sink.longest_gap_s(at - WINDOW_S, at) for at in times]
        around = [sink.longest_gap_s(at, at + WINDOW_S) for at in times]
    return [
        limit_row(
            "coordinator_killed_extra_gap",
            max(0.0, statistics.median(around) - statistics.median(without)),
            "s",
            at_most=TICK_S,
        )
    ]


def _kill(at_s: float) -> Fault:
    return Fault.model_validate({"at": f"{at_s:.1f}s", "kill": {"coordinator": True}})


MEASUREMENT = Measurement("coordinator_gap", "silence of the output while the coordinator is killed", _measure)
