"""A scenario whose policy scales while everything that can be killed is, and workers come and go."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

JOB = """
import time

from elastic import Operator, Query, sinks, sources


class Busy(Operator):
    def process(self, key, value, state, ctx):
        until = time.perf_counter() + 0.0003
        while time.perf_counter() < until:
            pass
        state.set((state.get() or 0) + 1)
        yield key, state.get()


query = Query("surge")
rows = sources.from_list([n % 50 for n in range(8_300)], rate=[("1s", "400/s"), ("3s", "2500/s"), ("1s", "400/s")])
query.source(rows, name="numbers").key_by().apply(Busy(), name="busy").sink(sinks.json_lines("out", commit="200ms"))
"""

SCENARIO = """
name: surge
job: surge_job.py:query
cluster: {{workers: 1, spares: 3}}
elastic:
  checkpoint: 200ms
  scaling: {{policy: threshold, threshold: 0.5, reports: 1, period: 300ms, at_most: 2}}
faults:
  - {{after: {joins} records, join: true}}
  - {{after: {first} records, kill: {{owner_of: {victim}}}}}
  - {{after: {coordinator} records, kill: {{coordinator: true}}}}
  - {{after: {second} records, kill: {{owner_of: busy}}}}
  - {{at: {drained}ms, drain: {{owner_of: busy}}}}
expect: {{result: verified, lost: 0, duplicated: 0}}
"""


def test_a_surge_is_survived_whatever_is_killed_while_it_scales(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    (tmp_path / "surge_job.py").write_text(JOB)
    scenario = SCENARIO.format(
        joins=chance.randrange(100, 1000), first=chance.randrange(600, 3000), victim=chance.choice(["busy", "numbers"]),
        coordinator=chance.randrange(600, 4500), second=chance.randrange(3000, 4500),
        drained=chance.randrange(3300, 3900),  # the input is there for five seconds, and the next coordinator by now
    )  # fmt: skip
    (tmp_path / "surge.yaml").write_text(scenario)
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "elastic", "run", "surge.yaml", "--plain", "--json", str(report)]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 0, f"seed {seed}: {scenario}\n{done.stdout}\n{done.stderr}"
    kinds = [event["kind"] for event in json.loads(report.read_text())["events"]]
    assert {"scaled_out", "coordinator_recovered", "draining"} <= set(kinds), f"seed {seed}: {kinds}"
