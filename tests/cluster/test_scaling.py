"""Scaling out on real processes: while the stream flows, while workers are killed, and from another command."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic import Context, Operator, Query, ValueState, sinks, sources
from elastic.cluster.remote import find, running
from elastic.policies import Policy, Threshold, TrueRates
from tests.cluster.driving import Breaker, Running, drive, kill_owner, kinds, scale, see
from tests.cluster.jobs import LINES, chain, chain_rows, counts, expected_chain, expected_counts, word_count

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_an_operator_scales_out_while_the_stream_flows_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    outcome = drive(
        word_count(tmp_path, "10k/s"), tmp_path, scale("count", 5, after_records=4_000), see("scaled_out"), spares=2
    )

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert [(s.operator, s.before, s.after) for s in outcome.scale_outs] == [("count", 3, 5)]
    assert next(o.instances for o in outcome.operators if o.name == "count") == 5


@pytest.mark.parametrize("attempt", range(2))
def test_workers_killed_at_random_during_a_scale_out_change_nothing(tmp_path: Path, attempt: int) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    asked = chance.randrange(800, 1_500)
    victim = chance.choice(("chain", "from_list")), chance.randrange(2)
    breakers = scale("chain", 5, after_records=asked), kill_owner(*victim, after_records=asked + chance.randrange(200))

    outcome = drive(chain(tmp_path, "2k/s"), tmp_path, *breakers, spares=2, checkpoint_ms=200)

    assert outcome.status == "done", f"seed {seed}: {outcome.error}"
    assert chain_rows(tmp_path) == expected_chain(), f"seed {seed}"
    assert "failed" in kinds(outcome)


def test_an_operator_that_was_scaled_out_recovers_like_any_other(tmp_path: Path) -> None:
    def kill_a_new_one(running: Running) -> bool:
        return running.saw("scaled_out") and running.kill(running.job.owner_of("count", 3))

    outcome = drive(word_count(tmp_path, "10k/s"), tmp_path, scale("count", 4, after_records=3_000), kill_a_new_one)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert len(outcome.recoveries) == 1


def test_an_operator_scales_in_while_the_stream_flows_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    outcome = drive(word_count(tmp_path, "10k/s"), tmp_path, scale("count", 1, after_records=4_000), see("scaled_in"))

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert [(s.operator, s.before, s.after) for s in outcome.scale_outs] == [("count", 3, 1)]
    assert "scaled_in" in kinds(outcome)


@pytest.mark.parametrize("attempt", range(2))
def test_workers_killed_at_random_during_a_scale_in_change_nothing(tmp_path: Path, attempt: int) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    asked = chance.randrange(800, 1_500)
    victim = chance.choice(("chain", "from_list")), 0
    breakers = scale("chain", 1, after_records=asked), kill_owner(*victim, after_records=asked + chance.randrange(400))

    outcome = drive(chain(tmp_path, "2k/s"), tmp_path, *breakers, spares=2, checkpoint_ms=200)

    assert outcome.status == "done", f"seed {seed}: {outcome.error}"
    assert chain_rows(tmp_path) == expected_chain(), f"seed {seed}"
    assert "failed" in kinds(outcome)


@pytest.mark.parametrize("instances", [5, 1])
def test_an_instance_and_its_backup_that_are_lost_while_they_scale_are_made_again_from_the_second_copy(
    tmp_path: Path, instances: int
) -> None:
    """The second worker of ``chain`` keeps the checkpoints of the first; nothing lies on a disk."""
    seed = random.randrange(1_000_000)
    at = 1_200 + random.Random(seed).randrange(200)
    owners: list[int | None] = []

    def ask(running: Running) -> bool:
        if not running.has_read(1_200) or not running.is_complete():
            return False
        owners.extend(running.job.owner_of("chain", n) for n in range(2))
        running.job.scale("chain", instances)
        return True

    def kill_both(running: Running) -> bool:
        if not running.has_read(at):
            return False
        for owner in owners:
            running.kill(owner)
        return True

    settings: dict[str, Any] = {"spares": 2, "checkpoint_ms": 200, "disk": "off", "copies": 2}
    outcome = drive(chain(tmp_path, "2k/s"), tmp_path, ask, kill_both, **settings)

    assert outcome.status == "done", f"seed {seed}: {outcome.error}"
    assert chain_rows(tmp_path) == expected_chain(), f"seed {seed}"


def test_a_source_scales_out_and_in_and_every_record_is_read_once(tmp_path: Path) -> None:
    def when(kind: str, instances: int) -> Breaker:
        def ask(running: Running) -> bool:
            if not running.saw(kind, "text_files"):
                return False
            running.job.scale("text_files", instances)
            return True

        return ask

    query = word_count(tmp_path, "10k/s")
    asked = scale("text_files", 4, after_records=3_000), when("scaled_out", 1), see("scaled_in")
    outcome = drive(query, tmp_path, *asked, workers=2, spares=2, partitions=5)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.records_in == len(LINES)
    assert [(s.operator, s.before, s.after) for s in outcome.scale_outs] == [
        ("text_files", 2, 4),
        ("text_files", 4, 1),
    ]
    assert not {"failed", "fenced", "restored"} & set(kinds(outcome))


@pytest.mark.parametrize("attempt", range(2))
def test_workers_killed_at_random_while_a_source_scales_change_nothing(tmp_path: Path, attempt: int) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    asked = chance.randrange(800, 1_500)
    instances = chance.choice((1, 4))
    victim = chance.choice((("chain", chance.randrange(2)), ("from_list", chance.randrange(min(2, instances)))))
    breakers = (
        scale("from_list", instances, after_records=asked),
        kill_owner(*victim, after_records=asked + chance.randrange(200)),
    )

    outcome = drive(chain(tmp_path, "2k/s"), tmp_path, *breakers, workers=2, spares=3, checkpoint_ms=200, partitions=4)

    assert outcome.status == "done", f"seed {seed}: {outcome.error}"
    assert chain_rows(tmp_path) == expected_chain(), f"seed {seed}"


def test_more_instances_than_spares_are_refused_with_a_warning_and_the_job_goes_on(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path, "4k/s"), tmp_path, scale("chain", 9, after_records=500))

    assert outcome.status == "done", outcome.error
    assert any("9 would need 6 spares; there is 1" in str(e.cause) for e in outcome.events)
    assert outcome.scale_outs == ()


def test_another_command_lists_a_running_job_and_scales_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []

    def ask(running_job: Running) -> bool:
        if not running_job.has_read(500) or not running_job.is_complete():
            return False
        said.append(command("jobs"))
        said.append(command("scale", str(tmp_path / "job"), "chain", "4"))
        return True

    outcome = drive(chain(tmp_path), tmp_path, ask, see("scaled_out"))

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert said[0] == "no job runs in .elastic\n"
    assert re.fullmatch(r"chain runs on 4 instances; (0 spares are|1 spare is) left\n", said[1])
    assert [(s.before, s.after) for s in outcome.scale_outs] == [(3, 4)]
    with pytest.raises(Exception, match="no job runs under the name or in the directory"):
        find(str(tmp_path / "job"))
    assert running(tmp_path) == []


@pytest.fixture
def added() -> Iterator[list[subprocess.Popen[str]]]:
    """Workers that were added by a command of their own; none is left when a test has failed."""
    workers: list[subprocess.Popen[str]] = []
    yield workers
    for worker in workers:
        worker.kill()
        worker.communicate()


def add_worker(added: list[subprocess.Popen[str]], directory: Path, *, after_records: int) -> Breaker:
    """Have another command add one, once so many records were read."""

    def add(running: Running) -> bool:
        if running.progress.records_in < after_records:
            return False
        worker = [sys.executable, "-m", "elastic", "worker", "--join", str(directory)]
        added.append(subprocess.Popen(worker, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return True

    return add


def test_workers_are_added_drained_and_killed_from_other_commands_and_nothing_is_lost(
    tmp_path: Path, added: list[subprocess.Popen[str]]
) -> None:
    directory = str(tmp_path / "job")

    def drain_the_first(running: Running) -> bool:
        if not any(e.kind == "spare_started" and e.worker == 1000 for e in running.events):
            return False
        owner = running.job.owner_of("chain", 0)
        assert re.fullmatch(rf"worker {owner} has left; .*\n", command("drain", directory, str(owner)))
        assert not {"failed", "checkpoint_lost", "restored"} & {e.kind for e in running.events}
        assert "in use" in command("jobs", directory)
        return True

    def kill_any(running: Running) -> bool:
        assert re.fullmatch(r"worker \d+ was sent SIGKILL\n", command("kill-worker", directory))
        return True

    def drain_the_added(running: Running) -> bool:
        if not running.saw("caught_up"):
            return False
        added[0].send_signal(signal.SIGINT)
        return True

    def has_left(running: Running) -> bool:
        return any(e.kind == "drained" and e.worker == 1000 for e in running.events)

    add = add_worker(added, tmp_path / "job", after_records=400)
    steps = add, drain_the_first, kill_any, drain_the_added, has_left
    outcome = drive(chain(tmp_path, "1k/s"), tmp_path, *steps, workers=2, checkpoint_ms=200)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    printed, _ = added[0].communicate(timeout=60)
    assert printed == "worker 1000 joins job; Ctrl-C drains it\ndraining\nworker 1000 has left\n"
    assert added[0].returncode == 0
    assert len(outcome.recoveries) == 1


@pytest.mark.parametrize("attempt", range(2))
def test_workers_killed_at_random_while_one_is_drained_change_nothing(tmp_path: Path, attempt: int) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    asked = chance.randrange(800, 1_500)

    def drain(running: Running) -> bool:
        owner = running.job.owner_of("chain", chance.randrange(2))
        if running.progress.records_in < asked or owner is None:
            return False
        running.job.drain(owner)
        return True

    victim = chance.choice(("chain", "from_list", "json_lines")), chance.randrange(2)
    breakers = drain, kill_owner(*victim, after_records=asked + chance.randrange(150))
    outcome = drive(chain(tmp_path, "2k/s"), tmp_path, *breakers, spares=2, checkpoint_ms=200)

    assert outcome.status == "done", f"seed {seed}: {outcome.error}"
    assert chain_rows(tmp_path) == expected_chain(), f"seed {seed}"


def test_a_worker_that_was_added_ends_with_the_job(tmp_path: Path, added: list[subprocess.Popen[str]]) -> None:
    def is_there(running: Running) -> bool:
        return any(e.worker == 1000 for e in running.events)

    outcome = drive(chain(tmp_path), tmp_path, add_worker(added, tmp_path / "job", after_records=100), is_there)

    assert outcome.status == "done", outcome.error
    printed, _ = added[0].communicate(timeout=60)
    assert printed.splitlines()[-1] == "the job has ended"
    assert added[0].returncode == 0


def command(*arguments: str) -> str:
    """What the command prints."""
    run = [sys.executable, "-m", "elastic", *arguments]
    return subprocess.run(run, check=True, timeout=120, capture_output=True, text=True).stdout


class Busy(Operator):
    """Counts, and takes its time."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        until = time.perf_counter() + 0.0004
        while time.perf_counter() < until:
            pass
        state.set((state.get() or 0) + 1)
        yield key, state.get()


@pytest.mark.parametrize("policy", [Threshold(reports=1, period_s=0.5), TrueRates(period_s=0.5)])
def test_a_policy_scales_out_what_falls_behind(tmp_path: Path, policy: Policy) -> None:
    query = Query("busy")
    numbers = query.source(sources.from_list([n % 50 for n in range(9_000)], rate="3k/s"), name="numbers")
    numbers.key_by().apply(Busy(), name="busy").sink(sinks.json_lines(tmp_path / "out", commit="200ms"))

    outcome = drive(query, tmp_path, see("scaled_out"), workers=1, spares=2, checkpoint_ms=200, scaling=policy)

    assert outcome.status == "done", outcome.error
    assert outcome.scale_outs
    written = [
        tuple(json.loads(line)) for part in (tmp_path / "out").glob("*.jsonl") for line in part.read_text().splitlines()
    ]
    assert sorted(written) == sorted((key, n + 1) for key in range(50) for n in range(180))
