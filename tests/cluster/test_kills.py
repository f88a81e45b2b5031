"""SIGKILL at random moments: the sink ends with what an independent computation gives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from elastic.report import JobOutcome
from tests.cluster.driving import Breaker, Running, drive, kill_owner, kill_spare, kinds, see
from tests.cluster.jobs import LINES, chain, chain_rows, counts, expected_chain, expected_counts, word_count

pytestmark = pytest.mark.cluster


def taken_in(outcome: JobOutcome) -> dict[str, int]:
    """What each operator says that it has taken in."""
    return {operator.name: operator.records_in for operator in outcome.operators}


@pytest.mark.parametrize(("operator", "instance"), [("text_files", 1), ("count", 2), ("sqlite", 0)])
def test_counts_are_exact_after_a_kill_at_a_random_moment(tmp_path: Path, operator: str, instance: int) -> None:
    moment = random.Random(operator).randrange(18_000)

    outcome = drive(word_count(tmp_path), tmp_path, kill_owner(operator, instance, after_records=moment))

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.records_in == len(LINES)
    assert [r.cause.endswith("killed by SIGKILL") for r in outcome.recoveries] == [True]


@pytest.mark.parametrize("seed", range(3))
def test_an_order_sensitive_operator_loses_repeats_and_reorders_nothing_after_a_kill(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    victim = chance.choice(("from_list", "chain", "json_lines")), chance.randrange(3)
    moment = chance.randrange(5_000)

    outcome = drive(chain(tmp_path), tmp_path, kill_owner(*victim, after_records=moment), checkpoint_ms=300)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert taken_in(outcome) == {"from_list": 6_000, "chain": 6_000, "json_lines": 6_000}


@pytest.mark.parametrize(
    "second", [kill_owner("chain", 2, after="detected"), kill_spare(after="detected")], ids=["a worker", "a spare"]
)
def test_the_result_is_exact_after_a_second_kill_while_the_first_recovers(tmp_path: Path, second: Breaker) -> None:
    outcome = drive(
        chain(tmp_path), tmp_path, kill_owner("chain", 0, after_records=2_000), second,
        workers=4, spares=2, checkpoint_ms=200,
    )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert taken_in(outcome) == {"from_list": 6_000, "chain": 6_000, "json_lines": 6_000}
    assert kinds(outcome).count("detected") == 2


def test_rows_are_counted_once_and_all_of_them_though_the_sinks_worker_is_killed_twice(tmp_path: Path) -> None:
    outcome = drive(
        chain(tmp_path), tmp_path,
        kill_owner("json_lines", 0, after_records=1_500), kill_owner("json_lines", 0, after_records=3_500),
        checkpoint_ms=200,
    )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert outcome.records_out == len(expected_chain()) == 6_000
    assert kinds(outcome).count("detected") == 2


def test_a_kill_before_the_first_checkpoint_starts_again_from_tick_zero(tmp_path: Path) -> None:
    outcome = drive(word_count(tmp_path), tmp_path, kill_owner("count", 1, after_records=6_000), checkpoint_ms=60_000)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.recoveries[0].state_keys == 0
    assert outcome.recoveries[0].replayed_records > 0


def test_the_loss_of_a_spare_is_no_recovery_and_another_one_is_started(tmp_path: Path) -> None:
    outcome = drive(word_count(tmp_path, "20k/s"), tmp_path, kill_spare(after_records=4_000), see("spare_started"))

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.recoveries == ()
    assert kinds(outcome).index("failed") < len(kinds(outcome)) - kinds(outcome)[::-1].index("spare_started")


@pytest.mark.parametrize(("workers", "spares"), [(1, 1), (2, 0)])
def test_a_small_cluster_survives_a_kill(tmp_path: Path, workers: int, spares: int) -> None:
    victim = kill_owner("chain", 0, after_records=2_500)

    outcome = drive(chain(tmp_path), tmp_path, victim, workers=workers, spares=spares, checkpoint_ms=300)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()


def kill_once_protected(instance: int, kills_before: int) -> Breaker:
    """SIGKILL for the worker of an instance of ``chain``, once all copies have been made again after earlier kills."""
    since: list[int] = []

    def strike(running: Running) -> bool:
        restored = sum(e.kind == "restored" and e.operator == "chain" for e in running.events)
        owner = running.job.owner_of("chain", instance)
        if restored < kills_before or owner is None or owner in running.killed:
            return False
        since.append(running.progress.checkpoints)
        if running.progress.checkpoints < since[0] + 8:  # some four of each of the two instances
            return False
        return running.kill(owner)

    return strike


def test_a_small_cluster_survives_one_kill_after_another(tmp_path: Path) -> None:
    """The worker that replaces a victim keeps the checkpoints from then on."""
    kills = [kill_once_protected(n % 2, n) for n in range(3)]

    outcome = drive(chain(tmp_path, "1500/s"), tmp_path, *kills, workers=2, spares=0, checkpoint_ms=100)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
