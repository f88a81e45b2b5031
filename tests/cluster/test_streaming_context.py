"""Programs over DStreams on real processes: state, windows and joins under SIGKILL; functions in the user's process."""

from __future__ import annotations

import operator
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dstream import RDD, DStream, StreamingContext
from dstream.model import start_job
from elastic import sinks, sources
from elastic.errors import JobFailedError, QueryError
from elastic.functions import split
from elastic.report import JobOutcome
from elastic.scenario.models import DStream as Section
from elastic.scenario.verify import verdict_of_clean_run
from tests.cluster.driving import DEADLINE_S, Breaker, Held, held, kill_owner, watch
from tests.cluster.jobs import LINES, expected_counts

pytestmark = pytest.mark.cluster


def make(directory: Path, *, rate: str = "10k/s", until: Path | None = None) -> tuple[StreamingContext, DStream]:
    """A context and the words of 24,000 lines, as pairs with 1; the input ends once the file is there, if any is."""
    context = StreamingContext("200ms", workers=3, checkpoint=4, directory=directory / "job")
    lines = sources.from_list(LINES, rate=rate)
    words = context.source(lines if until is None else Held(lines, until), name="lines").flat_map(split())
    return context, words.map(lambda word: (word, 1))


def break_and_verify(context: StreamingContext, directory: Path, *breakers: Breaker) -> JobOutcome:
    """Run the program to its end, letting each breaker strike once; every sink equals that of a clean run."""
    job_directory = directory / "job"
    job_directory.mkdir()
    plan = held(context.plan(), directory / "struck")
    job = start_job(plan, workers=3, spares=1, directory=job_directory, keep_log=True, resume=False, settings=Section())
    outcome = watch(job, directory / "struck", *breakers, processes=4)
    assert outcome.status == "done", outcome.error
    verdict = verdict_of_clean_run(job.plan, job_directory, job.log_directory)
    assert verdict.verified, verdict.detail
    return outcome


def test_running_state_is_exact_after_a_kill(tmp_path: Path) -> None:
    context, ones = make(tmp_path)
    totals = ones.reduce_by_key(operator.add).running_reduce(operator.add, name="totals")
    totals.save(sinks.sqlite(tmp_path / "counts.db", table="counts", upsert=True))

    outcome = break_and_verify(context, tmp_path, kill_owner("totals", 2, after_records=9_000))

    with closing(sqlite3.connect(tmp_path / "counts.db")) as connection:
        assert dict(connection.execute("SELECT key, value FROM counts")) == expected_counts()
    assert [r.strategy for r in outcome.recoveries] == ["lineage"]


@pytest.mark.parametrize("inverse", [operator.sub, None])
def test_windows_are_exact_after_two_kills(tmp_path: Path, inverse: Any) -> None:
    """A window of six intervals reaches back beyond a checkpoint, which is taken every four."""
    context, ones = make(tmp_path)
    window = ones.reduce_by_key_and_window(operator.add, "1200ms", "400ms", inverse=inverse)
    window.running_reduce(max, name="most").save(sinks.json_lines(tmp_path / "out", commit="600ms"))

    kills = kill_owner("most", 0, after_records=7_000), kill_owner("lines", 1, after_records=15_000)
    break_and_verify(context, tmp_path, *kills)


def test_joins_state_and_static_data_are_exact_after_a_kill(tmp_path: Path) -> None:
    context, ones = make(tmp_path)
    names = context.parallelize([(f"w{n}", f"word {n}") for n in range(50)])
    counts = ones.reduce_by_key(operator.add)
    seen = counts.track(lambda _, n: n, lambda _, so_far, n: so_far + n, "1s", name="seen")
    joined = counts.delayed("600ms").full_outer_join(seen).left_outer_join(names)
    joined.save(sinks.discard(), name="out")

    break_and_verify(context, tmp_path, kill_owner("seen", 1, after_records=12_000))


def test_functions_are_called_with_every_interval_in_order(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="30k/s")
    found: list[tuple[float, dict[str, int]]] = []

    def take(at: float, rdd: RDD) -> None:
        found.append((at, dict(rdd.collect())))

    ones.reduce_by_key(operator.add).foreach_rdd(take)
    told: list[Any] = []
    context.on_interval(told.append)
    context.start()

    assert context.await_termination(DEADLINE_S)
    assert [at for at, _ in found] == sorted(at for at, _ in found)
    assert sum((Counter(each) for _, each in found), Counter()) == Counter(expected_counts())
    assert [each["interval"] for each in told] == list(range(1, len(told) + 1))
    assert sum(each["records"] for each in told) == len(LINES)
    assert all(each["total_delay_ms"] >= 0 for each in told)


def test_a_function_that_raises_ends_the_job_and_is_raised_where_one_waits(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="30k/s")
    ones.foreach_rdd(lambda _: 1 / 0)
    context.start()

    with pytest.raises(ZeroDivisionError):
        context.await_termination(DEADLINE_S)


