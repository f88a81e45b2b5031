"""Scaling policies: what they decide from loads, and what the coordinator makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from elastic.coordinator.events import Heard, Measured, Record
from elastic.coordinator.membership import Membership
from elastic.coordinator.scaling import PATIENCE
from elastic.plan import Settings
from elastic.policies import InstanceLoad, OperatorLoad, Policy, Threshold, TrueRates
from elastic.protocol import Align, Cut, GroupLoads
from elastic.scenario.models import Elastic
from elastic.server.loads import Loads
from elastic.wire.control import InstanceStats, WorkerReport
from tests.unit.test_scaling import count, job, sent


def instance(busy: float, worker: int = 0, *, worker_busy: float | None = None, id: int = 1, groups: int = 8) -> Any:
    return InstanceLoad(id, worker, groups, busy, busy if worker_busy is None else worker_busy, 1000.0)


def loads(*keyed: InstanceLoad, read: float = 1000.0, offered: float | None = None) -> dict[str, OperatorLoad]:
    reader = InstanceLoad(9, 0, 16, 0.1, 0.5, read)
    return {
        "numbers": OperatorLoad("numbers", "source", (), (reader,), offered),
        "count": OperatorLoad("count", "keyed", ("numbers",), keyed),
        "discard": OperatorLoad("discard", "sink", ("count",), (instance(0.0, id=8),)),
    }


# -- threshold ---------------------------------------------------------------------------------------------------------


def test_a_bottleneck_gets_one_instance_more_after_so_many_reports_in_a_row() -> None:
    policy = Threshold(threshold=0.7, reports=2)

    assert policy.decide(loads(instance(0.9))) == {}
    assert policy.decide(loads(instance(0.6))) == {}
    assert policy.decide(loads(instance(0.8))) == {}
    assert policy.decide(loads(instance(0.8))) == {"count": 2}
    assert policy.decide(loads(instance(0.8))) == {}


def test_on_a_crowded_worker_the_busiest_keyed_instance_makes_room() -> None:
    shared = loads(instance(0.3, worker_busy=0.95)) | {
        "sum": OperatorLoad("sum", "keyed", ("numbers",), (instance(0.4, worker_busy=0.95),))
    }

    assert Threshold(reports=1).decide(shared) == {"sum": 2}


@pytest.mark.parametrize(("busy", "wanted"), [((0.2, 0.1), {"count": 1}), ((0.2, 0.2), {}), ((0.3,), {})])
def test_one_instance_less_is_wanted_where_the_others_would_stay_far_below(
    busy: tuple[float, ...], wanted: dict[str, int]
) -> None:
    keyed = [instance(share, worker=n, id=n) for n, share in enumerate(busy)]

    assert Threshold(threshold=0.7).decide(loads(*keyed)) == wanted


def test_a_busy_worker_without_keyed_instances_cannot_be_helped() -> None:
    alone = {"numbers": OperatorLoad("numbers", "source", (), (instance(0.99),))}

    assert Threshold(reports=1).decide(alone) == {}


# -- true rates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("busy", "read", "offered", "needed"),
    [
        ((0.5,), 1000, 1000, {}),
        ((0.8,), 1000, 1000, {}),
        ((0.9,), 1000, 1000, {"count": 2}),
        ((1.0,), 1000, 4000, {"count": 5}),  # four times the work of one, at four fifths of the time
        ((1.0, 1.0), 1000, 2000, {"count": 5}),
        ((1.0,), 1000, None, {"count": 2}),  # nobody says how much there would be
        ((0.2, 0.2, 0.2), 1000, 1000, {"count": 1}),
    ],
)
def test_as_many_instances_are_wanted_as_the_offered_rate_needs(
    busy: tuple[float, ...], read: float, offered: float | None, needed: dict[str, int]
) -> None:
    keyed = [instance(share, worker=n, id=n) for n, share in enumerate(busy)]

    assert TrueRates(utilisation=0.8).decide(loads(*keyed, read=read, offered=offered)) == needed


@pytest.mark.parametrize(
    "make",
    [
        lambda: Threshold(threshold=70), lambda: Threshold(reports=0), lambda: Threshold(period_s=0),
        lambda: TrueRates(utilisation=0), lambda: TrueRates(at_most=0),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="not "):
        make()


# -- what the coordinator makes of it ----------------------------------------------------------------------------------


class Fixed(Policy):
    """Always wants the same."""

    at_most = 6

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def decide(self, loads: Mapping[str, OperatorLoad]) -> Mapping[str, int]:
        return {"count": self.wanted, "discard": 3, "nobody": 2}


class Broken(Policy):
    """Has a mistake."""

    def decide(self, loads: Mapping[str, OperatorLoad]) -> Mapping[str, int]:
        return {"count": int(1 / 0)}


def measured(coordinator: Any, *busy: float) -> list[Any]:
    records = count(coordinator)
    found = [instance(b, r.worker, id=r.id) for b, r in zip(busy, records, strict=True)]
    actions: list[Any] = coordinator.handle(Measured(loads(*found)), 2.0)
    return actions


def warnings(actions: list[Any]) -> list[str]:
    return [str(a.cause) for a in actions if isinstance(a, Record) and a.kind == "warning"]


def test_the_busiest_instance_is_cut_first() -> None:
    coordinator = job(scaling=Fixed(3))

    actions = measured(coordinator, 0.2, 0.9)

    ((_, cut),) = sent(actions, Cut)
    assert isinstance(cut, Cut)
    assert cut.instance == count(coordinator)[1].id


def test_a_policy_gets_no_more_than_there_are_spares_and_no_more_than_it_may() -> None:
    coordinator = job(spares=1, scaling=Fixed(9))

    actions = measured(coordinator, 0.9, 0.8)

    ((_, cut),) = sent(actions, Cut)
    assert isinstance(cut, Cut)
    assert len(cut.parts) == 2


def test_that_there_is_no_spare_is_said_once() -> None:
    coordinator = job(spares=0, scaling=Fixed(4))

    assert warnings(measured(coordinator, 0.9, 0.8)) == ["needs 4 instances, and there is no spare to scale out to"]
    assert warnings(measured(coordinator, 0.9, 0.8)) == []


def test_a_single_hot_key_group_is_reported_since_no_cut_can_help() -> None:
    coordinator = job(scaling=Fixed(4))
    first = count(coordinator)[0]
    loads = np.array([1, 0, 0, 2, 400, 3, 0, 1], np.float32)
    coordinator.handle(Heard(first.worker, GroupLoads(first.id, loads)), 0.2)

    (text,) = warnings(measured(coordinator, 0.99, 0.1))

    assert text.startswith("99% busy, 97% of it with key group 4, which cannot be cut: is one key very frequent?")


def test_an_instance_with_one_key_group_is_reported_too() -> None:
    coordinator = job(scaling=Fixed(4), key_groups=2)

    (text,) = warnings(measured(coordinator, 0.99, 0.1))

    assert "99% busy with a single key group, which cannot be cut" in text


def test_a_policy_that_raises_is_named_with_its_line_and_asked_no_more() -> None:
    coordinator = job(scaling=Broken())

    (text,) = warnings(measured(coordinator, 0.9, 0.8))

    assert "the scaling policy is asked no more, since it raised" in text
    assert __file__ in text
    assert "ZeroDivisionError" in text
    assert measured(coordinator, 0.9, 0.8) == []


@pytest.mark.parametrize("decided", [{"count": "3"}, {"count": 2.5}])
def test_a_policy_that_decides_what_is_no_number_is_named_and_asked_no_more(decided: Any) -> None:
    class Odd(Policy):
        def decide(self, loads: Mapping[str, OperatorLoad]) -> Mapping[str, int]:
            return decided  # type: ignore[no-any-return]

    coordinator = job(scaling=Odd())

    (text,) = warnings(measured(coordinator, 0.9, 0.8))

    ((name, number),) = decided.items()
    assert f"decided {number!r} for {name!r}: expected a whole number" in text
    assert measured(coordinator, 0.9, 0.8) == []


def test_fewer_instances_come_about_when_they_have_been_enough_for_long() -> None:
    coordinator = job(scaling=Fixed(1))
    for record in count(coordinator):
        record.protected = True

    for _ in range(PATIENCE - 1):
        assert sent(measured(coordinator, 0.1, 0.1), Align) == []
    assert len(sent(measured(coordinator, 0.1, 0.1), Align)) == 2


def test_patience_begins_anew_when_load_comes_back() -> None:
    policy = Fixed(1)
    coordinator = job(scaling=policy)
    for _ in range(PATIENCE - 1):
        measured(coordinator, 0.1, 0.1)
    policy.wanted = 2
    measured(coordinator, 0.5, 0.5)
    policy.wanted = 3
    coordinator.scaling.measured(loads(), 2.0)
    policy.wanted = 1

    assert sent(measured(coordinator, 0.1, 0.1), Align) == []


# -- what is measured --------------------------------------------------------------------------------------------------


def reported(members: Membership, at_s: float, busy_s: float, records: int) -> list[WorkerReport]:
    """One report for each worker, on which each instance worked so long and took in so many rows."""
    reports = []
    for worker in members.live:
        here = [i for i in members.instances.values() if i.worker == worker]
        stats = tuple(InstanceStats(i.id, i.operator, records, 0, busy_s, 0) for i in here)
        reports.append(WorkerReport(worker, at_s, stats, (), (), (), 0))
    return reports


def test_loads_are_what_changed_over_one_period() -> None:
    coordinator = job()
    found = Loads(coordinator.plan, coordinator.members, period_s=2.0)
    assert found.over(9.0) is None
    for report in [*reported(coordinator.members, 10.0, 1.0, 100)]:
        found.report(report)
    assert found.over(10.9) is None
    first = found.over(11.0)
    assert first is not None
    assert first["count"].instances == ()
    for report in [*reported(coordinator.members, 12.0, 1.5, 700)]:
        found.report(report)

    second = found.over(13.0)

    assert second is not None
    assert list(second) == ["from_list", "count", "discard"]
    for load in second["count"].instances:
        assert load.busy == pytest.approx(0.25)
        assert load.records_per_s == pytest.approx(300)
        assert load.worker_busy == pytest.approx(min(1.0, 0.25 * instances_on(coordinator.members, load.worker)))
    assert second["count"].inputs == ("from_list",)
    assert second["from_list"].offered_per_s is None


def test_of_whom_nothing_was_heard_in_a_period_what_was_measured_last_holds() -> None:
    coordinator = job()
    found = Loads(coordinator.plan, coordinator.members, period_s=2.0)
    found.over(9.0)
    for at_s, busy_s in ((10.0, 1.0), (12.0, 1.5)):
        for report in reported(coordinator.members, at_s, busy_s, 100):
            found.report(report)
        found.over(at_s + 1.1)

    quiet = found.over(20.0)

    assert quiet is not None
    assert [i.busy for i in quiet["count"].instances] == [pytest.approx(0.25)] * 2


def instances_on(members: Membership, worker: int) -> int:
    return sum(i.worker == worker for i in members.instances.values())


# -- how it is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "policy", "numbers"),
    [
        ("threshold", Threshold, {"threshold": 0.7, "reports": 2, "period_s": 5.0, "at_most": 8}),
        ("true_rates", TrueRates, {"utilisation": 0.8, "period_s": 5.0}),
        ({"policy": "threshold", "period": "500ms", "reports": 3}, Threshold, {"period_s": 0.5, "reports": 3}),
        (Threshold(at_most=3), Threshold, {"at_most": 3}),
    ],
)
def test_a_scenario_names_a_policy_with_its_numbers(written: Any, policy: type, numbers: dict[str, float]) -> None:
    made = Elastic(scaling=written).settings(1 << 20).scaling

    assert type(made) is policy
    assert {name: getattr(made, name) for name in numbers} == numbers


@pytest.mark.parametrize("written", ["off", False, None])
def test_no_policy_is_the_default(written: Any) -> None:
    assert Elastic(scaling=written).settings(1 << 20).scaling is None
    assert Settings().scaling is None


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("treshold", "names no policy; write off, threshold, or true_rates"),
        (
            {"policy": "threshold", "utilisation": 0.5},
            "threshold has no utilisation; it has threshold, reports, period",
        ),
        ({"policy": "threshold", "threshold": "70%"}, "threshold must be a number, not '70%'"),
        ({"policy": "threshold", "threshold": 70}, "a share of a worker's time between 0 and 1"),
    ],
)
def test_a_mistake_in_a_policy_is_told(written: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Elastic(scaling=written)
