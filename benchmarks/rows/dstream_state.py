"""A state of a million keys of which 10 k change in each interval of a second, against one of these 10 k keys alone."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.recording import RecordingDiscard
from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.large_state import KeysAgain
from benchmarks.runtime import check, scratch
from benchmarks.streams import stream
from dstream import StreamingContext

KEYS, CHANGED_PER_S = 1_000_000, 10_000
LOADED = 5
"""In intervals before this one the state comes into being."""


def _processing_ms(keys: int, seconds: int) -> float:
    """The mean over intervals, those with a checkpoint among them."""
    with scratch() as directory:
        sink = RecordingDiscard(directory)

        def build(context: StreamingContext) -> None:
            numbers = context.source(KeysAgain(keys, LOADED + seconds, CHANGED_PER_S))
            numbers.map(str).count_by_value().running_reduce(operator.add, name="count").save(sink)

        outcome = stream(build)
        found = sink.last_values()
        counts = np.array(list(found.values()))
        total = keys + CHANGED_PER_S * (LOADED + seconds)
        right = len(found) == keys and counts.sum() == total and counts.max() - counts.min() <= 1
        check(None if right else f"{len(found)} keys that sum up to {counts.sum()}, expected {keys} and {total}")
    return statistics.mean(outcome.figures("processing_ms", since=LOADED + 1))


def _measure(effort: Effort) -> Sequence[Row]:
    seconds = 5 if effort.quick else 20
    small, large = _processing_ms(CHANGED_PER_S, seconds), _processing_ms(KEYS, seconds)
    return [limit_row("dstream_large_state", large / small, "x processing time", at_most=3.0)]


MEASUREMENT = Measurement("dstream_state", "state of 1 M keys with 10 k changed, by one of 10 k keys", _measure)