def test_a_program_that_is_stopped_has_committed_what_it_had_read(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="3k/s")
    found: list[int] = []
    ones.count().foreach_rdd(lambda rdd: found.extend(rdd.collect()))
    context.start()
    while not found:
        assert not context.await_termination(0.05)
    context.stop()

    assert 0 < sum(found) < 4 * len(LINES)


def test_what_was_read_is_processed_before_a_program_ends_however_long_that_takes(tmp_path: Path) -> None:
    def slowly(n: int) -> int:
        (tmp_path / "begun").touch()
        time.sleep(0.1)
        return n

    context = StreamingContext("100ms", workers=1, directory=tmp_path / "job")
    rows = context.source(Held(sources.from_list(range(20)), tmp_path / "never")).map(slowly)
    found: list[int] = []
    rows.foreach_rdd(lambda rdd: found.extend(rdd.collect()))
    context.start()
    while not (tmp_path / "begun").exists():
        assert not context.await_termination(0.02)
    context.stop()

    assert sorted(found) == list(range(20))


def test_ctrl_c_ends_a_job_whose_function_never_returns(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="3k/s")
    waiting, never = threading.Event(), threading.Event()

    def hang(rdd: RDD) -> None:
        assert waiting.wait(DEADLINE_S)
        os.kill(os.getpid(), signal.SIGINT)
        never.wait()

    ones.foreach_rdd(hang)
    context.start()

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (it may come as soon as it is waited for)
        waiting.set()
        context.await_termination(DEADLINE_S)

    assert context.await_termination(DEADLINE_S)
    never.set()


def test_ctrl_c_while_one_waits_stops_the_job_before_its_input_is_read(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="3k/s")
    found: list[int] = []

    waiting = threading.Event()

    def take(rdd: RDD) -> None:
        if not found:
            assert waiting.wait(DEADLINE_S)
            os.kill(os.getpid(), signal.SIGINT)
        found.extend(rdd.collect())

    ones.count().foreach_rdd(take)
    ones.save(sinks.json_lines(tmp_path / "out"))
    context.start()

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 (it may come as soon as it is waited for)
        waiting.set()
        context.await_termination(DEADLINE_S)

    assert context.await_termination()
    rows = sum(len(part.read_text().splitlines()) for part in (tmp_path / "out").glob("*.jsonl"))
    assert rows < 4 * len(LINES)
    assert sum(found) < 4 * len(LINES)


def test_a_program_that_is_resumed_is_called_with_every_interval_once_and_its_result_is_exact(tmp_path: Path) -> None:
    totals: Counter[str] = Counter()
    times: list[float] = []

    def program() -> StreamingContext:
        context, ones = make(tmp_path, until=tmp_path / "go")
        counted = ones.reduce_by_key(operator.add)

        def note(time_s: float, rdd: RDD) -> None:
            times.append(time_s)
            totals.update(dict(rdd.collect()))

        counted.foreach_rdd(note)
        counted.running_reduce(operator.add).save(sinks.sqlite(tmp_path / "out.db", table="totals", upsert=True))
        return context

    context = program()
    context.start()
    deadline = time.monotonic() + DEADLINE_S
    while len(times) < 3:
        assert time.monotonic() < deadline
        assert not context.await_termination(0.02)
    context.stop(graceful=False)
    (tmp_path / "go").touch()
    resumed = program()
    resumed.start(resume=True)

    assert resumed.await_termination(DEADLINE_S)
    assert totals == expected_counts()
    assert times == sorted(set(times))
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        assert dict(connection.execute("SELECT * FROM totals")) == expected_counts()


def test_the_same_program_over_history_is_one_interval(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "history.txt").write_text("\n".join(LINES))
    context = StreamingContext("100ms", workers=3, directory=tmp_path / "job")
    words = context.text_file_stream(tmp_path / "logs").flat_map(split()).map(lambda word: (word, 1))
    words.reduce_by_key(operator.add).save(sinks.sqlite(tmp_path / "all.db", table="counts"))

    report = context.run(display=False, batch=True, verify=True)

    assert report.verified
    with closing(sqlite3.connect(tmp_path / "all.db")) as connection:
        assert dict(connection.execute("SELECT key, value FROM counts")) == expected_counts()
        assert connection.execute("SELECT count(*) FROM counts").fetchone() == (len(expected_counts()),)


def test_a_state_function_that_raises_fails_the_job_with_the_users_line(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="30k/s")

    def update(values: list[int], state: int | None) -> int:
        if (state or 0) > 5_000:
            raise ValueError("too many to count")
        return (state or 0) + sum(values)

    ones.update_state_by_key(update).save(sinks.discard())

    with pytest.raises(JobFailedError, match="too many to count") as caught:
        context.run(display=False)
    assert "test_streaming_context.py" in str(caught.value)


def test_a_context_runs_once(tmp_path: Path) -> None:
    context, ones = make(tmp_path, rate="60k/s")
    ones.count().save(sinks.discard())
    context.run(display=False)

    with pytest.raises(QueryError, match="started before"):
        context.start()
    with pytest.raises(QueryError, match="comes after start"):
        ones.map(str).save(sinks.discard())
