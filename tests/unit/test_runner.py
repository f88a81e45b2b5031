"""A run from beginning to end, over a job that only plays back what it is told to."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from elastic import Query, sinks, sources
from elastic.errors import UserError
from elastic.report import JobOutcome, Progress, Report
from elastic.scenario import runner
from elastic.scenario.directory import claimed_directory
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import DStream, Expect, Fault
from elastic.scenario.runner import Run, execute, prepare, warnings
from elastic.scenario.verify import JobResult
from tests.unit.scenario_fakes import Notes, Start, count_query


def run(tmp_path: Path) -> Run:
    return Run("counting", count_query(), tmp_path / "job")


def executed(what: Run, start: Start, notes: Notes | None = None) -> Report:
    return execute(what, prepare(what), notes or Notes(), start)


def test_a_run_starts_watches_and_closes_its_job(tmp_path: Path) -> None:
    start, notes = Start(script=[Progress(at_s=0.1), Progress(at_s=0.2, finished=True)]), Notes()

    report = executed(run(tmp_path), start, notes)

    assert start.job.actions == ["start", "close"]
    assert [p.at_s for p in notes.seen] == [0.1, 0.2]
    assert (report.scenario, report.status, report.verified, report.exit_code) == ("counting", "done", None, 0)


def test_a_job_is_closed_when_starting_it_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Start()
    monkeypatch.setattr("tests.unit.scenario_fakes.FakeJob.start", lambda self: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        executed(run(tmp_path), start)

    assert start.job.actions == ["close"]


def test_faults_fire_and_one_that_cannot_fails_the_run(tmp_path: Path) -> None:
    faults = [{"at": "1s", "kill": {"owner_of": "count"}}, {"at": "9s", "kill": {"worker": 1}}]
    broken = replace(run(tmp_path), faults=tuple(Fault.model_validate(f) for f in faults))
    start = Start(script=[Progress(at_s=1.0)], owners={("count", 0): 3})

    report = executed(broken, start)

    assert start.job.actions == ["start", "kill 3", "close"]
    assert [(e.name, e.met) for e in report.expectations] == [("fault", False)]
    assert report.exit_code == 1


def test_the_first_interrupt_stops_the_job_and_the_result_is_not_judged(tmp_path: Path) -> None:
    judged = replace(run(tmp_path), expect=Expect(result="verified"), show=lambda _: ["never"])
    start, notes = Start(endless=True, signals=(2,)), Notes()

    report = executed(judged, start, notes)

    assert start.job.actions == ["start", "stop", "close"]
    assert (report.status, report.exit_code, report.expectations, report.shown) == ("interrupted", 130, (), ())
    assert any("Ctrl-C again ends at once" in note for note in notes.notes)


def test_the_second_interrupt_aborts_the_job(tmp_path: Path) -> None:
    start = Start(endless=True, deaf=True, signals=(2, 3))

    executed(run(tmp_path), start)

    assert start.job.actions == ["start", "stop", "abort", "close"]
    assert start.job.polls == 3


def test_a_job_that_does_not_stop_is_aborted_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STOP_S", 0.05)
    start = Start(endless=True, deaf=True, signals=(1,))

    began = time.monotonic()
    executed(run(tmp_path), start)

    assert start.job.actions == ["start", "stop", "abort", "close"]
    assert time.monotonic() - began < 20.0


def test_an_interrupt_while_the_result_is_checked_ends_the_run_and_closes_the_job(tmp_path: Path) -> None:
    def endless(_: JobResult) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            pass

    start = Start()

    with pytest.raises(KeyboardInterrupt):
        executed(replace(run(tmp_path), check=endless), start)

    assert start.job.actions == ["start", "close"]


def test_signal_handlers_are_as_before_after_a_run(tmp_path: Path) -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    executed(run(tmp_path), Start())

    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    ("answer", "verified", "lost", "duplicated"),
    [
        (True, True, 0, 0),
        (False, False, None, None),
        ((0, 0), True, 0, 0),
        ((2, 1), False, 2, 1),
        ("yes", None, None, None),
    ],
)
def test_the_jobs_own_check_decides(
    tmp_path: Path, answer: object, verified: object, lost: object, duplicated: object
) -> None:
    given: list[JobResult] = []

    def check(result: JobResult) -> object:
        given.append(result)
        return answer

    checked = replace(run(tmp_path), check=check, parameters={"a": 1})
    start = Start()

    report = executed(checked, start)

    assert (report.verified, report.lost, report.duplicated) == (verified, lost, duplicated)
    assert (given[0].parameters, given[0].sinks) == ({"a": 1}, {"nowhere": {"a": 1}})
    assert not start.keep_log


def test_a_check_that_raises_verifies_nothing_and_shows_the_users_line(tmp_path: Path) -> None:
    checked = replace(run(tmp_path), check=lambda _: 1 / 0, expect=Expect(result="verified"))

    report = executed(checked, Start())

    assert report.verified is None
    assert report.expectations[0].detail.endswith("ZeroDivisionError: division by zero")
    assert "verify.py" not in report.expectations[0].detail


def test_a_run_without_a_check_of_its_own_keeps_the_log_to_be_held_against(tmp_path: Path) -> None:
    start = Start(result=JobOutcome("failed", "no"))

    executed(replace(run(tmp_path), expect=Expect(lost=0)), start)

    assert start.keep_log


def test_a_failed_job_is_neither_checked_nor_shown(tmp_path: Path) -> None:
    failed = replace(run(tmp_path), check=lambda _: 1 / 0, show=lambda _: 1 / 0)

    report = executed(failed, Start(result=JobOutcome("failed", "worker 1 and its backup are gone")))

    assert (report.exit_code, report.error, report.shown) == (3, "worker 1 and its backup are gone", ())


def test_the_jobs_own_lines_are_in_the_report(tmp_path: Path) -> None:
    shown = executed(replace(run(tmp_path), show=lambda result: sorted(result.sinks["nowhere"])), Start()).shown
    raised = executed(replace(run(tmp_path), show=lambda _: 1 / 0), Start()).shown

    assert shown == ("a",)
    assert raised[0] == "the job's own summary raised:"
    assert raised[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("workers", "spares", "warning"),
    [
        (1, 0, "with one worker and no spare"),
        (1, 1, None),
        (2, 0, "with no spare"),
        (2, 1, None),
        (900, 1, "900 workers on "),
    ],
)
def test_a_cluster_that_cannot_survive_a_failure_is_warned_of(
    tmp_path: Path, workers: int, spares: int, warning: str | None
) -> None:
    notes = Notes()

    executed(replace(run(tmp_path), workers=workers, spares=spares), Start(), notes)

    assert len(notes.notes) == int(warning is not None)
    assert all(note.startswith(f"warning: {warning}") for note in notes.notes)


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match=r'^model: there is no execution model "elastik"'):
        prepare(replace(run(tmp_path), model="elastik"))


def test_a_job_directory_is_made_anew_for_each_run(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed_directory(tmp_path / "a" / "job"):
            (tmp_path / "a" / "job" / "left").mkdir()
            (tmp_path / "a" / "job" / "left" / "behind").touch(exist_ok=False)


def test_a_job_directory_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        claimed_directory(tmp_path),
        pytest.raises(UserError, match=r"a job runs in .* already \(process \d+\)"),
        claimed_directory(tmp_path),
    ):
        pass


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(UserError, match="has files in it and is no job directory"), claimed_directory(tmp_path):
        pass

    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_model_cannot_run_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    query = Query("short")
    query.source(sources.from_list([1])).sink(sinks.discard())
    section = DStream.model_validate({"interval": "15ms"})

    with pytest.raises(UserError, match="an interval of 15ms is not a whole number of ticks of 10ms"):
        prepare(Run("short", query, tmp_path / "job", model="dstream", dstream=section))

    assert not (tmp_path / "job").exists()


def test_faults_may_hit_as_many_instances_as_the_model_cuts_an_operator_into(tmp_path: Path) -> None:
    faults = [Fault.model_validate({"at": "1s", "kill": {"owner_of": "count", "instance": n}}) for n in (5, 6)]
    told = Run("counting", count_query(), tmp_path / "job", model="dstream", workers=2, faults=(faults[0],))

    assert prepare(told).operators["count"].parallelism == 6
    with pytest.raises(FieldError, match="count has instances 0 to 5, not 6"):
        prepare(replace(told, faults=(faults[1],)))


def test_a_result_that_nobody_can_read_back_is_warned_of_beforehand(tmp_path: Path) -> None:
    query = Query("told")
    query.source(sources.from_list([1])).sink(sinks.call(print), name="alerts")
    told = Run("told", query, tmp_path / "job", spares=1, workers=2)

    found = [list(warnings(replace(told, verify=verify), prepare(told))) for verify in (False, True)]

    assert found == [
        [],
        ["the result cannot be verified, since alerts cannot be read back; give the job a check"],
    ]


def test_a_resumed_run_is_not_asked_for_the_recovery_from_faults_that_have_been(tmp_path: Path) -> None:
    expect = Expect.model_validate({"recovery": "5s", "recoveries": 1, "instances": {"count": 4}})
    first = replace(run(tmp_path), expect=expect)

    reports = [executed(replace(first, resume=resume), Start()) for resume in (False, True)]

    assert [[e.name for e in report.expectations] for report in reports] == [
        ["recovery", "recoveries", "instances"],
        ["instances"],
    ]
