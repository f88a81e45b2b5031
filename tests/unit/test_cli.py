"""The command: what it prints, and what it exits with."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic.cli import main
from elastic.cluster import remote
from elastic.errors import JobFailedError
from elastic.report import Intervals, JobEvent, JobOutcome, OperatorReport, Percentiles, Progress
from elastic.scenario import runner
from tests.unit.scenario_fakes import Start

JOB = """\
from tests.unit.scenario_fakes import count_query
def query(size=1): return count_query(f"counting-{size}")
def check(result): return result.parameters.get("size") != 13
"""
SCENARIO = """\
name: counting
job: counting_cli_job.py:query
check: counting_cli_job.py:check
faults: [{at: 1s, kill: {owner_of: count}}]
expect: {result: verified}
"""
EVENTS = (JobEvent(1.0, "killed", None, None, 2, "the scenario"),)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a job and a scenario in it."""
    (tmp_path / "counting_cli_job.py").write_text(JOB)
    (tmp_path / "counting.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("counting_cli_job", None)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Jobs are played back: one look at 1 s, when the fault fires, and the end."""
    made = Start(script=[Progress(at_s=1.0, records_in=5, events=EVENTS)], owners={("count", 0): 2})
    monkeypatch.setattr(runner, "_start_elastic", made)
    return made


def test_a_scenario_runs_and_its_summary_says_that_it_was_verified(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "counting.yaml"]) == 0

    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "counting: done after 1s, result verified"
    assert "  met      result      right by the job's own check" in out
    assert "counting: 1.0s  records 5" in err
    assert "counting: 1.00s killed (worker 2): the scenario" in err
    assert "kill 2" in start.job.actions


def test_an_expectation_that_is_not_met_exits_with_1(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting.yaml", "--set", "size=13"]) == 1

    out = capsys.readouterr().out
    assert "counting: done after 1s, result WRONG" in out
    assert "  NOT MET  result " in out


def test_a_job_runs_without_a_scenario(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "counting_cli_job.py:query", "--set", "size=3", "--workers", "2"]) == 0

    assert start.job.plan.name == "counting-3"
    assert start.job.plan.operators["count"].parallelism == 2
    assert start.job.directory == Path.cwd() / ".elastic" / "counting-3"
    assert "counting-3: done" in capsys.readouterr().out


def test_the_report_is_written_as_json(start: Start, folder: Path) -> None:
    assert main(["run", "counting.yaml", "--quiet", "--json", "report.json"]) == 0

    report = json.loads((folder / "report.json").read_text())
    assert (report["scenario"], report["verified"], report["expectations"][0]["met"]) == ("counting", True, True)


def test_a_report_that_could_not_be_written_is_refused_before_the_run(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "counting.yaml", "--json", "nowhere/report.json"]) == 2

    assert "there is no directory" in capsys.readouterr().err
    assert not hasattr(start, "job")


