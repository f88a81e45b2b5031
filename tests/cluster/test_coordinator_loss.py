"""The coordinator is killed: another one reads its journal, data flows meanwhile, nothing is lost or repeated."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from elastic.cluster import job
from elastic.cluster.remote import Remote, find
from elastic.wire.control import FIRST_EXTRA
from tests.cluster.driving import Running, drive, kill_coordinator, kill_owner, kinds, scale, see
from tests.cluster.jobs import chain, chain_rows, expected_chain

pytestmark = pytest.mark.cluster


def test_a_coordinator_that_is_killed_is_replaced_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_coordinator(after_records=2_000))

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    (event,) = [e for e in outcome.events if e.kind == "coordinator_recovered"]
    assert event.cause == "the coordinator was killed by SIGKILL"
    assert outcome.records_in == 6_000
    assert kinds(outcome).count("started") == 1


def test_a_coordinator_may_be_killed_while_the_job_starts(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_coordinator())

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()


def test_a_worker_that_is_lost_after_its_coordinator_is_recovered_by_the_next_one(tmp_path: Path) -> None:
    outcome = drive(
        chain(tmp_path), tmp_path,
        kill_coordinator(after_records=1_500), kill_owner("chain", 0, after="coordinator_recovered"),
        checkpoint_ms=200,
    )  # fmt: skip

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    assert "restored" in kinds(outcome)


def kill_worker_and_coordinator(running: Running) -> bool:
    """Both at once: the loss of the worker is known to nobody who lives."""
    owner = running.job.owner_of("chain", 0)
    if not running.has_read(1_500) or owner is None:
        return False
    running.kill_coordinator()
    return running.kill(owner, note=False)


def stop_coordinator_and_kill_worker(running: Running) -> bool:
    """Nobody is left who would notice."""
    owner = running.job.owner_of("chain", 0)
    if not running.has_read(1_500) or owner is None:
        return False
    running.job.pause_coordinator()
    return running.kill(owner, note=False)


def test_a_coordinator_that_is_stopped_is_replaced_and_what_failed_meanwhile_is_recovered(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, stop_coordinator_and_kill_worker, checkpoint_ms=200)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    (event,) = [e for e in outcome.events if e.kind == "coordinator_recovered"]
    assert str(event.cause).startswith("the coordinator did not answer for ")
    (recovery,) = outcome.recoveries
    assert "killed by SIGKILL" in recovery.cause


def test_a_worker_that_is_lost_with_its_coordinator_is_recovered_by_the_next_one(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_worker_and_coordinator, checkpoint_ms=200)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    assert outcome.records_in == 6_000, "what nobody lives to tell is in the logs"
    (recovery,) = outcome.recoveries
    assert "killed by SIGKILL" in recovery.cause


def test_a_coordinator_may_be_killed_in_the_middle_of_a_recovery(tmp_path: Path) -> None:
    outcome = drive(
        chain(tmp_path), tmp_path,
        kill_owner("chain", 0, after_records=1_500), kill_coordinator(after="detected"),
        checkpoint_ms=200,
    )  # fmt: skip

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()


def test_a_recovery_is_in_the_report_though_the_coordinator_is_killed_right_after_it(tmp_path: Path) -> None:
    outcome = drive(
        chain(tmp_path), tmp_path,
        kill_owner("chain", 0, after_records=1_500), kill_coordinator(after="replayed"),
        checkpoint_ms=200,
    )  # fmt: skip

    assert (outcome.status, outcome.error) == ("done", None)
    (recovery,) = outcome.recoveries
    assert "killed by SIGKILL" in recovery.cause
    assert recovery.restored_s is not None
    placed = [(e.operator, e.instance) for e in outcome.events if e.kind == "restored"]
    assert len(placed) == len(set(placed)), "each once"


def test_a_coordinator_that_does_not_stay_up_ends_the_job_and_who_asked_it_for_something_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "MAX_TAKEOVERS", 1)

    def strike(running: Running) -> bool:
        if not running.saw("coordinator_recovered"):
            return False
        running.kill_coordinator()
        running.job.drain(1)
        return True

    outcome = drive(chain(tmp_path), tmp_path, kill_coordinator(after_records=500), strike)

    assert outcome.status == "failed"
    assert "the coordinator was killed by SIGKILL, 2 times in 60 s" in str(outcome.error)
    warnings = [str(e.cause) for e in outcome.events if e.kind == "warning"]
    assert sum(text.startswith("draining worker 1 was not done: the job ended ") for text in warnings) == 1


@pytest.mark.parametrize("dead", [True, False], ids=["of a dead one", "of one that is about to die"])
def test_what_is_asked_of_a_coordinator_that_is_killed_is_done_by_the_next_one(tmp_path: Path, *, dead: bool) -> None:
    def ask(running: Running) -> bool:
        victim = running.job.owner_of("chain", 2)
        if not running.has_read(1_000) or not running.is_complete() or victim is None:
            return False
        if dead:
            running.kill_coordinator()
        running.job.scale("chain", 4)
        running.job.drain(victim)
        running.job.join()
        if not dead:
            running.kill_coordinator()
        return True

    done = see("scaled_out", "drained", "spare_started")
    outcome = drive(chain(tmp_path, "1500/s"), tmp_path, ask, done, spares=2, checkpoint_ms=200)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    assert [(s.operator, s.before, s.after) for s in outcome.scale_outs] == [("chain", 3, 4)]
    assert kinds(outcome).count("drained") == kinds(outcome).count("coordinator_recovered") == 1
    added = [e.worker for e in outcome.events if e.kind == "spare_started" and (e.worker or 0) >= FIRST_EXTRA]
    assert len(added) == 1, "once, however often it was asked for"
    warnings = [str(e.cause) for e in outcome.events if e.kind == "warning"]
    assert all(text.startswith("the coordinator has said nothing") for text in warnings), warnings


def test_another_command_is_answered_by_the_next_coordinator(tmp_path: Path) -> None:
    answers: list[int] = []

    def ask() -> None:
        with Remote(find(str(tmp_path / "job"))) as remote:
            answers.append(dict(remote.scale("chain", 4).operators)["chain"])

    asking = threading.Thread(target=ask)

    def strike(running: Running) -> bool:
        if not running.has_read(1_000) or not running.is_complete():
            return False
        running.kill_coordinator()
        asking.start()
        return True

    outcome = drive(
        chain(tmp_path, "1500/s"), tmp_path, strike, lambda _: not asking.is_alive(), spares=1, checkpoint_ms=200
    )

    assert answers == [4], "asked while nobody was there to answer"
    assert (outcome.status, chain_rows(tmp_path)) == ("done", expected_chain())


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(2))
def test_coordinator_and_workers_killed_at_random_while_it_scales_change_nothing(tmp_path: Path, attempt: int) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    out = chance.randrange(500, 900)
    first = kill_coordinator(after_records=out + chance.randrange(250))
    victim = kill_owner("chain", chance.randrange(2), after_records=out + 250 + chance.randrange(500))
    back = scale("chain", 2, after_records=2_500)
    second = kill_coordinator(after_records=2_500 + chance.randrange(250))

    outcome = drive(
        chain(tmp_path, "1500/s"), tmp_path, scale("chain", 4, after_records=out), first, victim, back, second,
        workers=2, spares=2, checkpoint_ms=200,
    )  # fmt: skip

    assert outcome.status == "done", f"seed {seed}: {outcome.error}"
    assert chain_rows(tmp_path) == expected_chain(), f"seed {seed}"
    assert kinds(outcome).count("coordinator_recovered") == 2, f"seed {seed}"
