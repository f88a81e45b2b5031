"""What is put together of workers' reports: each record once, the most memory, the oldest checkpoint."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from elastic import Query, sinks, sources
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.keys import KeyInterval
from elastic.protocol import Finished
from elastic.report import PeakMemory
from elastic.server.checkpoints import CheckpointFigures
from elastic.server.footprint import Footprint
from elastic.server.intake import Intake
from elastic.server.work import Work
from elastic.wire.control import InstanceStats, WorkerReport

PLACES = {1: ("lines", 0), 7: ("lines", 0)}


def report(worker: int = 0, at_s: float = 1.0, *, memory: int = 0, **more: Any) -> WorkerReport:
    empty: dict[str, Any] = {"instances": (), "reads": (), "settles": (), "checkpoints": ()}
    return WorkerReport(worker, at_s, **(empty | more), rss_bytes=memory)


def test_what_a_successor_reads_again_is_not_counted_again() -> None:
    intake = Intake(whole_bytes=400)

    first = list(intake.add(report(reads=((1, 0, 1, 0.1, 5, 50), (1, 0, 2, 0.2, 5, 50))), PLACES))
    again = list(intake.add(report(reads=((7, 0, 2, 0.2, 5, 50), (7, 0, 3, 0.3, 10, 100))), PLACES))

    assert (first, again) == ([(1, 0.1, 5), (2, 0.2, 5)], [(3, 0.3, 10)])
    assert (intake.records, intake.size_bytes, intake.share) == (20, 200, 0.5)


def test_what_was_read_by_workers_that_died_before_they_told_is_known_from_the_log() -> None:
    intake = Intake(whole_bytes=400)
    list(intake.add(report(reads=((1, 0, 1, 0.1, 5, 50),), read=((1, 0, 5, 50),)), PLACES))

    again = list(intake.add(report(reads=((7, 0, 9, 0.9, 5, 50),), read=((7, 0, 30, 300),)), PLACES))

    assert again == [(9, 0.9, 5)]
    assert (intake.records, intake.size_bytes) == (30, 300)
    list(intake.add(report(read=((1, 0, 20, 200),)), PLACES))  # late, from whoever was replaced
    assert (intake.records, intake.size_bytes) == (30, 300)


def test_what_an_earlier_run_has_read_is_not_this_runs() -> None:
    intake = Intake(resumed=True)
    list(intake.add(report(reads=((1, 0, 7, 0.1, 5, 50),), read=((1, 0, 105, 1050),)), PLACES))
    list(intake.add(report(reads=((1, 0, 8, 0.1, 5, 50),), read=((1, 0, 110, 1100),)), PLACES))

    list(intake.add(report(read=((7, 0, 120, 1200),)), PLACES))

    assert (intake.records, intake.size_bytes) == (20, 200)


def test_the_most_memory_outlives_the_workers_and_the_process_that_counted_it() -> None:
    footprint = Footprint()
    footprint.add(report(0, memory=100), alive=True)
    footprint.add(report(1, memory=70), alive=True)
    footprint.forget(0)
    footprint.add(report(2, memory=120), alive=False)

    assert footprint.memory_bytes == 70
    assert footprint.peak == PeakMemory(worker=120, total=170)
    kept = pickle.loads(pickle.dumps(footprint))
    assert (kept.peak, kept.memory_bytes) == (footprint.peak, 0)


def test_checkpoints_are_as_old_as_the_oldest_of_those_that_are_asked_for() -> None:
    found = CheckpointFigures()
    found.add(report(at_s=3.0, checkpoints=((1, 10, 100, 0.004), (2, 10, 50, 0.002))))
    found.add(report(at_s=5.0, checkpoints=((1, 20, 10, 0.003),)))

    assert (found.count, found.report().bytes) == (3, 160)
    assert (found.oldest_s([1, 2]), found.oldest_s([1]), found.oldest_s([9])) == (3.0, 5.0, None)


def test_rows_of_a_sink_count_once_whoever_of_those_in_its_place_has_told_of_them() -> None:
    work, places = Work(), {1: ("out", 0), 2: ("out", 1), 7: ("out", 0)}
    work.add(
        report(instances=(InstanceStats(1, "out", 0, 40, 0.1, 0), InstanceStats(2, "out", 0, 5, 0.1, 0))), 0.0, places
    )
    work.add(report(instances=(InstanceStats(7, "out", 0, 43, 0.1, 0),)), 0.0, places)
    work.finished(Finished(2, 90, 8), ("out", 1), 1.0)

    assert work.rows_out == 51, "43 in the first place, since 40 of them are its predecessor's, and 8 in the second"


def test_rows_that_an_operator_takes_in_count_once_whoever_processes_them_again() -> None:
    query = Query("figures")
    query.source(sources.from_list([1])).key_by().count(name="count").sink(sinks.discard(), name="out")
    members, work = Membership(query.plan(workers=1)), Work()
    places = {1: ("count", 0), 2: ("count", 1), 3: ("out", 0), 7: ("count", 0), 8: ("out", 0)}

    def there(*ids: int) -> None:
        members.instances = {id: InstanceRecord(id, *places[id], KeyInterval(0, 256), 0, 0) for id in ids}

    def told(*counts: tuple[int, int, int]) -> None:
        stats = tuple(InstanceStats(id, places[id][0], taken, out, 0.1, 0) for id, taken, out in counts)
        work.add(report(instances=stats), 0.0, places)

    def counted() -> list[int]:
        return [work.taken_in(name, members, 9) for name in ("from_list", "count", "out")]

    there(1, 2, 3)
    told((1, 40, 0), (2, 5, 0), (3, 30, 25))
    before = counted()
    there(2, 7, 8)
    told((7, 12, 0), (8, 26, 26))
    behind = counted()
    told((7, 43, 0), (8, 33, 33))

    assert before == behind == [9, 45, 30], "a successor begins with what its checkpoint has counted"
    assert counted() == [9, 48, 33]


def test_what_an_instance_has_done_stays_counted_when_it_is_gone() -> None:
    work = Work()
    places = {1: ("lines", 0), 7: ("lines", 1)}
    work.add(report(instances=(InstanceStats(1, "lines", 40, 0, 0.2, 3),)), 0.0, places)
    work.add(report(at_s=2.0, instances=(InstanceStats(7, "lines", 2, 9, 0.5, 0, 0.5),)), 0.0, places)
    work.told([(8, "words", 11, 0.25)], 0.0, 2.0)

    assert (work.rows_out, work.repaired) == (9, 3)
    assert work.busy_s() == {1: 0.2, 7: 1.0, 8: 0.25}
    assert work.shares(2.8)[7] == pytest.approx(1.0)
