"""Ctrl-C, SIGTERM and SIGKILL for the command: it ends in time, leaves nothing behind and nothing half done."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.cluster.command import SLOWLY, has_committed, left_over, our_processes, start, wait_for

pytestmark = pytest.mark.cluster

ENDS_WITHIN_S = 30.0
"""Two seconds on a machine of one's own; without an end to their patience, some of these jobs would last for hours."""


def rows_of(place: Path) -> dict[str, list[int]]:
    """What the JSON lines hold: the second field of all rows, by the first."""
    rows: dict[str, list[int]] = defaultdict(list)
    for part in (place / "out").glob("*.jsonl"):
        for line in part.read_text().splitlines():
            key, value = json.loads(line)
            rows[str(key)].append(value)
    return rows


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_ends_in_time_with_both_sinks_at_one_tick(place: Path, number: signal.Signals) -> None:
    command = start(place, "job.py:endless")
    wait_for(lambda: has_committed(place), "the first commit")

    os.killpg(command.pid, number)  # as a terminal does; workers are in groups of their own
    took_s = wait_for(lambda: command.poll() is not None, "the end")

    assert command.returncode == 130, command.communicate()
    assert took_s < ENDS_WITHIN_S
    assert our_processes(place) == []
    assert left_over(place) == []
    numbers = rows_of(place)
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in numbers.values())
    with closing(sqlite3.connect(place / "counts.db")) as connection:
        counts = dict(connection.execute("SELECT key, value FROM counts"))
    assert {str(key): count for key, count in counts.items()} == {key: len(found) for key, found in numbers.items()}
    command.communicate()


@pytest.mark.parametrize("job", ["stuck", "holding"])
def test_an_interrupt_ends_the_job_in_time_whatever_user_code_does(place: Path, job: str) -> None:
    command = start(place, f"job.py:{job}")
    wait_for(lambda: has_committed(place), "the first commit")

    command.send_signal(signal.SIGINT)
    took_s = wait_for(lambda: command.poll() is not None, "the end")

    assert command.returncode == 130, command.communicate()
    assert took_s < ENDS_WITHIN_S
    assert our_processes(place) == []
    assert left_over(place) == []
    for key, values in rows_of(place).items():  # each of the four partitions begins at a multiple of 25,000
        for first in range(int(key), 100_000, 25_000):
            found = sorted(v for v in values if first <= v < first + 25_000)
            assert found == list(range(first, first + 8 * len(found), 8)), "not a prefix"
    command.communicate()


def test_a_second_interrupt_ends_the_job_at_once(place: Path) -> None:
    command = start(place, "job.py:stuck")
    wait_for(lambda: has_committed(place), "the first commit")
    assert command.stdout
    command.send_signal(signal.SIGINT)
    line = ""
    while "stopping" not in line:
        line = command.stdout.readline()
        assert line, "it ended without a word"

    command.send_signal(signal.SIGINT)
    took_s = wait_for(lambda: command.poll() is not None, "the end")

    assert command.returncode == 130
    assert took_s < ENDS_WITHIN_S
    assert our_processes(place) == []
    assert left_over(place) == []
    command.communicate()


def test_an_interrupt_while_the_processes_start_ends_them(place: Path) -> None:
    command = start(place, "job.py:endless")
    wait_for(lambda: list((place / "tmp").iterdir()), "the sockets' directory")

    command.send_signal(signal.SIGINT)
    took_s = wait_for(lambda: command.poll() is not None, "the end")

    assert command.returncode == 130, command.communicate()
    assert took_s < ENDS_WITHIN_S
    assert our_processes(place) == []
    assert left_over(place) == []
    command.communicate()


@pytest.mark.parametrize("job", ["endless", "stuck", "holding"])
def test_all_processes_end_when_the_command_is_killed(place: Path, job: str) -> None:
    command = start(place, f"job.py:{job}")
    wait_for(lambda: has_committed(place), "the first commit")

    command.kill()
    command.communicate()

    wait_for(lambda: not our_processes(place), "the end of all processes")
    wait_for(lambda: not list((place / "tmp").iterdir()), "the end of the sockets' directory")


def test_an_interrupt_while_the_command_is_still_being_imported_ends_it_without_a_word(place: Path) -> None:
    (place / "yaml.py").write_text("import pathlib, time\npathlib.Path('imports').touch()\ntime.sleep(600)\n")
    command = start(place, "job.py:endless")
    wait_for((place / "imports").exists, "the import of YAML")

    command.send_signal(signal.SIGINT)

    output, _ = command.communicate(timeout=120)
    assert command.returncode == -signal.SIGINT
    assert output == ""
    assert left_over(place) == []


def test_a_job_whose_processes_have_lost_their_parent_fails_with_what_to_do_and_is_resumed(place: Path) -> None:
    command = start(place, "job.py:bounded", "--plain", *SLOWLY)
    wait_for(lambda: has_committed(place), "the first commit")

    psutil.Process(command.pid).children()[0].kill()

    output, _ = command.communicate(timeout=120)
    assert command.returncode == 3
    assert "Traceback" not in output
    assert "what was committed stays: go on with --resume" in output
    assert left_over(place) == []
    resumed, _ = (again := start(place, "job.py:bounded", "--plain", "--resume")).communicate(timeout=120)
    assert again.returncode == 0, resumed
    assert sorted(v for values in rows_of(place).values() for v in values) == sorted(
        n for key in range(8) for n in range(1, 376)
    )


def test_the_sockets_of_a_job_that_was_killed_with_all_its_processes_go_with_its_next_run(place: Path) -> None:
    command = start(place, "job.py:bounded", "--plain", *SLOWLY)
    wait_for(lambda: has_committed(place), "the first commit")
    for process in our_processes(place):  # the parent before the others, so that nobody is left to tidy up
        process.suspend()
    for process in our_processes(place):
        process.kill()
    command.communicate()
    assert list((place / "tmp").iterdir())

    output, _ = (again := start(place, "job.py:bounded", "--plain", "--resume")).communicate(timeout=120)

    assert again.returncode == 0, output
    assert list((place / "tmp").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only there can another process be given a limit")
def test_a_journal_that_cannot_be_written_ends_the_job_with_what_to_do_and_it_is_resumed(place: Path) -> None:
    command = start(place, "job.py:bounded", "--plain", *SLOWLY)
    wait_for(lambda: has_committed(place), "the first commit")
    (coordinator,) = [p for p in psutil.Process(command.pid).children(recursive=True) if "coordin" in p.name()]

    coordinator.rlimit(psutil.RLIMIT_FSIZE, (1, 1))  # as a full disk does, it refuses what would make a file larger

    output, _ = command.communicate(timeout=120)
    assert command.returncode == 3, output
    assert "bounded: FAILED after" in output
    assert "journal.sqlite': disk I/O error; see to that and resume the job" in output
    assert "Traceback" not in output
    resumed, _ = (again := start(place, "job.py:bounded", "--plain", "--resume")).communicate(timeout=120)
    assert again.returncode == 0, resumed
