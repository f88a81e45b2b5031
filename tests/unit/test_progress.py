"""Progress: what share of the input was read, where it is known how much there is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastic import Query, sinks, sources
from elastic.connectors.base import Source
from elastic.coordinator.events import Record
from elastic.coordinator.membership import Membership
from elastic.plan import Plan
from elastic.server.figures import Figures
from elastic.server.intake import Intake
from elastic.server.latency import LatencyTracker
from elastic.wire.control import WorkerReport


def plan(*given: Source) -> Plan:
    query = Query("job")
    for source in given:
        query.source(source).sink(sinks.discard())
    return query.plan(workers=2)


def figures(of: Plan) -> Figures:
    return Figures(of, Membership(of), of.tick_zero_s, LatencyTracker(of, []))


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ([sources.generator(count=1000)], 16_000),
        ([sources.generator(count=1000), sources.generator(count=10)], 16_160),
        ([sources.generator()], None),
        ([sources.generator(count=1000), sources.tcp_lines("localhost", 1)], None),
    ],
)
def test_the_input_is_as_large_as_all_sources_say_if_all_of_them_know(given: list[Source], known: int | None) -> None:
    assert Intake.of(plan(*given)).whole_bytes == known


def test_progress_tells_the_share_of_the_input_that_was_read() -> None:
    found = figures(plan(sources.generator(count=1000)))

    found.report(WorkerReport(0, 1.0, (), ((1, 0, 1, 1.0, 250, 4_000),), (), (), 0))

    assert found.progress(1.0, finished=False).done == 0.25


def test_a_resumed_run_knows_no_share_since_it_has_read_only_the_rest() -> None:
    found = figures(replace(plan(sources.generator(count=1000)), tick_zero_s=1.0, since_s=9.0))

    assert found.progress(10.0, finished=False).done is None


def test_what_happens_before_tick_0_is_told_as_at_0() -> None:
    early, late = figures(plan(sources.generator())), figures(replace(plan(sources.generator()), tick_zero_s=1_000.0))

    for found in (early, late):
        found.record(Record("warning", worker=0, cause="a worker ended before it joined"), 999.0)

    assert [e.at_s for found in (early, late) for e in found.events] == [0.0, 0.0]
