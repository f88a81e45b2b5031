"""Latency: from the read of a record to the commit of the tick that shows it, by records."""

from __future__ import annotations

import pytest

from elastic import Query, sinks, sources
from elastic.plan import Plan, Settings
from elastic.server.latency import LatencyHistogram, LatencyTracker, visible_tick

SINK = ("discard", 0)


def plan(*emits: str, workers: int = 1) -> Plan:
    query = Query("job")
    stream = query.source(sources.from_list([1]))
    for emit in emits:
        stream = stream.key_by().count(emit=emit)
    stream.sink(sinks.discard())
    return query.plan(workers=workers, settings=Settings(tick_ms=10))


def tracker(*emits: str) -> LatencyTracker:
    return LatencyTracker(plan(*emits), [SINK])


@pytest.mark.parametrize(
    ("emits", "tick", "visible"),
    [
        ((), 7, 7), (("tick",), 7, 7), (("end",), 7, 7), (("1s",), 7, 100), (("1s",), 100, 100),
        (("1s",), 101, 200), (("50ms", "1s"), 3, 100), (("1s", "50ms"), 99, 100), (("70ms", "50ms"), 1, 10),
    ],
)  # fmt: skip
def test_a_record_is_visible_when_the_last_period_on_its_way_is_over(
    emits: tuple[str, ...], tick: int, visible: int
) -> None:
    assert visible_tick(plan(*emits))(tick) == visible


def test_latency_counts_from_the_read_to_the_commit_of_the_visible_tick() -> None:
    found = tracker("1s")
    found.read(7, 0.07, 10)
    found.read(93, 0.93, 30)

    found.settle(SINK, 99, 1.0)
    found.advance(1.0)
    assert found.histogram.percentiles().max is None
    found.settle(SINK, 100, 1.03)
    found.advance(1.03)

    times = found.histogram.percentiles()
    assert times.max == pytest.approx(960)
    assert times.p50 == pytest.approx(100, rel=0.02)


def test_a_stream_that_ends_within_a_period_shows_at_its_end_what_it_read() -> None:
    found = tracker("1s")
    found.read(7, 0.07, 10)
    found.end(12)

    found.settle(SINK, 12, 0.15)
    found.advance(0.2)

    assert found.histogram.percentiles().max == pytest.approx(80)


def test_a_record_is_committed_when_the_last_sink_has_it() -> None:
    others = [("discard", 0), ("discard", 1)]
    found = LatencyTracker(plan(), others)
    found.read(5, 0.05, 1)

    found.settle(others[0], 6, 0.07)
    found.advance(0.08)
    assert found.histogram.percentiles().max is None
    assert found.frontier == 0
    found.settle(others[1], 5, 0.1)
    found.advance(0.2)

    assert found.histogram.percentiles().max == pytest.approx(50)
    assert found.lag_s(0.2) == pytest.approx(0.15)


def test_reads_that_come_in_any_order_count_alike() -> None:
    found = tracker()
    for tick in (3, 1, 2):
        found.read(tick, tick / 100, 1)

    for tick in (1, 2, 3):
        found.settle(SINK, tick, tick / 100 + 0.02)
    found.advance(1.0)

    times = found.histogram.percentiles()
    assert times.p50 == times.max == pytest.approx(20)


def test_percentiles_are_weighted_and_exact_to_two_percent() -> None:
    histogram = LatencyHistogram()

    histogram.add([1.0, 10.0, 500.0, -1.0], [50, 44, 5, 1])

    found = histogram.percentiles()
    assert found.p50 == pytest.approx(1, rel=0.02)
    assert found.p95 == pytest.approx(10, rel=0.02)
    assert found.p99 == found.max == 500.0


def test_the_lag_that_is_told_is_the_largest_of_the_last_second() -> None:
    found = tracker()

    for tick in range(2, 92, 4):
        found.settle(SINK, tick, tick / 100 + 0.01)
    found.settle(SINK, 99, 1.6)  # it takes long to write what comes then
    found.settle(SINK, 161, 1.62)
    found.advance(1.63)
    assert found.lag_s(1.8) == pytest.approx(0.7)

    for tick in range(165, 290, 4):
        found.settle(SINK, tick, tick / 100 + 0.01)
    found.advance(2.9)
    assert found.lag_s(2.9) == pytest.approx(0.05)


def test_lag_grows_while_a_worker_that_is_to_settle_says_nothing() -> None:
    found = tracker()
    found.settle(SINK, 100, 1.02)
    found.advance(1.1)

    assert found.lag_s(6.0) == pytest.approx(3.5)


def test_nothing_lags_behind_where_nothing_was_read() -> None:
    found = tracker()
    found.read(10, 0.1, 5)
    found.settle(SINK, 10, 0.13)
    found.settle(SINK, 60, 0.63)  # idle: a tick is closed twice a second
    found.settle(SINK, 110, 1.13)
    found.read(111, 1.11, 1)
    found.read(161, 1.61, 1)
    found.settle(SINK, 161, 1.9)
    found.advance(2.0)

    at_s, before_s, after_s = zip(*found.peaks, strict=True)
    assert at_s == pytest.approx((0.13, 0.63, 1.13, 1.9))
    assert before_s == pytest.approx((0.13, 0.03, 0.03, 0.8))
    assert after_s == pytest.approx((0.03, 0.03, 0.03, 0.29))
