"""Workers that hang: stopped ones are replaced and, when they come back, harmless; busy ones are left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic import Operator, Query, sinks, sources
from elastic.report import JobOutcome
from tests.cluster.driving import Breaker, Running, drive, kinds, see
from tests.cluster.jobs import (
    HARD,
    chain,
    chain_rows,
    counts,
    expected_chain,
    expected_counts,
    hard_to_match,
    word_count,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Stubborn(Operator):
    """Holds the interpreter for some seconds at one record."""

    def __init__(self) -> None:
        self.text = hard_to_match(2.0)

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        if value == 60:
            HARD.match(self.text)
        yield key, value


def pause_and_resume(operator: str, instance: int, *, after_records: int, until: str | None) -> list[Breaker]:
    """SIGSTOP for the worker of an instance, SIGCONT once it is restored; then waits for an event."""
    paused: list[int] = []

    def pause(running: Running) -> bool:
        owner = running.job.owner_of(operator, instance)
        if running.progress.records_in < after_records or owner is None:
            return False
        running.job.pause(owner)
        paused.append(owner)
        return True

    def resume(running: Running) -> bool:
        if not running.saw("restored", operator):
            return False
        running.job.resume(paused[0])
        return True

    return [pause, resume, *([see(until)] if until else [])]


def time_of(outcome: JobOutcome, kind: str) -> float:
    return next(e.at_s for e in outcome.events if e.kind == kind)


@pytest.mark.parametrize(("operator", "instance"), [("text_files", 1), ("count", 2)])
def test_a_stopped_worker_is_replaced_and_fenced_when_it_comes_back(
    tmp_path: Path, operator: str, instance: int
) -> None:
    faults = pause_and_resume(operator, instance, after_records=4_000, until="fenced")

    outcome = drive(word_count(tmp_path, "7k/s"), tmp_path, *faults)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert time_of(outcome, "detected") - time_of(outcome, "paused") < 20.0  # 1.1 s on a machine of one's own
    assert "does not answer" in outcome.recoveries[0].cause
    assert "fenced" in kinds(outcome)


def test_a_stopped_worker_that_may_hold_the_lock_of_a_database_is_ended(tmp_path: Path) -> None:
    faults = pause_and_resume("sqlite", 0, after_records=4_000, until=None)

    outcome = drive(word_count(tmp_path, "7k/s"), tmp_path, *faults)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert "fenced" not in kinds(outcome)


def test_files_of_a_stopped_worker_that_comes_back_hold_every_row_once(tmp_path: Path) -> None:
    faults = pause_and_resume("json_lines", 1, after_records=1_500, until="fenced")

    outcome = drive(chain(tmp_path, "2k/s"), tmp_path, *faults, checkpoint_ms=200)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert "fenced" in kinds(outcome)


def test_a_pause_shorter_than_the_heartbeat_is_no_failure(tmp_path: Path) -> None:
    resume_at: list[float] = []

    def pause(running: Running) -> bool:
        owner = running.job.owner_of("chain", 0)
        if running.progress.records_in < 1_000 or owner is None:
            return False
        running.job.pause(owner)
        resume_at.append(time.monotonic() + 0.5)

        return True

    def resume(running: Running) -> bool:
        if time.monotonic() < resume_at[0]:
            return False
        for worker in range(4):
            running.job.resume(worker)
        return True

    outcome = drive(chain(tmp_path), tmp_path, pause, resume, heartbeat_ms=10_000)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert "failed" not in kinds(outcome)


def test_user_code_that_holds_the_interpreter_is_not_a_dead_worker(tmp_path: Path) -> None:
    query = Query("stubborn")
    rows = query.source(sources.from_list(list(range(100)), rate="200/s"))
    rows.key_by().apply(Stubborn()).sink(sinks.discard())

    outcome = drive(query, tmp_path, workers=2, heartbeat_ms=1_000)

    assert outcome.status == "done", outcome.error
    assert outcome.wall_s > 1.7, "the expression was too easy"
    assert "failed" not in kinds(outcome)
