"""Jobs in intervals on real processes: SIGKILL at random moments, and sinks that end with an independent result."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dstream.job import StreamJob
from dstream.model import cut, start_job
from dstream.plan import StreamPlan
from elastic import Query, sinks, sources
from elastic.cluster.saved import Identity
from elastic.cluster.state import InstanceState, read_state
from elastic.errors import UserError
from elastic.plan import Plan
from elastic.report import JobOutcome, Progress
from elastic.scenario.models import DStream
from tests.cluster.driving import DEADLINE_S, Breaker, Running, drive, kill_coordinator, kill_owner, kinds
from tests.cluster.jobs import LINES, chain, chain_rows, counts, expected_chain, expected_counts, word_count

pytestmark = pytest.mark.cluster


def run(
    query: Query, directory: Path, *breakers: Breaker, interval: str = "200ms", checkpoint: int = 3, **settings: Any
) -> JobOutcome:
    section = DStream.model_validate({"interval": interval, "checkpoint": checkpoint})
    start: Any = partial(start_job, settings=section)
    return drive(query, directory, *breakers, start=start, **settings)


def test_counts_are_exact_without_a_failure(tmp_path: Path) -> None:
    outcome = run(word_count(tmp_path), tmp_path)

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    assert outcome.records_in == outcome.intervals.records == len(LINES)
    assert outcome.intervals.count >= 10
    assert outcome.intervals.total_delay_ms.p50 is not None
    assert outcome.intervals.recomputed == 0
    assert outcome.checkpoints.count >= 9  # of each of its partitions one at least
    assert outcome.checkpoints.bytes > 0
    assert 0 < {o.name: o.busy for o in outcome.operators}["count"] < 1


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


def test_without_a_disk_state_comes_from_the_memory_of_others_after_one_loss_and_another(tmp_path: Path) -> None:
    copied: list[int] = []

    def again(running: Running) -> bool:
        if not running.saw("restored", "count"):
            return False
        copied.append(running.progress.checkpoints)
        new = copied[-1] - copied[0]
        return new >= 18 and running.kill(running.job.owner_of("count", 1))  # two of each partition

    first = kill_owner("count", 0, after_records=8_000, checkpoints=18)
    outcome = run(word_count(tmp_path), tmp_path, first, again, checkpoint=1, disk="off")

    assert outcome.status == "done", outcome.error
    assert counts(tmp_path) == expected_counts()
    restored = [e.cause or "" for e in outcome.events if e.kind == "restored" and e.operator == "count"]
    assert restored
    assert not any(text.startswith("0 keys") for text in restored)
    assert kinds(outcome).count("checkpoint_lost") == 2
    assert not (tmp_path / "job" / "state").exists()


def test_state_is_shown_while_a_job_runs_and_forgotten_once_it_is_done(tmp_path: Path) -> None:
    job, seen = str(tmp_path / "job"), list[InstanceState]()

    def look(running: Running) -> bool:
        if running.progress.checkpoints >= 18:  # two of each partition: whole ones, and what was written since
            seen.extend(read_state(job, "count"))
        return bool(seen)

    run(word_count(tmp_path), tmp_path, look, checkpoint=1)

    assert [(state.operator, state.index) for state in seen] == [("count", n) for n in range(9)]
    assert {state.tick is not None and state.tick % 20 for state in seen} == {0}
    assert sum(state.keys for state in seen) == len(expected_counts())
    (common,) = [value["value"] for state in seen if (value := state.value("common")) is not None]
    assert 0 < common < len(LINES)
    assert all(state.disk_bytes > 0 for state in seen)
    with pytest.raises(UserError, match="has no keyed operator 'counts'; it has count"):
        read_state(job, "counts")
    assert [state.tick for state in read_state(job)] == [None] * 9


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
    warnings = [str(e.cause) for e in outcome.events if e.kind == "warning"]
    assert [text.split(" at ")[0] for text in warnings if "seven is right out" in text] == ["attempt 1", "attempt 2"]


def test_a_scheduler_that_is_killed_is_replaced_and_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    outcome = run(chain(tmp_path), tmp_path, kill_coordinator(after_records=2_000))

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    assert kinds(outcome).count("coordinator_recovered") == kinds(outcome).count("started") == 1
    lines = [json.loads(line) for line in (tmp_path / "job" / "intervals.jsonl").read_text().splitlines()]
    assert [line["interval"] for line in lines] == list(range(1, len(lines) + 1))
    assert outcome.intervals.count == len(lines)
    assert sum(line["records"] for line in lines) == outcome.intervals.records == 6_000


def test_a_worker_and_the_scheduler_may_be_killed_at_once_and_again_in_the_recovery(tmp_path: Path) -> None:
    first, again = kill_coordinator(after_records=1_500), kill_coordinator(after="coordinator_recovered")

    outcome = run(chain(tmp_path), tmp_path, kill_owner("chain", 0, after_records=1_500), first, again)

    assert outcome.status == "done", outcome.error
    assert chain_rows(tmp_path) == expected_chain()
    assert kinds(outcome).count("coordinator_recovered") == 2


def test_a_job_of_which_everything_was_killed_goes_on_with_other_numbers_of_workers(tmp_path: Path) -> None:
    section = DStream.model_validate({"interval": "200ms", "checkpoint": 3})
    (tmp_path / "job").mkdir()

    def run_until(done: Callable[[Progress], bool], workers: int, *, resume: bool) -> JobOutcome:
        plan, deadline = chain(tmp_path).plan(workers=workers), time.monotonic() + DEADLINE_S
        job = start_job(
            plan, workers=workers, spares=0, directory=tmp_path / "job", keep_log=False, resume=resume,
            settings=section,
        )  # fmt: skip
        try:
            job.start()
            while not done(progress := job.poll(0.02)):
                assert not progress.finished, job.outcome()
                assert time.monotonic() < deadline, progress
            return job.outcome()
        finally:
            job.abort()
            job.close()

    run_until(lambda progress: progress.records_out >= 2_000, 2, resume=False)
    outcome = run_until(lambda progress: progress.finished, 3, resume=True)

    assert (outcome.status, outcome.error) == ("done", None)
    assert chain_rows(tmp_path) == expected_chain()
    assert "job_resumed" in kinds(outcome)


def test_a_job_in_intervals_is_not_resumed_in_other_intervals_or_under_the_other_model(tmp_path: Path) -> None:
    plan = word_count(tmp_path).plan(workers=2)
    half = cut(plan, 2, DStream.model_validate({"interval": "500ms"}))
    begun = Identity.of(half, keep_log=False)

    with pytest.raises(UserError, match="interval was 500ms, and is 1000ms"):
        begun.fitted(cut(plan, 2, DStream()))
    with pytest.raises(UserError, match="ran under the model dstream, and is to run under elastic"):
        begun.fitted(plan)
    more = begun.fitted(cut(plan, 4, DStream.model_validate({"interval": "500ms"})))
    assert isinstance(more, StreamPlan)
    assert [s.partitions for s in more.stages] == [s.partitions for s in half.stages]


def test_a_job_in_intervals_is_a_job_like_others(tmp_path: Path) -> None:
    plan: Plan = word_count(tmp_path).plan(workers=2)

    job = start_job(plan, workers=2, spares=0, directory=tmp_path, keep_log=False, resume=False, settings=DStream())

    assert isinstance(job, StreamJob)
    assert job.plan.operators.keys() == plan.operators.keys()
