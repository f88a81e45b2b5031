"""What is shown while a job runs: lines without a terminal, one screen with one."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from elastic.dashboard import launch
from elastic.dashboard.lines import LineProgress, status_line
from elastic.dashboard.live import LiveProgress, Screen
from elastic.dashboard.summary import print_summary
from elastic.errors import JobFailedError, NondeterminismError, QueryError, StateLostError
from elastic.report import (
    Expectation,
    FailedRecords,
    Failure,
    IntervalTimes,
    JobEvent,
    JobOutcome,
    OperatorReport,
    Progress,
    report_of,
)
from elastic.scenario import runner
from tests.unit.scenario_fakes import Start, count_query

PROGRESS = Progress(
    at_s=3.2,
    records_in=1_234_567,
    records_per_s=410_000.0,
    lag_s=0.012,
    done=0.32,
    workers=4,
    spares=1,
    checkpoints=12,
    checkpoint_age_s=0.4,
    operators=(OperatorReport("count", 4, 1_200_000, 0.31),),
)
CAUGHT_UP = JobEvent(3.1, "caught_up", "count", 0, 5, "worker 1 died")


@pytest.fixture(autouse=True)
def kind_of_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can redraw, wherever the tests run."""
    monkeypatch.setenv("TERM", "xterm-256color")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_status_line_has_fixed_fields_in_a_fixed_order() -> None:
    assert status_line(PROGRESS) == (
        "3.2s  records 1.23M (32%)  410k records/s  lag 12ms  workers 4 + 1 spare  checkpoints 12"
    )


def test_a_status_line_tells_how_long_the_last_interval_took() -> None:
    progress = replace(PROGRESS, interval=IntervalTimes(41, 2.0, 38.0))

    assert status_line(progress).endswith("checkpoints 12  processing 38ms")


FAILED = (
    FailedRecords("map(parse)", 0, 1200, "ValueError: no"),
    FailedRecords("sums", 2, 1, "KeyError: 'a' (job.py:3)"),
)


def test_failed_records_are_shown_while_the_job_runs() -> None:
    progress = replace(PROGRESS, failures=FAILED)

    assert status_line(progress).endswith("checkpoints 12  failed records 1.2k")
    console = Console(file=io.StringIO(), width=100)
    console.print(Screen("job", "", progress, []))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert (
        "failed records  map(parse): 1,200 diverted\n" in "\n".join(line.rstrip() for line in shown.splitlines()) + "\n"
    )
    assert "failed records  sums: 2 skipped, 1 diverted" in shown


def test_lines_come_every_two_seconds_and_once_for_each_event() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream, "job")

    for at_s in (0.0, 0.5, 1.9, 2.0, 2.1):
        lines.progress(Progress(at_s=at_s, events=(CAUGHT_UP,) if at_s == 0.5 else ()))
    lines.progress(Progress(at_s=9.0, finished=True))

    starts = [line.split("  ")[0] for line in stream.getvalue().splitlines()]
    assert starts == ["job: starting", "job: 3.10s caught up (count#0, worker 5): worker 1 died", "job: 2.0s"]


def test_events_of_every_healthy_run_get_no_line() -> None:
    stream = io.StringIO()

    LineProgress(stream, "job").progress(Progress(at_s=-1.0, events=(JobEvent(0.0, "started"),)))

    assert stream.getvalue() == ""


def test_the_screen_tells_health_work_operators_and_last_events() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(Screen("word-count", "", PROGRESS, [CAUGHT_UP]))
    text = console.file.getvalue()  # type: ignore[attr-defined]

    for shown in (
        "word-count  3.2s",
        "1.23M",
        "410k",
        "12ms",
        "4 + 1 spare",
        "12, 400ms old",
        "count",
        "31%",
        "caught up",
    ):
        assert shown in text


@pytest.mark.parametrize(("columns", "lines"), [(120, 40), (80, 24), (60, 20), (40, 12), (20, 5), (80, 2)])
def test_a_screen_fits_into_its_terminal_and_the_newest_events_stay(columns: int, lines: int) -> None:
    operators = tuple(OperatorReport(f"operator-{n}", 4, 1000, 0.1) for n in range(5))
    progress = replace(PROGRESS, operators=operators, interval=IntervalTimes(41, 2.0, 38.0))
    events = [JobEvent(float(n), "restored", "count", n, 5, "12 keys at tick 200") for n in range(10)]
    console = Console(file=io.StringIO(), width=columns, height=lines)

    console.print(Screen("job", "", progress, events))

    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(shown) < lines
    assert max(len(line) for line in shown) <= columns
    if lines >= 20:
        assert shown[-1].startswith("  9.00s restored (count#9")


