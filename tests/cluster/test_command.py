"""The command as a user runs it: interrupts, exits, errors, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.cluster

JOB = """
import helper
from elastic import Operator, Query, sinks, sources

class Stuck(Operator):
    def process(self, key, value, state, ctx):
        while value == 200:
            pass
        yield key, value

def endless():
    query = Query("endless")
    query.source(sources.generator(keys=100, rate="1k/s")).key_by(helper.key).count().sink(sinks.discard())
    return query

def stuck():
    query = Query("stuck")
    numbers = query.source(sources.from_list(list(range(100000)), rate="1k/s"))
    numbers.key_by().apply(Stuck()).sink(sinks.discard())
    return query

def failing():
    query = Query("failing")
    query.source(sources.from_list([1, 2, 0, 4])).map(helper.invert).sink(sinks.stdout())
    return query

query = Query("short")
query.source(sources.from_list(["a", "b", "a"])).key_by().count(emit="end").sink(sinks.stdout())
"""

HELPER = """
def key(record):
    return record["key"]

def invert(number):
    return 1 / number
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    for process in our_processes(tmp_path):
        process.kill()


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "elastic", "run", *arguments],
        cwd=place, env={**os.environ, "TMPDIR": str(place / "tmp"), "ELASTIC_TEST": str(place)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def our_processes(place: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ELASTIC_TEST") == str(place) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = 20.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < deadline_s, f"{what} did not happen within {deadline_s} s"
        time.sleep(0.02)
    return time.monotonic() - began


def runs(place: Path, name: str) -> bool:
    """Whether its sources have logged anything."""
    return any(path.stat().st_size > 400 for path in (place / ".elastic" / name / "log").rglob("*") if path.is_file())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_job_within_two_seconds_and_leaves_nothing(place: Path, number: signal.Signals) -> None:
    command = start(place, "job.py:endless")
    wait_for(lambda: runs(place, "endless"), "the first tick")

    command.send_signal(number)
    took_s = wait_for(lambda: command.poll() is not None, "the end")

    assert command.returncode == 130, command.communicate()
    assert took_s < 4.0  # two seconds on a machine of one's own
    assert our_processes(place) == []
    assert list((place / "tmp").iterdir()) == []
    command.communicate()


def test_an_interrupt_ends_the_job_whatever_user_code_does(place: Path) -> None:
    command = start(place, "job.py:stuck")
    wait_for(lambda: runs(place, "stuck"), "the first tick")

    command.send_signal(signal.SIGINT)
    took_s = wait_for(lambda: command.poll() is not None, "the end")

    assert command.returncode == 130, command.communicate()
    assert took_s < 4.0
    assert our_processes(place) == []
    command.communicate()


def test_all_processes_end_when_the_command_is_killed(place: Path) -> None:
    command = start(place, "job.py:stuck")
    wait_for(lambda: runs(place, "stuck"), "the first tick")

    command.kill()
    command.communicate()

    wait_for(lambda: not our_processes(place), "the end of all processes", 5.0)
    wait_for(lambda: not list((place / "tmp").iterdir()), "the end of the socket directory", 5.0)


def test_a_user_exception_shows_the_users_own_line_last_and_no_traceback_of_ours(place: Path) -> None:
    output, _ = (command := start(place, "job.py:failing", "--plain")).communicate(timeout=60)

    assert command.returncode == 3
    assert "record 0" in output
    assert "return 1 / number" in output
    assert "ZeroDivisionError: division by zero" in output
    assert "elastic/operators" not in output
    assert 'Traceback (most recent call last):\n  File "/' not in output.replace(str(place), "")


def test_a_job_in_a_script_runs_by_its_name_and_prints_its_rows(place: Path) -> None:
    output, _ = (command := start(place, "job.py")).communicate(timeout=60)

    assert command.returncode == 0, output
    assert "a\t2\n" in output
    assert "b\t1\n" in output


def test_a_query_runs_from_a_plain_script_with_modules_beside_it(place: Path) -> None:
    (place / "main.py").write_text(
        "import helper\n"
        "from elastic import Query, sinks, sources\n"
        "query = Query('plain')\n"
        "query.source(sources.from_list([1, 2, 4])).map(lambda n: helper.invert(n)).sink(sinks.discard())\n"
        "if __name__ == '__main__':\n"
        "    report = query.run(workers=2, display=False)\n"
        "    print('read', report.records_in, 'wrote', report.records_out, report.status)\n"
    )

    found = subprocess.run(
        [sys.executable, "main.py"], cwd=place, capture_output=True, text=True, timeout=60, check=False
    )

    assert "read 3 wrote 3 done" in found.stdout, found