def test_a_job_that_fails_exits_with_3_and_says_why(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    start._settings["result"] = JobOutcome("failed", "operator 'count' failed\nValueError: no")

    assert main(["run", "counting_cli_job.py"]) == 3

    out = capsys.readouterr().out
    assert out.startswith("counting-1: FAILED after 0ms\n  operator 'count' failed\n  ValueError: no\n\n")


def test_a_job_that_could_not_start_exits_with_3(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: object) -> None:
        raise JobFailedError("no worker came up within 10s")

    monkeypatch.setattr("tests.unit.scenario_fakes.FakeJob.start", failing)

    assert main(["run", "counting_cli_job.py"]) == 3
    assert capsys.readouterr().err == "no worker came up within 10s\n"


def test_an_interrupted_job_exits_with_130_and_shows_what_was_committed(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start._settings.update(endless=True, signals=(3,), result=JobOutcome("done", wall_s=2.0, records_out=7))

    assert main(["run", "counting.yaml"]) == 130

    out = capsys.readouterr().out
    assert out.startswith("counting: interrupted after 2s\n")
    assert "7 out" in out


def test_an_error_of_our_own_is_shown_whole(
    start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.scenario_fakes.FakeJob.start", lambda self: 1 / 0)

    assert main(["run", "counting_cli_job.py"]) == 3
    assert "ZeroDivisionError: division by zero\nelastic: this is a bug in elastic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["run", "missing.yaml"], "missing.yaml: there is no such file"),
        (["run", "missing.py"], "there is no file"),
        (["run", "counting_cli_job.py:qury"], "counting_cli_job.py has no qury; did you mean query?"),
        (
            ["run", "counting_cli_job.py", "--set", "sise=1"],
            "--set sise: there is no such parameter; did you mean size?",
        ),
        (["run", "counting.yaml", "--set", "sise=1"], "counting.yaml:1: parameters.sise: there is no such parameter"),
        (["run", "counting.yaml", "--set", "size={x}"], "counting.yaml:1: parameters.size: {x} stands for nothing"),
        (["validate", "missing.yaml"], "missing.yaml: there is no such file"),
    ],
)
def test_a_bad_scenario_or_job_exits_with_2(
    start: Start, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    assert main(arguments) == 2

    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["run"], ["run", "x.py", "--workers", "0"], ["run", "x.py", "--set", "novalue"]]
)
def test_bad_usage_exits_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage: elastic" in capsys.readouterr().err


def test_validate_checks_scenarios_without_running_them(
    start: Start, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.yaml").write_text(SCENARIO.replace("owner_of: count", "owner_of: cuont"))

    assert main(["validate", "counting.yaml", "bad.yaml"]) == 2

    out, err = capsys.readouterr()
    assert out == "counting.yaml: valid: nothing x 1, count x 4, nowhere x 4\n"
    assert err.startswith('bad.yaml:4: faults[0].kill.owner_of: the query has no operator "cuont"; did you mean count?')
    assert not hasattr(start, "job")


def test_schema_prints_the_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0

    assert json.loads(capsys.readouterr().out)["title"] == "elastic scenario"


def test_version_and_help_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    for argument in ("--version", "--help"):
        with pytest.raises(SystemExit) as caught:
            main([argument])
        assert caught.value.code == 0

    assert capsys.readouterr().out.startswith("elastic 0.")


def test_the_summary_shows_figures_where_there_are_any(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    start._settings["result"] = JobOutcome(
        "done",
        wall_s=2.0,
        records_in=2_000_000,
        records_out=10,
        bytes_in=8_000_000,
        latency_ms=Percentiles(1.0, 2.0, 3.0, 4.5),
        operators=(OperatorReport("count", 4, 2_000_000, 0.5),),
        intervals=Intervals(
            9, 2_000_000, processing_ms=Percentiles(30.0), total_delay_ms=Percentiles(40.0, 50.0, 60.0, 70.0),
            tasks=90, recomputed=7,
        ),
    )  # fmt: skip

    assert main(["run", "counting_cli_job.py"]) == 0

    out = capsys.readouterr().out
    assert "  records     2,000,000 in, 10 out, 7.63MiB read\n" in out
    assert "  throughput  1M records/s, 3.81MiB/s\n" in out
    assert "  latency     p50 1ms, p95 2ms, p99 3ms, max 4.5ms\n" in out
    assert (
        "  intervals   9, total delay p50 40ms, p99 60ms, max 70ms; processing p50 30ms; 90 tasks, 7 done again\n"
        in out
    )
    assert "  count             4          2M   50%\n" in out
    assert "\x1b" not in out


def test_jobs_lists_a_job_that_does_not_answer(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    job = folder / ".elastic" / "hung"
    job.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as sockets:  # of a short path, as a socket's must be
        remote.announce(job, f"ipc://{sockets}/coordinator")

        assert main(["jobs"]) == 0

    assert capsys.readouterr().out == f"hung (process {os.getpid()}) does not answer for 0.1 s\n"
