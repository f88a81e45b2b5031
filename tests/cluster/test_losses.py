"""Losses that cannot be survived end the job, say what was lost and what would help, and leave what was committed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elastic import Query, sinks, sources
from tests.cluster.driving import drive, kill_both, kill_owner, kinds
from tests.cluster.jobs import chain, chain_rows, expected_chain

pytestmark = pytest.mark.cluster

#: Of chain#0 and chain#1, of which the second keeps the checkpoints of the first.
kill_instance_and_its_neighbour = kill_both(("chain", 0), ("chain", 1), after_records=2_000, checkpoints=12)


def test_losing_an_instance_with_its_backup_ends_the_job_and_says_what_was_lost(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_instance_and_its_neighbour, checkpoint_ms=200, disk="off")

    assert (outcome.status, outcome.failure) == ("failed", "state_lost")
    what = r"the state of chain#0 \(key groups \[0, 85\)\) is lost: worker \d killed by SIGKILL"
    # Which of the two is seen first is chance; a worker that is to keep the next checkpoint does not have it at once.
    why = r"and (its only checkpoint went with worker \d: to survive two losses|worker \d.*had none yet)"
    assert re.match(f"{what}, {why}", str(outcome.error))
    committed = chain_rows(tmp_path)
    assert committed.total() > 0
    assert not committed - expected_chain()


def test_an_instance_that_is_lost_with_its_backup_is_restored_from_the_disk(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_instance_and_its_neighbour, checkpoint_ms=200)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()


def test_an_instance_that_is_lost_with_its_backup_is_restored_from_a_second_copy(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_instance_and_its_neighbour, checkpoint_ms=200, disk="off", copies=2)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()


def test_a_lost_instance_is_restored_as_several_at_once(tmp_path: Path) -> None:
    strike = kill_owner("chain", 0, after_records=2_500)
    outcome = drive(chain(tmp_path), tmp_path, strike, spares=2, checkpoint_ms=200, recovery_parts=2)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    assert next(o.instances for o in outcome.operators if o.name == "chain") == 4


def test_the_only_worker_is_restored_from_the_disk(tmp_path: Path) -> None:
    outcome = drive(
        chain(tmp_path), tmp_path, kill_owner("chain", 0, after_records=2_500), workers=1, spares=0, checkpoint_ms=200
    )

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()


def test_losing_the_only_worker_ends_the_job_and_says_how_many_are_needed(tmp_path: Path) -> None:
    strike = kill_owner("chain", 0, after_records=2_500)
    outcome = drive(chain(tmp_path), tmp_path, strike, workers=1, spares=0, disk="off")

    assert outcome.status == "failed"
    assert "run with more workers" in str(outcome.error)
    assert any("one worker" in str(e.cause) for e in outcome.events if e.kind == "warning")
    assert not chain_rows(tmp_path) - expected_chain()


def test_losing_a_worker_without_checkpoints_ends_the_job_and_names_the_setting(tmp_path: Path) -> None:
    outcome = drive(chain(tmp_path), tmp_path, kill_owner("chain", 0, after_records=2_500), checkpoint_ms=0)

    assert outcome.status == "failed"
    assert "checkpoints are off: set checkpoint to a duration" in str(outcome.error)
    assert any("checkpoints are off" in str(e.cause) for e in outcome.events if e.kind == "warning")


@pytest.mark.parametrize(("workers", "spares"), [(1, 0), (2, 0), (1, 1)])
def test_a_small_cluster_runs_and_warns_of_what_it_cannot_survive(tmp_path: Path, workers: int, spares: int) -> None:
    query = Query("small")
    query.source(sources.from_list(list(range(100)))).key_by().count().sink(sinks.discard())

    outcome = drive(query, tmp_path, workers=workers, spares=spares)

    assert outcome.status == "done", outcome.error
    assert ("warning" in kinds(outcome)) == (spares == 0)
