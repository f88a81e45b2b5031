"""Counts of records that were skipped or diverted: each record once, whatever was replayed, restored or split."""

from __future__ import annotations

from typing import Any

from elastic import Query, sinks, sources
from elastic.keys import KeyInterval
from elastic.plan import Plan
from elastic.report import FailedRecords
from elastic.server.failures import FailureCounts
from elastic.state.checkpoint import Checkpoint, fold_checkpoint, join_checkpoints, partition_checkpoint
from elastic.wire.control import WorkerReport

PLACES = {1: ("in", 0), 2: ("in", 0), 3: ("count", 0), 4: ("count", 0)}


def plan() -> Plan:
    query = Query("q")
    query.source(sources.from_list([1]), name="in").key_by().count().sink(sinks.discard())
    return query.plan()


def failed(where: str, skipped: int = 0, diverted: int = 0) -> FailedRecords:
    return FailedRecords(where, skipped, diverted, f"example of {where}")


def report(*failures: tuple[int, int, int, FailedRecords]) -> WorkerReport:
    return WorkerReport(0, 0.0, (), (), (), (), 0, failures=failures)


def told(counts: FailureCounts, present: Any = PLACES) -> dict[str, tuple[int, int]]:
    return {f.where: (f.skipped, f.diverted) for f in counts.total(present)}


def test_what_a_source_reads_again_counts_once_for_each_partition() -> None:
    counts = FailureCounts(plan())

    counts.report(
        report((1, 5, 0, failed("map(f)", 1)), (1, 5, 0, failed("map(g)", 2)), (1, 7, 0, failed("map(f)", 1))), PLACES
    )
    counts.report(
        report((2, 5, 0, failed("map(f)", 1)), (2, 7, 0, failed("map(f)", 1)), (2, 9, 0, failed("map(f)", 1))), PLACES
    )
    counts.report(report((2, 6, 64, failed("map(f)", 4))), PLACES)

    assert told(counts) == {"map(f)": (7, 0), "map(g)": (2, 0)}


def test_counts_of_an_instance_that_was_replaced_are_those_of_its_successor() -> None:
    counts = FailureCounts(plan())
    counts.report(report((3, 10, 0, failed("count", diverted=8))), PLACES)
    assert told(counts) == {"count": (0, 8)}

    counts.report(report((4, 6, 0, failed("count", diverted=5))), PLACES)

    assert told(counts, {4: None}) == {"count": (0, 5)}


def test_an_operator_is_told_of_once_with_an_example() -> None:
    counts = FailureCounts(plan())

    assert counts.report(report((1, 5, 0, failed("map(f)", 1))), PLACES) == [failed("map(f)", 1)]
    assert counts.report(report((1, 6, 0, failed("map(f)", 1)), (9, 1, 0, failed("map(g)", 1))), PLACES) == [
        failed("map(g)", 1)
    ]


def test_counts_travel_with_checkpoints() -> None:
    first = Checkpoint(5, None, None, {}, failures=(failed("op", 1),), taken_in=20)
    second = Checkpoint(8, 5, None, {}, failures=(failed("op", 3), failed("map(f)", 0, 2)), taken_in=30)

    whole = fold_checkpoint(first, [second])
    parts = partition_checkpoint(whole, [KeyInterval(0, 100), KeyInterval(100, 256)])

    assert whole.failures == second.failures
    assert [part.failures for part in parts] == [second.failures, ()]
    assert [part.taken_in for part in parts] == [30, 0]
    other = Checkpoint(8, None, None, {}, failures=(failed("op", 4),), taken_in=12)
    assert join_checkpoints([parts[0], other]).taken_in == 42
    assert {f.where: (f.skipped, f.diverted) for f in join_checkpoints([parts[0], other]).failures} == {
        "op": (7, 0), "map(f)": (0, 2),
    }  # fmt: skip
