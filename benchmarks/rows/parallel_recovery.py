"""A counter of two million keys is lost: how much sooner is it restored as two than as one?

Both runs have the same workers and are broken at the same moment between two checkpoints, so that they detect the loss,
find the checkpoint and have the same to replay alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import run_broken
from elastic import Query, sinks, sources
from elastic.functions import field
from elastic.plan import Settings
from elastic.scenario.models import Fault

RATE_PER_S = 500_000
AFTER_S = 4.0


def _measure(effort: Effort) -> Sequence[Row]:
    keys = 200_000 if effort.quick else 2_000_000
    serial, parallel = [], []
    for _ in range(1 if effort.quick else 3):
        serial.append(_restored_s(keys, 1))
        parallel.append(_restored_s(keys, 2))
    two_s, one_s = statistics.median(parallel), statistics.median(serial)
    return [
        limit_row("parallel_recovery", two_s / one_s, "of serial", at_most=0.65),
        Row("serial_restored", one_s, "s", None, None, None, None),
        Row("parallel_restored", two_s, "s", None, None, None, None),
    ]


def _restored_s(keys: int, parts: int) -> float:
    """From the kill until all parts hold their state and process again, seconds."""
    fill_s = 4.0 * keys / RATE_PER_S  # by then 98 % of the keys have come
    query = Query("recovery")
    records = int(RATE_PER_S * (fill_s + AFTER_S))
    numbers = query.source(sources.generator(keys=keys, distribution="uniform", count=records, rate=f"{RATE_PER_S}/s"))
    numbers.key_by(field("key")).count(emit="end", name="count").sink(sinks.discard())
    kill = Fault.model_validate({"at": f"{math.ceil(fill_s) + 0.5}s", "kill": {"owner_of": "count"}})
    settings = Settings(auto_tick=True, recovery_parts=parts, memory_bytes=2 << 30)
    report = run_broken(query, (kill,), settings, workers=1, spares=4)  # holder, two parts, the rest
    restored_s = report.recoveries[0].restored_s if report.recoveries else None
    if restored_s is None:
        raise RuntimeError(f"nothing was restored: {report.events}")
    return restored_s


MEASUREMENT = Measurement(
    "parallel_recovery", "a lost counter of two million keys, restored as two and as one", _measure
)
