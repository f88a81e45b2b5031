"""A sink that does not return from a commit for a minute: the largest worker has to stay under its memory setting."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import run
from elastic import Query, sources
from elastic.batch import Batch
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.discard import DiscardSink
from elastic.keys import KeyInterval

_MEMORY_MIB = 512
_RECORDS_PER_S = 400_000
_AROUND_S = 5


@dataclass(frozen=True)
class StallingSink(Sink):
    """``elastic.sinks.discard`` that stands still once, after some seconds, for ``stall_s``."""

    stall_s: float
    name = "stalling"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return _StallingWriter(DiscardSink().open(context, interval, generation), self.stall_s)


class _StallingWriter(Writer):
    def __init__(self, inner: Writer, stall_s: float) -> None:
        self._inner, self._stall_s = inner, stall_s
        self._stalls_at_s = time.monotonic() + _AROUND_S

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if time.monotonic() > self._stalls_at_s:
            stall_s, self._stall_s = self._stall_s, 0.0
            time.sleep(stall_s)
        return self._inner.commit(ticks, through, final=final)


def _measure(effort: Effort) -> Sequence[Row]:
    stall_s = 10 if effort.quick else 60
    query = Query("stalled-sink")
    source = sources.generator(keys=100_000, count=_RECORDS_PER_S * 2 * _AROUND_S, rate=f"{_RECORDS_PER_S}/s")
    query.source(source).key_by(lambda record: record["key"]).count(emit="tick").sink(StallingSink(stall_s))
    report = run(query, memory=f"{_MEMORY_MIB}MiB", stall_after="off")
    return [limit_row("stalled_sink_memory", report.peak_memory_bytes.worker / 2**20, "MiB", at_most=_MEMORY_MIB)]


MEASUREMENT = Measurement("stalled_sink_memory", "largest worker while a sink stands still for a minute", _measure)
