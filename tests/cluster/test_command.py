"""The command and ``Query.run`` as users call them: what they print, return and exit with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.command import start

pytestmark = pytest.mark.cluster

SCRIPT = """
import helper
from elastic import Query, sinks, sources

query = Query("plain")
numbers = query.source(sources.from_list([1, 2, 4] * 100)).map(lambda n: helper.invert(n))
numbers.key_by().count(emit="end").sink(sinks.sqlite("counts.db", table="counts", upsert=True))

if __name__ == "__main__":
    report = query.run(workers=2, display=False, verify=True)
    print(report.status, report.records_in, report.records_out, report.verified, report.lost, report.duplicated)
    print([(o.name, o.instances) for o in report.operators])
    print(report.exit_code, report.latency_ms.p50 <= report.latency_ms.max, report.peak_memory_bytes.worker > 1e6)
"""


def run_script(place: Path, text: str) -> subprocess.CompletedProcess[str]:
    (place / "main.py").write_text(text)
    return subprocess.run(
        [sys.executable, "main.py"], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_user_exception_shows_the_users_own_line_last_and_no_traceback_of_ours(place: Path) -> None:
    output, _ = (command := start(place, "job.py:failing", "--plain")).communicate(timeout=120)

    assert command.returncode == 3
    shown = re.sub(r"\n[ ~^]+(?=\n)", "", output)  # Python's marks under the line
    assert re.search(
        r"operator 'map\(invert\)' failed on record 0, tick \d+\n"
        r" *Traceback \(most recent call last\):\n"
        rf' *File "{place}/helper.py", line 6, in invert\n'
        r" *return 1 / number\n"
        r" *ZeroDivisionError: division by zero\n",
        shown,
    ), output
    assert output.count("File ") == 1


@pytest.mark.parametrize(
    ("arguments", "count"), [(["job.py"], 2), (["job.py:repeated"], 2), (["job.py:repeated", "--set", "times=5"], 10)]
)
def test_a_job_in_a_script_is_a_query_or_a_function_that_returns_one(
    place: Path, arguments: list[str], count: int
) -> None:
    output, _ = (command := start(place, *arguments)).communicate(timeout=120)

    assert command.returncode == 0, output
    assert f"a\t{count}\n" in output
    assert f"b\t{count // 2}\n" in output


def test_a_query_runs_from_a_plain_script_with_modules_beside_it(place: Path) -> None:
    found = run_script(place, SCRIPT)

    assert found.stdout.splitlines() == [
        "done 300 3 True 0 0",
        "[('from_list', 2), ('count', 2), ('sqlite', 1)]",
        "0 True True",
    ], found


def test_a_failure_in_a_script_is_an_exception_with_the_users_own_line(place: Path) -> None:
    found = run_script(place, SCRIPT.replace("[1, 2, 4]", "[1, 0, 4]"))

    assert found.returncode == 1
    assert "JobFailedError: operator 'map(lambda at main.py:6)' failed on record 0" in found.stderr
    assert found.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_the_report_in_json_says_what_was_read_written_and_verified(place: Path) -> None:
    (place / "three.yaml").write_text(
        "name: three\njob: job.py:repeated\nparameters: {times: 3}\ncluster: {workers: 2, spares: 1}\n"
        "expect: {result: verified, lost: 0, duplicated: 0}\n"
    )

    output, _ = (command := start(place, "three.yaml", "--json", "report.json")).communicate(timeout=120)

    assert command.returncode == 0, output
    report = json.loads((place / "report.json").read_text())
    assert (report["scenario"], report["records_in"], report["records_out"]) == ("three", 9, 2)
    assert (report["verified"], report["lost"], report["duplicated"]) == (True, 0, 0)
    assert [e["met"] for e in report["expectations"]] == [True, True, True]
    assert report["events"][-1]["kind"] == "finished"
