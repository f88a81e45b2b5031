"""An operator with a million keys is scaled from one instance to two and back: for how long does nothing come out?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.recording import TimedDiscard
from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import run_broken, scratch
from elastic import Query, sources
from elastic.functions import field
from elastic.plan import Settings
from elastic.report import ScaleOut
from elastic.scenario.models import Fault

KEYS, QUICK_KEYS = 1_000_000, 200_000
RATE_PER_S = 400_000
FILL_S_PER_KEY = 12e-6  # by then 99 % of the keys have come
BETWEEN_S, QUICK_BETWEEN_S = 6.0, 4.0


def _measure(effort: Effort) -> Sequence[Row]:
    keys, between_s = (QUICK_KEYS, QUICK_BETWEEN_S) if effort.quick else (KEYS, BETWEEN_S)
    outs, ins = [], []
    for _ in range(effort.rounds):
        out_s, in_s = _gaps(keys, between_s)
        outs.append(out_s)
        ins.append(in_s)
    return [
        limit_row("scale_out_gap", max(outs), "s", at_most=0.5),
        limit_row("scale_in_gap", max(ins), "s", at_most=0.5),
    ]


def _gaps(keys: int, between_s: float) -> tuple[float, float]:
    """The longest silence of the output around a scale out and a scale in of one run, seconds."""
    with scratch() as directory:
        sink = TimedDiscard(directory)
        query = Query("scaling")
        fill_s = FILL_S_PER_KEY * keys
        records = int(RATE_PER_S * (fill_s + 2 * between_s))
        numbers = query.source(
            sources.generator(keys=keys, distribution="uniform", count=records, rate=f"{RATE_PER_S}/s")
        )
        numbers.key_by(field("key")).count(emit="tick", name="count").sink(sink)
        faults = _scale(fill_s, to=2), _scale(fill_s + between_s, to=1)
        report = run_broken(query, faults, Settings(auto_tick=True), workers=1, spares=2)
        if len(report.scale_outs) != 2:
            raise RuntimeError(f"scaled {len(report.scale_outs)} times instead of out and in: {report.events}")
        out, back = (_around(sink, scaled) for scaled in report.scale_outs)
    return out, back


def _around(sink: TimedDiscard, scaled: ScaleOut) -> float:
    return sink.longest_gap_s(scaled.at_s, scaled.at_s + scaled.took_s + 2.0)


def _scale(at_s: float, to: int) -> Fault:
    return Fault.model_validate({"at": f"{at_s:g}s", "scale": {"operator": "count", "to": to}})


MEASUREMENT = Measurement("scaling_gap", "silence while a counter of a million keys is scaled out and in", _measure)
