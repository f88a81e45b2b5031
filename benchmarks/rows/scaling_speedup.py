"""A user's operator that computes 20 µs for each record, on one worker and on four: what the further ones are worth."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from benchmarks.result import Effort, Measurement, Row, ratio_row
from benchmarks.runtime import run
from elastic import Context, Operator, Query, ValueState, sinks, sources
from elastic.functions import field

COMPUTED_S = 20e-6
KEYS = 10_000


class Computing(Operator):
    """Counts a key's records after so many rounds of arithmetic."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        """Compute, and emit the count."""
        compute(self.rounds)
        count = (state.get() or 0) + 1
        state.set(count)
        yield key, count


def compute(rounds: int) -> int:
    """Work that no clock is asked for, so that who is kept from the processor is kept from the work too."""
    x = 1
    for _ in range(rounds):
        x = x * 5 % 7
    return x


@cache
def _rounds() -> int:
    """So many rounds take 20 µs here, while nobody else is at work."""
    rounds, best_s = 1_000, 1.0
    for _ in range(200):
        began = time.perf_counter()
        compute(rounds)
        best_s = min(best_s, time.perf_counter() - began)
    return max(1, round(rounds * COMPUTED_S / best_s))


def _records_per_s(workers: int, effort: Effort) -> float:
    records = int(workers * effort.timed_s / COMPUTED_S * 0.8)
    query = Query("speedup")
    numbers = query.source(sources.generator(keys=KEYS, distribution="uniform", count=records))
    numbers.key_by(field("key")).apply(Computing(_rounds()), name="computing").sink(sinks.discard())
    report = run(query, workers=workers)
    return records / report.wall_s


def _plain_per_s(processes: int, rounds: int, seconds: float) -> float:
    """The same computation in plain processes that have nothing else to do: what the machine itself gives."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.starmap(_computed_per_s, [(rounds, seconds)] * processes, chunksize=1))


def _computed_per_s(rounds: int, seconds: float) -> float:
    began, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < seconds:
        for _ in range(100):
            compute(rounds)
        done += 100
    return done / passed


def _measure(effort: Effort) -> Sequence[Row]:
    """Plain processes and the job in turns; the best of each, since what else the host does only ever takes away."""
    rounds, seconds = _rounds(), effort.timed_s / 5
    measured = [
        (
            _plain_per_s(1, rounds, seconds), _records_per_s(1, effort),
            _plain_per_s(4, rounds, seconds), _records_per_s(4, effort),
        )
        for _ in range(effort.rounds)
    ]  # fmt: skip
    plain_one, one, plain_four, four = (max(each) / 1e3 for each in zip(*measured, strict=True))
    unit = "k records/s"
    return [
        ratio_row("scaling_speedup", four, unit, one, at_least=3.2),
        Row("plain_speedup", plain_four, unit, plain_one, plain_four / plain_one, None, None),
        Row("scaling_of_plain", four, unit, plain_four, four / plain_four, None, None),
    ]


MEASUREMENT = Measurement("scaling_speedup", "four instances by one, of an operator that computes 20 µs", _measure)
