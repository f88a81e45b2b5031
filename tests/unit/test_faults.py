"""When a fault fires, and whom it hits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elastic.report import JobEvent, Progress
from elastic.scenario.faults import FaultPlan, check_faults
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import Fault
from tests.unit.scenario_fakes import FakeJob, count_query

JOINED = Progress(at_s=0.0, events=tuple(JobEvent(0.0, "joined", worker=number) for number in range(4)))
PLAN = count_query().plan(workers=2)


def fault(**fields: object) -> Fault:
    return Fault.model_validate(fields)


def job(**owners: int) -> FakeJob:
    return FakeJob(PLAN, Path(), owners={(name, 0): worker for name, worker in owners.items()})


def test_a_fault_fires_once_when_its_time_has_come() -> None:
    faults, target = FaultPlan([fault(at="3s", kill={"worker": 2})]), job()

    faults.fire(JOINED, target)
    for at_s in (0.0, 2.9, 3.0, 3.1):
        faults.fire(Progress(at_s=at_s), target)

    assert target.actions == ["kill 2"]
    assert faults.unfired == ()


def test_a_fault_fires_once_so_many_records_are_read() -> None:
    faults, target = FaultPlan([fault(after="200k records", pause={"worker": 1})]), job()

    faults.fire(JOINED, target)
    faults.fire(Progress(at_s=99.0, records_in=199_999), target)
    assert target.actions == []

    faults.fire(Progress(at_s=99.0, records_in=200_000), target)
    assert target.actions == ["pause 1"]


def test_the_coordinator_can_be_killed() -> None:
    faults, target = FaultPlan([fault(at="1s", kill={"coordinator": True})]), job()

    faults.fire(Progress(at_s=1.5), target)

    assert target.actions == ["kill the coordinator"]
    assert not faults.unfired


def test_workers_join_and_are_drained_by_number_or_by_what_they_hold() -> None:
    planned = [
        fault(at="1s", join=True),
        fault(at="1s", drain={"owner_of": "count"}),
        fault(at="2s", drain={"worker": 1}),
    ]
    faults, target = FaultPlan(planned), job(count=3)

    faults.fire(JOINED, target)
    for at_s in (1.0, 2.0):
        faults.fire(Progress(at_s=at_s), target)

    assert target.actions == ["join", "drain 3", "drain 1"]
    assert [str(each) for each in planned] == [
        "join at 1s",
        "drain the owner of count#0 at 1s",
        "drain worker 1 at 2s",
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"join": False}, "Input should be True"),
        ({"drain": {"coordinator": True}}, "the coordinator can only be killed or paused"),
        ({"join": True, "kill": {"worker": 1}}, "write kill, pause, resume, scale, drain or join"),
    ],
)
def test_a_fault_does_one_thing_that_can_be_done(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        fault(at="1s", **fields)


def test_the_owner_is_looked_up_when_the_fault_fires() -> None:
    faults, target = FaultPlan([fault(at="1s", kill={"owner_of": "count"})]), job(count=3)

    target.owners["count", 0] = 5
    faults.fire(Progress(at_s=1.0), target)

    assert target.actions == ["kill 5"]


def test_a_fault_waits_while_nobody_holds_its_target() -> None:
    faults, target = FaultPlan([fault(at="1s", kill={"owner_of": "count"})]), job()

    faults.fire(Progress(at_s=1.0), target)
    assert [str(f) for f in faults.unfired] == ["kill the owner of count#0 at 1s"]

    target.owners["count", 0] = 4
    faults.fire(Progress(at_s=1.2), target)
    assert target.actions == ["kill 4"]


def test_a_resume_goes_to_the_worker_that_was_paused_though_the_instance_has_moved() -> None:
    owner = {"owner_of": "count", "instance": 0}
    faults, target = FaultPlan([fault(at="1s", pause=owner), fault(at="2s", resume=owner)]), job(count=1)

    faults.fire(Progress(at_s=1.0), target)
    target.owners["count", 0] = 4
    faults.fire(Progress(at_s=2.0), target)

    assert target.actions == ["pause 1", "resume 1"]


@pytest.mark.parametrize(
    ("kill", "problem"),
    [
        (
            {"owner_of": "cuont"},
            r'^faults\[1\]\.kill\.owner_of: the query has no operator "cuont"; did you mean count\?',
        ),
        ({"owner_of": "count", "instance": 2}, r"^faults\[1\]\.kill\.instance: count has instances 0 to 1, not 2"),
    ],
)
def test_a_fault_that_hits_nothing_is_refused_before_the_run(kill: dict[str, object], problem: str) -> None:
    with pytest.raises(FieldError, match=problem):
        check_faults([fault(at="1s", kill={"owner_of": "count"}), fault(at="1s", kill=kill)], PLAN)


def test_a_fault_waits_for_a_worker_by_number_until_it_has_joined() -> None:
    faults, target = FaultPlan([fault(at="1s", kill={"worker": 4}), fault(at="1s", kill={"worker": 99})]), job()

    faults.fire(replace(JOINED, at_s=1.0), target)
    assert target.actions == []

    faults.fire(Progress(at_s=1.2, events=(JobEvent(1.1, "spare_started", worker=4),)), target)
    assert target.actions == ["kill 4"]
    assert [str(f) for f in faults.unfired] == ["kill worker 99 at 1s"]
