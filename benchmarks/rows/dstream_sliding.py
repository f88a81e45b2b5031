"""WordCount over a sliding window of 30 s, kept up each second by what enters and leaves it, and its top ten."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from benchmarks import data
from benchmarks.result import Effort, Measurement, Row, ratio_row
from benchmarks.rows.wordcount import expected_counts, limit_words_per_s, once_s
from benchmarks.runtime import repeats
from benchmarks.streams import LINES, stream
from dstream import StreamingContext
from elastic import sinks, sources
from elastic.functions import split

PLACES = 10
LINES_PER_S = 1_000_000
"""Of runs at a fixed rate."""


def sliding(context: StreamingContext, window: str, slide: str, *, repeat: int = 1, rate: str | None = None) -> None:
    """The job: counts of a window at every slide, and the first places of them."""
    text = context.source(sources.text_files(data.text_file(LINES), repeat=repeat, rate=rate))
    counts = text.flat_map(split()).count_by_value_and_window(window, slide)
    counts.save(sinks.discard(), name="counts")
    counts.map_partitions(_first).reduce(_of_both).save(sinks.discard(), name="top")


def _first(pairs: Iterable[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    return [heapq.nlargest(PLACES, pairs, key=itemgetter(1))]


def _of_both(one: list[Any], other: list[Any]) -> list[Any]:
    return heapq.nlargest(PLACES, one + other, key=itemgetter(1))


def _words_per_s(repeat: int) -> float:
    report = stream(lambda context: sliding(context, "30s", "1s", repeat=repeat)).report
    return sum(expected_counts().values()) * repeat / report.wall_s


def _checked() -> None:
    """The same job in short, with windows that are left as well as entered, held against a run in one process."""
    stream(partial(sliding, window="600ms", slide="100ms", rate=f"{LINES_PER_S}/s"), "100ms", verify=True)


def _measure(effort: Effort) -> Sequence[Row]:
    _checked()
    seconds = effort.timed_s if effort.quick else 45.0  # so that the window is left too
    limit = limit_words_per_s(repeats(effort.timed_s, once_s))
    value = _words_per_s(repeats(seconds, once_s))
    return [ratio_row("dstream_sliding", value / 1e6, "M words/s", limit / 1e6, at_least=0.5)]


MEASUREMENT = Measurement("dstream_sliding", "WordCount of a sliding window and its top ten, by the limit", _measure)
