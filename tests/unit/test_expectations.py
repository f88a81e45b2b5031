"""What counts as met, and what the summary says of it."""

from __future__ import annotations

import pytest

from elastic import Query, sinks, sources
from elastic.report import FailedRecords, JobOutcome, PeakMemory, Percentiles, Recovery, Verdict
from elastic.scenario.expectations import check_expectations, judge
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import Expect, Fault

NOBODY_LOOKED = Verdict()
OUTCOME = JobOutcome(
    "done",
    wall_s=10.0,
    records_in=1000,
    bytes_in=50 << 20,
    latency_ms=Percentiles(12.0, 20.0, 30.0, 40.0),
    recoveries=(Recovery("worker 1 died", "checkpoint", 0.01, 0.2, 1.5, 0.5),),
    failures=(FailedRecords("map(f)", 1, 2, "ValueError"),),
    peak_memory_bytes=PeakMemory(100 << 20, 400 << 20),
)


def judged(
    expect: dict[str, object], outcome: JobOutcome = OUTCOME, verdict: Verdict = NOBODY_LOOKED
) -> list[tuple[str, bool, str]]:
    return [(e.name, e.met, e.detail) for e in judge(Expect.model_validate(expect), outcome, verdict)]


def test_nothing_is_judged_where_nothing_is_expected() -> None:
    assert judged({}) == []


@pytest.mark.parametrize(
    ("verdict", "met"),
    [
        (Verdict(True, 0, 0, "equal"), [True, True, True]),
        (Verdict(False, 0, 3, "3 rows duplicated"), [False, True, False]),
        (Verdict(detail="the job's own check raised"), [False, False, False]),
    ],
)
def test_a_result_meets_what_is_expected_only_if_it_is_known_to(verdict: Verdict, met: list[bool]) -> None:
    found = judged({"result": "verified", "lost": 0, "duplicated": 0}, verdict=verdict)

    assert [m for _, m, _ in found] == met


def test_the_result_of_a_failed_job_is_not_known() -> None:
    assert judged({"result": "verified"}, JobOutcome("failed")) == [("result", False, "not known: the job failed")]


@pytest.mark.parametrize(
    ("expect", "line"),
    [
        ({"recovery": "5s"}, ("recovery", True, "caught up after 1.5s, at most 5s expected")),
        ({"recovery": "1s"}, ("recovery", False, "caught up after 1.5s, at most 1s expected")),
        ({"recoveries": 2}, ("recoveries", False, "1 failure recovered from, at least 2 expected")),
        ({"throughput": "100/s"}, ("throughput", True, "100 records/s, at least 100 records/s expected")),
        ({"throughput": "6MiB/s"}, ("throughput", False, "5MiB/s, at least 6MiB/s expected")),
        ({"latency_p50": "10ms"}, ("latency_p50", False, "12ms, at most 10ms expected")),
        ({"latency_p99": "50ms"}, ("latency_p99", True, "30ms, at most 50ms expected")),
        ({"failed": {"map(f)": 3}}, ("failed", True, "map(f) failed on 3 records, 3 expected")),
        ({"failed": {"count": 1}}, ("failed", False, "count failed on 0 records, 1 expected")),
        ({"memory": "128MiB"}, ("memory", True, "largest worker 100MiB, at most 128MiB expected")),
    ],
)
def test_a_figure_is_held_against_its_limit(expect: dict[str, object], line: tuple[str, bool, str]) -> None:
    assert judged(expect) == [line]


def test_an_expectation_of_failed_records_names_what_may_fail() -> None:
    query = Query("q")
    query.source(sources.from_list([1])).map(str, on_error="skip").filter(bool).sink(sinks.discard())

    check_expectations(Expect(failed={"map(str)": 1, "from_list": 0}), query.plan())
    with pytest.raises(FieldError, match=r'no operator "map\(int\)", or step that may fail') as caught:
        check_expectations(Expect(failed={"map(int)": 1}), query.plan())
    assert "There are: from_list, discard, map(str)" in str(caught.value)


def test_a_recovery_that_never_happened_meets_no_expectation() -> None:
    assert judged({"recovery": "5s"}, JobOutcome("done")) == [
        ("recovery", False, "no failure happened that could be recovered from")
    ]


def test_a_recovery_that_did_not_end_meets_no_expectation() -> None:
    outcome = JobOutcome("done", recoveries=(Recovery("x", "checkpoint", 0.1, 0.2, None, 0.5),))

    assert judged({"recovery": "5s"}, outcome) == [
        ("recovery", False, "the job ended before it had caught up with a failure")
    ]


def test_a_fault_that_never_fired_is_an_expectation_not_met() -> None:
    fault = Fault.model_validate({"at": "30s", "kill": {"worker": 1}})

    (found,) = judge(Expect(), OUTCOME, Verdict(), [fault])

    assert (found.name, found.met) == ("fault", False)
    assert found.detail == "never fired: kill worker 1 at 30s; the job ended after 10s and 1,000 records"


def test_instances_of_an_operator_that_there_is_not_are_refused_before_the_run() -> None:
    query = Query("job")
    query.source(sources.from_list([1])).key_by().count().sink(sinks.discard())
    expect = Expect.model_validate({"instances": {"cuont": 3}})

    with pytest.raises(
        FieldError, match=r'expect\.instances\.cuont: the query has no operator "cuont"; did you mean count'
    ):
        check_expectations(expect, query.plan())
