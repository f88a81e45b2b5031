"""Windows and event time as they are written: what is refused, what results look like, where late rows go."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic import Operator, Query, sinks, sources, windows
from elastic.batch import sorted_batch
from elastic.errors import QueryError, UserCodeError
from elastic.functions import field
from elastic.keys import KeyInterval, groups_of
from elastic.operators.base import ProcessorContext, TickInput
from elastic.operators.failure import Failures
from elastic.operators.steps import Flow, stepped
from elastic.operators.timestamps import Timestamps, Unit, seconds, time_of, times_of
from elastic.operators.windowed import Aggregation, Timing
from elastic.operators.windowing import Windowing
from elastic.plan import Settings, Step
from elastic.streams import KeyedStream, Stream
from elastic.testing.simulator import simulate
from elastic.units import UnitError

SMALL = Settings(tick_ms=10, checkpoint_ms=60, key_groups=16)
CLICKS = [{"user": "ann", "at": 10 * n, "page": n} for n in range(6)]


def results(build: Callable[[Stream], Stream], records: list[Any] = CLICKS, workers: int = 2) -> list[Any]:
    """What a sink gets, tick by tick."""
    query = Query("q")
    build(query.source(sources.from_list(records, rate="100/s"))).sink(sinks.discard(), name="K")
    result = simulate(query, 0, workers=workers, faults=0, settings=SMALL)
    assert (result.status, result.wrong, result.error) == ("done", None, None)
    return [row for _, tick in sorted(result.sinks["K"].items()) for row in tick]


def timed(stream: Stream) -> Stream:
    return stream.event_time(field("at"), slack="5s")


def keyed(stream: Stream) -> KeyedStream:
    return timed(stream).key_by(field("user"))


def test_a_result_carries_its_key_window_and_value() -> None:
    found = results(lambda s: keyed(s).window(windows.tumbling("30s")).count())

    assert found == [
        {"key": "ann", "start": 0.0, "end": 30.0, "value": 3},
        {"key": "ann", "start": 30.0, "end": 60.0, "value": 3},
    ]


@pytest.mark.parametrize("lateness", ["0s", "1h"])
def test_a_row_of_another_century_costs_its_own_windows_and_not_all_between(lateness: str) -> None:
    times = [-3e9, 1.7e9, *(1.7e9 + n for n in range(30, 36)), 1.7e9 + 5, 4e9]

    found = results(
        lambda s: keyed(s).window(windows.sliding("100ms", "50ms"), lateness=lateness).count(),
        [{"user": "ann", "at": at} for at in times],
    )

    in_time = [at for at in times if at != 1.7e9 + 5 or lateness == "1h"]
    expected = [start for at in in_time for start in (at - 0.05, at)]
    assert sorted((row["start"], row["value"]) for row in found) == [(start, 1) for start in sorted(expected)]


def test_a_session_lasts_until_nothing_has_come_for_the_gap() -> None:
    records = [{"user": "ann", "at": at} for at in (0, 3, 6, 20, 22)]

    found = results(lambda s: keyed(s).window(windows.session("5s")).count(), records)

    assert [(row["start"], row["end"], row["value"]) for row in found] == [(0.0, 11.0, 3), (20.0, 27.0, 2)]


def test_a_function_of_one_s_own_is_given_key_values_and_window() -> None:
    def pages(key: str, values: list[Any], window: windows.Window) -> list[Any]:
        return [(key, window.start, [value["page"] for value in values])]

    assert results(lambda s: keyed(s).window(windows.tumbling("30s")).apply(pages)) == [
        ("ann", 0.0, [0, 1, 2]),
        ("ann", 30.0, [3, 4, 5]),
    ]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("inner", [(1, "x")]), ("left", [(0, None), (1, "x")]), ("outer", [(0, None), (1, "x"), (None, "y")])],
)
def test_a_join_pairs_rows_of_one_key_and_window(how: Any, expected: list[Any]) -> None:
    records = [("L", 5, 0), ("L", 15, 1), ("R", 16, "x"), ("R", 26, "y")]

    def joined(stream: Stream) -> Stream:
        rows = stream.event_time(field(1), slack="100s")
        left, right = (rows.filter(Side(side)).key_by(lambda row: 0) for side in "LR")
        return left.window(windows.tumbling("10s")).join(right, lambda a, b: (a and a[2], b and b[2]), how=how)

    assert [row["value"] for row in results(joined, records)] == expected


class Side:
    def __init__(self, side: str) -> None:
        self.side = side

    def __call__(self, row: Any) -> bool:
        return bool(row[0] == self.side)


LATE = [{"user": "ann", "at": at} for at in (0, 50, 100, 3, 99)]


def test_a_late_row_is_on_an_output_of_its_own_with_its_time_and_how_late_it_is() -> None:
    (row,) = results(lambda s: keyed(s).window(windows.tumbling("10s")).count().output("late"), LATE, workers=1)

    assert row == {"key": "ann", "value": {"user": "ann", "at": 3}, "time": 3.0, "late_by": 92.0}


def test_a_late_row_is_given_as_it_was_and_not_as_it_would_have_been_added_up() -> None:
    rows = [{**row, "ms": 7} for row in LATE]

    (row,) = results(lambda s: keyed(s).window(windows.tumbling("10s")).sum(field("ms")).output("late"), rows, 1)

    assert row["value"] == {"user": "ann", "at": 3, "ms": 7}


MIXED = [
    {"user": user, "at": at, "ms": ms}
    for user, at, ms in [
        ("ann", 1, 5), ("ann", 2, "slow"), ("ann", 3, 6), ("bob", 4, None), ("ann", 31, 1), ("bob", 32, 2),
        ("cid", 33, "no"), ("ann", 65, 1), ("cid", 66, 3),
    ]
]  # fmt: skip


@pytest.mark.parametrize("spec", [windows.tumbling("30s"), windows.session("20s"), windows.sliding("30s", every="30s")])
@pytest.mark.parametrize("by_function", [False, True])
def test_rows_that_cannot_be_added_up_are_diverted_from_windows_with_their_times(
    spec: Any, *, by_function: bool
) -> None:
    def number(row: Any) -> int:
        return row["ms"] + 0 if by_function else row["ms"]  # type: ignore[no-any-return]

    def good(stream: Stream) -> Stream:
        sums = keyed(stream).window(spec).sum(number, on_error="divert")
        sums.output("errors").sink(sinks.discard(), name="bad")
        return sums

    def bad(stream: Stream) -> Stream:
        sums = keyed(stream).window(spec).sum(number, on_error="divert")
        sums.sink(sinks.discard(), name="good")
        told = sums.output("errors").map(lambda row: (row["key"], row["record"]["at"], row["operator"]))
        return (
            told.key_by(field(0))
            .window(windows.tumbling("30s"))
            .apply(lambda key, rows, window: [(key, window.start, row) for row in rows])
        )

    sums = sorted((row["key"], row["start"] // 30, row["value"]) for row in results(good, MIXED))
    assert sums == [
        ("ann", 0, 11), ("ann", 1, 1), ("ann", 2, 1), ("bob", 1, 2), ("cid", 2, 3),
    ]  # fmt: skip
    assert sorted(results(bad, MIXED)) == [
        ("ann", 0.0, ("ann", 2, "sum")), ("bob", 0.0, ("bob", 4, "sum")), ("cid", 30.0, ("cid", 33, "sum")),
    ]  # fmt: skip


def test_a_row_that_fails_in_a_step_keeps_its_event_time() -> None:
    def wrong_per_window(stream: Stream) -> Stream:
        mapped = timed(stream).map(lambda row: row["ms"] + 0, on_error="divert")
        mapped.sink(sinks.discard(), name="good")
        return mapped.output("errors").key_by(lambda row: "all").window(windows.tumbling("30s")).count()

    found = [(row["start"], row["value"]) for row in results(wrong_per_window, MIXED)]

    assert found == [(0.0, 2), (30.0, 1)]


class Sorted(Operator):
    """Emits rows without a number on an output of their own."""

    outputs = ("odd",)

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> list[Any]:
        if isinstance(value["ms"], int):
            return [(key, value["ms"])]
        ctx.emit("odd", (key, value["at"]))
        return []


def test_rows_on_a_named_output_have_the_event_time_of_the_row_that_emitted_them() -> None:
    def odd(stream: Stream) -> Stream:
        applied = keyed(stream).apply(Sorted())
        applied.sink(sinks.discard(), name="good")
        return applied.output("odd").key_by(field(0)).window(windows.tumbling("30s")).count()

    found = sorted((row["key"], row["start"], row["value"]) for row in results(odd, MIXED))

    assert found == [("ann", 0.0, 1), ("bob", 0.0, 1), ("cid", 30.0, 1)]


@pytest.mark.parametrize("names", [{"main"}, {"main", "late"}])
def test_late_rows_are_counted_whether_or_not_they_are_read(names: set[str]) -> None:
    failures, read = Failures(), "late" in names
    context = ProcessorContext(
        "w", KeyInterval(0, 16), 16, 10, 0.0, 7, frozenset(names), event_time=True, failures=failures
    )
    windowing = Windowing(windows.tumbling("10s"), Aggregation("count"), Timing(by_event_time=True))
    keys, times = ["ann"], np.array([3_000_000])
    batch = sorted_batch(groups_of(keys, 16), keys, pa.array([2]), partial=not read, times=times)

    outputs = windowing.make(context).process(TickInput(7, [(0, batch)], watermark_us=10**8, before_us=10**8))

    (found,) = failures.found()
    assert (found.where, found.skipped, found.diverted) == ("w: late", *((0, 1) if read else (2, 0)))
    assert found.example == "event time 3.0 of key 'ann', when event time had come to 100.0"
    assert [output.name for output in outputs] == ["late"] * read


def test_a_row_within_the_allowed_lateness_changes_a_result_that_is_emitted_again() -> None:
    found = results(lambda s: keyed(s).window(windows.tumbling("10s"), lateness="2m").count(), LATE, workers=1)

    assert [(row["start"], row["value"]) for row in found] == [(0.0, 1), (50.0, 1), (0.0, 2), (90.0, 1), (100.0, 1)]


def twice(counts: Stream) -> Stream:
    return counts.key_by(field("key")).window(windows.tumbling("30s")).count()


def test_results_have_an_event_time_so_windows_of_windows_work() -> None:
    found = results(
        lambda s: (
            keyed(s)
            .window(windows.tumbling("10s"))
            .count()
            .key_by(field("key"))
            .window(windows.tumbling("30s"))
            .count()
        )
    )

    assert [(row["start"], row["value"]) for row in found] == [(0.0, 3), (30.0, 3)]


def test_rows_whose_time_cannot_be_read_end_the_job_or_are_left_out() -> None:
    records = [{"at": 5}, {"at": "soon"}, {"at": None}]

    def job(stream: Stream, unreadable: Any) -> Stream:
        return stream.event_time(field("at"), on_error=unreadable).map(field("at"))

    assert results(lambda s: job(s, "skip"), records) == [5]
    query = Query("q")
    job(query.source(sources.from_list(records)), "fail").sink(sinks.discard())
    error = simulate(query, 0, workers=1, faults=0, settings=SMALL).error or ""
    assert "event_time(field('at'))" in error
    assert "record {'at': 'soon'}" in error
    assert "'soon' is not a time; text is ISO 8601" in error


NOON = 1_704_110_400


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (NOON, "s"),
        (float(NOON), "s"),
        (NOON * 1000, "ms"),
        (NOON * 10**6, "us"),
        (NOON * 10**9, "ns"),
        ("2024-01-01T12:00:00Z", "s"),
        ("2024-01-01 13:00:00+01:00", "s"),
        ("2024-01-01T12:00:00", "s"),
        (dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), "s"),
        (dt.datetime(2024, 1, 1, 12), "s"),  # noqa: DTZ001 (what it is taken for is the point)
    ],
)
def test_a_time_is_the_same_in_every_form_and_in_a_column(value: Any, unit: Unit) -> None:
    column = times_of(pa.array([value, value]), unit)

    assert time_of(value, unit) == NOON * 10**6
    assert column is not None
    assert column.tolist() == [NOON * 10**6] * 2
    assert seconds(NOON * 10**6) == NOON


@pytest.mark.parametrize("value", [math.nan, math.inf, True, None, "yesterday", [], 1e300, b"2024", NOON * 1000, -1e12])
def test_what_is_no_time_is_none_in_a_column_either(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        time_of(value, "s")
    try:
        column = pa.array([value])
    except pa.ArrowInvalid:
        return
    assert times_of(column, "s") is None


@pytest.mark.parametrize(
    ("value", "unit", "right"), [(NOON * 1000, "s", "ms"), (NOON * 1e6, "s", "us"), (NOON * 10**9, "us", "ns")]
)
def test_a_number_of_another_unit_is_refused_with_the_unit_that_would_fit(value: float, unit: Unit, right: str) -> None:
    with pytest.raises(
        ValueError, match=f"taken for {unit}, lies beyond the year 9999; taken for {right}, it lies in 2024"
    ):
        time_of(value, unit)


def test_marks_are_the_latest_times_of_the_partitions() -> None:
    step = Step("event_time", "event_time", Timestamps(field("at"), "s", is_origin=True), 0)
    flow = Flow([{"at": at} for at in (3, 9, 5, 7)], np.array([0, 0, 8, 8], np.uint16))

    assert stepped(step, flow, 1).marks == ((0, 9_000_000), (8, 7_000_000))
    with pytest.raises(UserCodeError, match="'x' is not a time"):
        stepped(step, Flow([{"at": "x"}], np.zeros(1, np.uint16)), 1)


def stream() -> Any:
    return Query("q").source(sources.from_list(CLICKS))


def some_keyed() -> Any:
    return keyed(stream())


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: stream().key_by().window("1m"), "window\\(\\) takes one of elastic.windows"),
    (lambda: stream().key_by().window(windows.tumbling("1m"), lateness="5s"), "by processing time no row is late"),
    (lambda: stream().key_by().window(windows.tumbling("1m"), time="event"), "have none; write .event_time"),
    (lambda: stream().key_by().window(windows.tumbling("1m"), time="evnt"), "write time='event'"),
    (lambda: some_keyed().window(windows.tumbling("1m"), lateness="5"), "lateness='5'.*is not a duration"),
    (lambda: some_keyed().count().key_by().window(windows.tumbling("1m")), "those of 'count' have none"),
    (lambda: some_keyed().window(windows.session("1m")).aggregate(list, lambda a, b: a), "give it merge="),
    (lambda: some_keyed().window(windows.session("1m")).apply(len), "called with a key, its values and the window"),
    (lambda: some_keyed().window(windows.session("1m")).join(stream()), "takes a KeyedStream"),
    (lambda: stream().window(windows.tumbling("1m")), "window\\(\\) works per key, and this stream has none"),
    (lambda: some_keyed().window(windows.tumbling("1m")).sink(sinks.stdout()), "does not follow window\\(\\)"),
    (lambda: stream().event_time("at"), "event_time\\(\\) takes a function"),
    (lambda: stream().event_time(field("at"), slack="5"), "slack='5'.*write slack='5s'"),
    (lambda: stream().event_time(field("at"), idle="0s"), "nobody would be waited for"),
    (lambda: stream().event_time(field("at"), unit="sec"), "write one of 's', 'ms', 'us', 'ns'"),
    (lambda: stream().event_time(field("at"), on_error="drop"), "on_error"),
    (lambda: stream().key_by().count().event_time(field(0)), "begins behind a source"),
    (lambda: some_keyed().count().event_time(field(0), slack="1s"), "slack and idle belong to"),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG)
def test_a_mistake_is_refused_at_the_line_that_makes_it(wrong: Callable[[], Any], says: str) -> None:
    with pytest.raises(QueryError, match=rf"test_windows.py:\d+: .*{says}"):
        wrong()


def test_windows_that_cannot_be_are_refused() -> None:
    for wrong in (lambda: windows.tumbling("0s"), lambda: windows.session("0s"), lambda: windows.tumbling("5")):
        with pytest.raises(UnitError):
            wrong()
    with pytest.raises(UnitError, match="no row falls between two windows"):
        windows.sliding("1m", "2m")
    assert [str(w) for w in (windows.tumbling("90s"), windows.sliding("1m", "500ms"), windows.session("2h"))] == [
        "tumbling 90s", "sliding 1m every 500ms", "session 2h"
    ]  # fmt: skip


def test_the_days_of_a_place_begin_at_its_midnight() -> None:
    records = [{"user": "ann", "at": at} for at in ("2024-01-01T21:59:59Z", "2024-01-01T22:00:00Z")]

    found = results(lambda s: keyed(s).window(windows.tumbling("24h", offset="22h")).count(), records)

    assert [row["end"] - NOON for row in found] == [10 * 3600, 34 * 3600]
