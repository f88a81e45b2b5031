"""A source that is much faster than the sink: the largest worker has to stay under its memory setting."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks import data
from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.wordcount import lines_for
from benchmarks.runtime import WORKERS, run
from elastic import Query, sinks, sources

_MEMORY_MIB = 512
_LINES_PER_S = 250_000  # of one sink; in 30 s more than the setting allows to be kept: 100 bytes a line and more


def _measure(effort: Effort) -> Sequence[Row]:
    seconds, lines = 6 if effort.quick else 30, lines_for(effort)
    repeat = math.ceil(seconds * WORKERS * _LINES_PER_S / lines)
    query = Query("slow-sink")
    text = sources.text_files(data.text_file(lines), repeat=repeat)
    query.source(text).sink(sinks.discard(rate=f"{_LINES_PER_S}/s"))
    report = run(query, memory=f"{_MEMORY_MIB}MiB")
    return [limit_row("slow_sink_memory", report.peak_memory_bytes.worker / 2**20, "MiB", at_most=_MEMORY_MIB)]


MEASUREMENT = Measurement("slow_sink_memory", "largest worker while a slow sink holds a fast source back", _measure)
