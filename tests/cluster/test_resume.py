"""A job that was stopped, that failed or that was killed goes on from its directory, and its result is exact."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from elastic.cluster.saved import Identity
from elastic.errors import UserError
from elastic.plan import Settings
from tests.cluster.command import SLOWLY, has_committed, left_over, our_processes, start, wait_for
from tests.cluster.jobs import chain

pytestmark = pytest.mark.cluster

EXPECTED = {str(key): list(range(1, 376)) for key in range(8)}


def rows_of(place: Path) -> dict[str, list[int]]:
    """The numbers of each key that are in the parts, ascending."""
    rows: dict[str, list[int]] = defaultdict(list)
    for part in (place / "out").glob("*.jsonl"):
        for line in part.read_text().splitlines():
            key, value = json.loads(line)
            rows[str(key)].append(value)
    return {key: sorted(found) for key, found in rows.items()}


def end_of(command: subprocess.Popen[str]) -> str:
    """What a command has printed, when it has ended."""
    output, _ = command.communicate(timeout=120)
    return output


def test_a_job_of_which_everything_was_killed_goes_on_and_its_result_is_exact(place: Path) -> None:
    command = start(place, "job.py:bounded", "--workers", "2", *SLOWLY)
    wait_for(lambda: has_committed(place), "the first commit")
    os.killpg(command.pid, signal.SIGKILL)
    end_of(command)
    wait_for(lambda: not our_processes(place), "the end of its processes")
    assert rows_of(place) != EXPECTED

    resumed = start(place, "job.py:bounded", "--workers", "2", "--resume")
    output = end_of(resumed)

    assert resumed.returncode == 0, output
    assert "job resumed" in output
    assert rows_of(place) == EXPECTED
    assert our_processes(place) == []
    assert left_over(place) == []


def test_a_job_that_was_stopped_goes_on_with_other_numbers_of_workers(place: Path) -> None:
    command = start(place, "job.py:bounded", "--workers", "2", *SLOWLY)
    wait_for(lambda: has_committed(place), "the first commit")
    os.killpg(command.pid, signal.SIGINT)
    end_of(command)
    assert command.returncode == 130
    assert rows_of(place) != EXPECTED

    resumed = start(place, "job.py:bounded", "--workers", "3", "--spares", "0", "--resume")
    output = end_of(resumed)

    assert resumed.returncode == 0, output
    assert rows_of(place) == EXPECTED


def test_a_job_that_failed_goes_on_once_its_code_is_mended(place: Path) -> None:
    helper = place / "helper.py"
    sound = helper.read_text()
    helper.write_text(sound.replace("    pass\n", "    assert number != 2000, 'two thousand'\n"))
    command = start(place, "job.py:bounded", "--workers", "2")
    output = end_of(command)
    assert command.returncode == 3
    assert "two thousand" in output
    helper.write_text(sound)

    resumed = start(place, "job.py:bounded", "--workers", "2", "--resume")
    output = end_of(resumed)

    assert resumed.returncode == 0, output
    assert rows_of(place) == EXPECTED


def test_a_job_whose_state_does_not_fit_its_new_code_is_refused_with_what_differs(place: Path) -> None:
    command = start(place, "job.py:bounded", "--workers", "2", *SLOWLY)
    wait_for(lambda: has_committed(place), "the first commit")
    os.killpg(command.pid, signal.SIGINT)
    end_of(command)

    resumed = start(place, "job.py:bounded", "--set", "operator=count", "--resume")
    output = end_of(resumed)

    assert resumed.returncode == 2
    assert "operator 'number' was apply(Checked), and is count" in output
    assert "run it without --resume, which forgets its state" in output
    assert "Traceback" not in output

    again = start(place, "job.py:bounded", "--workers", "2", "--resume")
    assert end_of(again)
    assert again.returncode == 0
    assert rows_of(place) == EXPECTED


def test_a_job_that_kept_its_state_in_memory_alone_is_refused(tmp_path: Path) -> None:
    in_memory = chain(tmp_path).plan(workers=2, settings=Settings(disk="off"))
    on_disk = chain(tmp_path).plan(workers=2)

    with pytest.raises(UserError, match="since it kept its state in memory alone"):
        Identity.of(in_memory, keep_log=False).fitted(on_disk)
    with pytest.raises(UserError, match="since it is to keep its state in memory alone"):
        Identity.of(on_disk, keep_log=False).fitted(in_memory)


def test_what_is_done_or_never_was_cannot_be_resumed(place: Path) -> None:
    never = start(place, "job.py:repeated", "--resume")
    assert "there is nothing to resume in" in end_of(never)
    assert never.returncode == 2

    done = start(place, "job.py:repeated")
    end_of(done)
    again = start(place, "job.py:repeated", "--resume")

    assert "is done, there is nothing to resume" in end_of(again)
    assert (done.returncode, again.returncode) == (0, 2)


def test_the_state_of_a_job_can_be_looked_at_while_it_runs_and_after_it_was_stopped(place: Path) -> None:
    command = start(place, "job.py:bounded", "--workers", "2", *SLOWLY)
    wait_for(lambda: state(place, "bounded", "--key", "3").startswith("number#"), "a checkpoint with the key")
    os.killpg(command.pid, signal.SIGINT)
    end_of(command)

    table = state(place, "bounded").splitlines()
    kept = state(place, "bounded", "--key", "3")

    assert [line.split()[0] for line in table] == ["OPERATOR", "number#0", "number#1"]
    assert kept.startswith("number#")
    assert "value: " in kept
    assert "keeps anything for the key 99" in state(place, "bounded", "--key", "99")
    assert "has no keyed operator 'nobody'; it has number" in state(place, "bounded", "nobody")


def state(place: Path, *arguments: str) -> str:
    """What ``elastic state`` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "elastic", "state", *arguments], cwd=place, text=True, check=False, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.stdout
