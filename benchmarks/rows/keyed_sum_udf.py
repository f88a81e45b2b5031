"""A running sum per key in Python: one lambda parses each record, another adds it; 100 k keys, emitted each second."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmarks import data, expected
from benchmarks.kernels import RunningSum
from benchmarks.limit import Input, run_keyed
from benchmarks.recording import RecordingDiscard
from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.runtime import check, repeats, run, scratch
from elastic import Query, sources
from elastic.functions import field

RECORDS = 10_000_000
QUICK_RECORDS = 2_000_000


@cache
def _sums(records: int) -> dict[str, int]:
    return expected.key_sums(data.keyed_file(records))


def _limit(records: int, repeat: int) -> float:
    def job() -> RunningSum:
        return RunningSum(lambda line: (line[:6], int(line[7:])), lambda total, value: total + value)

    outcome = run_keyed(job, Input(data.keyed_file(records), repeat))
    check(expected.difference(outcome.merged(), _sums(records), repeat))
    return records * repeat / outcome.seconds


def _runtime(records: int, repeat: int) -> float:
    with scratch() as directory:
        sink = RecordingDiscard(directory)
        query = Query("keyed-sum")
        (
            query.source(sources.text_files(data.keyed_file(records), repeat=repeat))
            .map(lambda line: (line[:6], int(line[7:])))
            .key_by(field(0))
            .reduce(lambda total, value: total + value, field(1), emit="1s")
            .sink(sink)
        )
        report = run(query)
        check(expected.difference(sink.last_values(), _sums(records), repeat))
    return records * repeat / report.wall_s


def _measure(effort: Effort) -> Sequence[Row]:
    records = QUICK_RECORDS if effort.quick else RECORDS
    repeat = repeats(effort.timed_s, lambda: records / _limit(records, 1))
    value, limit = in_turns(effort.rounds, lambda: _runtime(records, repeat), lambda: _limit(records, repeat))
    return [ratio_row("keyed_sum_udf", value / 1e6, "M records/s", limit / 1e6, at_least=0.7)]


MEASUREMENT = Measurement("keyed_sum_udf", "running sum with Python lambdas, by plain Python processes", _measure)