def test_a_screen_has_the_bar_the_figures_and_the_operators_on_lines_of_their_own() -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = replace(PROGRESS, interval=IntervalTimes(41, 2.0, 38.0))

    console.print(Screen("job", "", progress, []))

    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert set(lines[1]) <= set("━╸╺")
    assert [line.split("  ")[0] for line in lines[2:]] == ["records", "1.23M", "interval", "41", "operator", "count"]
    assert "38ms" in lines[5]


def test_a_screen_leaves_the_terminal_as_it_was() -> None:
    terminal = Terminal()
    live = LiveProgress(terminal, "job")
    live.progress(PROGRESS)
    live.note("verifying the result")

    live.close()

    text = terminal.getvalue()
    assert "\x1b[?25l" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_summary_on_a_terminal_folds_its_lines_and_one_in_a_log_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    events = tuple(JobEvent(n, "restored", "count", n, 5, "12 keys at tick 200") for n in range(30))
    expectation = Expectation("result", met=True, detail="equal to a clean run over the same input log")
    report = report_of(JobOutcome("done", events=events), scenario="job", model="elastic", expectations=[expectation])
    terminal, log = Terminal(), io.StringIO()

    for stream in (terminal, log):
        print_summary(report, stream)

    assert "  met      result      equal to a clean run over the same input log\n" in log.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert "  event       0.00s restored (count#0,\n              worker 5): 12 keys at tick\n" in plain
    assert max(map(len, plain.splitlines())) <= 40
    assert "13.00s" in plain
    assert "…           10 more events" in plain
    assert "29.00s" in plain


def test_a_summary_tells_events_in_the_order_in_which_they_happened() -> None:
    events = (JobEvent(4.0, "killed"), JobEvent(2.5, "caught_up"))
    log = io.StringIO()

    print_summary(report_of(JobOutcome("done", events=events), scenario="job", model="elastic"), log)

    assert log.getvalue().index("2.50s caught up") < log.getvalue().index("4.00s killed")


def test_a_terminal_gets_a_screen_and_a_pipe_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    live = launch._watcher("job", "auto")
    live.close()
    monkeypatch.setattr("sys.stderr", io.StringIO())
    lines = launch._watcher("job", "auto")

    assert (type(live).__name__, type(lines).__name__) == ("LiveProgress", "LineProgress")


def test_a_terminal_that_cannot_redraw_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")

    assert type(launch._watcher("job", "auto")).__name__ == "LineProgress"


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Start:
    monkeypatch.chdir(str(tmp_path))
    made = Start()
    monkeypatch.setattr(runner, "_start_elastic", made)
    return made


def test_a_query_runs_from_a_script_and_returns_its_report(start: Start) -> None:
    report = launch.run_query(count_query(), workers=2, memory="64MiB", display=False, tick="20ms")

    assert (report.scenario, report.status) == ("counting", "done")
    settings = start.job.plan.settings
    assert (settings.memory_bytes, settings.tick_ms) == (64 << 20, 20)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"tick": "10"}, r"^run\(tick='10'\): \"10\" is not a duration; write 10s$"),
        ({"tik": "10ms"}, r"^run\(tik='10ms'\): there is no such argument; did you mean tick\? There are: workers, "),
        ({"worker": 3}, r"^run\(worker=3\): there is no such argument; did you mean workers\? There are: workers, "),
        ({"interval": "1s"}, r'there is no such argument; it is one of model="dstream"\. There are: workers, '),
        ({"resum": True}, r"there is no such argument; did you mean resume\? "),
        ({"workers": 0}, r"^run\(workers=0\): 0 is too small; at least 1$"),
    ],
)
def test_a_wrong_argument_is_refused(start: Start, settings: dict[str, object], error: str) -> None:
    with pytest.raises(QueryError, match=error):
        launch.run_query(count_query(), display=False, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("failure", "kind"), [("state_lost", StateLostError), ("nondeterminism", NondeterminismError)])
def test_a_failure_that_has_a_name_raises_an_error_of_its_own(
    start: Start, failure: Failure, kind: type[JobFailedError]
) -> None:
    start._settings["result"] = JobOutcome("failed", "no", failure)

    with pytest.raises(kind, match="no"):
        launch.run_query(count_query(), display=False)


def test_a_failed_query_raises_and_an_interrupted_one_interrupts_the_script(start: Start) -> None:
    start._settings["result"] = JobOutcome("failed", "the state is gone")
    with pytest.raises(JobFailedError, match="the state is gone"):
        launch.run_query(count_query(), display=False)

    start._settings.update(result=JobOutcome("done"), endless=True, signals=(1,))
    with pytest.raises(KeyboardInterrupt):
        launch.run_query(count_query(), display=False)
