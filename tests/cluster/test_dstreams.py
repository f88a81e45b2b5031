"""Jobs in intervals on real processes: SIGKILL at random moments, and sinks that end with an independent result."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dstream.job import StreamJob
from dstream.model import start_job
from elastic import Query, sinks, sources
from elastic.plan import Plan
from elastic.report import JobOutcome
from elastic.scenario.models import DStream
from tests.cluster.driving import Breaker, drive, kill_owner, kinds
from tests.cluster.jobs import LINES, chain, chain_rows, counts, expected_chain, expected_counts, word_count

pytestmark = pytest.mark.cluster


def run(query: Query, directory: Path, *breakers: Breaker, interval: str = "200ms", checkpoint: int = 3) -> JobOutcome:
    section = DStream.model_validate({"interval": interval, "checkpoint": checkpoint})
    start: Any = partial(start_job, settings=section)
    return drive(query, directory, *breakers, start=start)


def test_counts_are_exact_without_a_failure(tmp_path: Path) -> None:
    outcome = run(word_count(tmp_path), tmp_path)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.records_in == outcome.intervals.records == len(LINES)
    assert outcome.intervals.count >= 10
    assert outcome.intervals.total_delay_ms.p50 is not None
    assert outcome.intervals.recomputed == 0


@pytest.mark.parametrize(("operator", "instance"), [("text_files", 1), ("count", 2), ("sqlite", 0)])
def test_counts_are_exact_after_a_kill_at_a_random_moment(tmp_path: Path, operator: str, instance: int) -> None:
    moment = random.Random(operator).randrange(18_000)

    outcome = run(word_count(tmp_path), tmp_path, kill_owner(operator, instance, after_records=moment))

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.records_in == outcome.intervals.records == len(LINES)
    assert [(r.strategy, r.cause.endswith("killed by SIGKILL")) for r in outcome.recoveries] == [("lineage", True)]


def test_an_order_sensitive_operator_is_exact_after_one_kill_while_another_is_recovered_from(tmp_path: Path) -> None:
    first = kill_owner("chain", 0, after_records=2_000)

    outcome = run(chain(tmp_path), tmp_path, first, kill_owner("chain", 2, after="detected"))

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert kinds(outcome).count("detected") == 2


def test_lost_state_is_computed_again_by_several_survivors(tmp_path: Path) -> None:
    outcome = run(word_count(tmp_path), tmp_path, kill_owner("count", 0, after_records=12_000), checkpoint=50)

    assert outcome.intervals.recomputed > 0
    restored = {e.worker for e in outcome.events if e.kind == "restored" and e.operator == "count"}
    assert len(restored) >= 3


def fail_on_seven(row: int) -> int:
    if row == 7:
        raise ValueError("seven is right out")
    return row


def test_user_code_that_raises_is_tried_again_and_then_ends_the_job_with_its_line(tmp_path: Path) -> None:
    query = Query("fails")
    numbers = query.source(sources.from_list(range(1_000), rate="2k/s"))
    numbers.map(fail_on_seven).key_by(lambda n: n % 10).count().sink(sinks.discard())

    outcome = run(query, tmp_path)

    assert outcome.status == "failed"
    assert "seven is right out" in str(outcome.error)
    assert "test_dstreams.py" in str(outcome.error)
    assert kinds(outcome).count("warning") == 2


def test_a_job_in_intervals_is_a_job_like_others(tmp_path: Path) -> None:
    plan: Plan = word_count(tmp_path).plan(workers=2)

    job = start_job(plan, workers=2, spares=0, directory=tmp_path, keep_log=False, resume=False, settings=DStream())

    assert isinstance(job, StreamJob)
    assert job.plan.operators.keys() == plan.operators.keys()
