"""Real processes, real signals: the sink must end with what an independent computation gives."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from elastic import Operator, Query, sinks, sources
from elastic.cluster.job import JobControl
from elastic.functions import split
from elastic.report import JobEvent, Progress
from tests.cluster.driving import drive, kill_on, kill_owner, kinds, table

pytestmark = pytest.mark.cluster

LINES = [f"w{n % 97} w{n % 13} common {n % 7}" for n in range(24_000)]


class Chain(Operator):
    """Hashes a key's values into each other: order, loss and repetition all show."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        folded = crc32(repr((state.get() or 0, value)).encode())
        state.set(folded)
        yield key, folded


class Restless(Operator):
    """Not deterministic: another process gives another result."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield key, os.getpid()


class Stubborn(Operator):
    """Holds the interpreter for some seconds at one record."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        if value == 60:
            re.match(r"(a+)+$", "a" * 27 + "b")
        yield key, value


def word_count(tmp_path: Path, rate: str = "10k/s") -> Query:
    text = tmp_path / "input.txt"
    text.write_text("\n".join(LINES))
    query = Query("words")
    words = query.source(sources.text_files(str(text), rate=rate)).flat_map(split()).key_by()
    words.count(emit="100ms", name="count").sink(sinks.sqlite(tmp_path / "counts.db", table="counts", upsert=True))
    return query


def expected_counts() -> dict[str, int]:
    return dict(Counter(word for line in LINES for word in line.split()))


def chained(tmp_path: Path, rate: str = "3k/s") -> tuple[Query, Path]:
    query, out = Query("chain"), tmp_path / "out"
    rows = query.source(sources.from_list([(n % 50, n) for n in range(6_000)], rate=rate))
    rows.key_by(lambda row: row[0]).apply(Chain(), name="chain").sink(sinks.json_lines(out, commit="200ms"))
    return query, out


def json_rows(directory: Path) -> Counter[str]:
    files = [p for p in directory.rglob("*.jsonl") if not p.name.startswith(".")]
    return Counter(json.dumps(json.loads(line)) for path in files for line in path.read_text().splitlines())


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_exact_after_a_kill_at_a_random_moment(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    victim = chance.choice((("count", 0), ("count", 2), ("text_files", 1), ("sqlite", 0)))

    outcome = drive(word_count(tmp_path), tmp_path / "job", kill_owner(*victim, after_records=chance.randrange(16_000)))

    assert outcome.status == "done", outcome.error
    assert table(tmp_path / "counts.db", "counts") == expected_counts()
    assert outcome.recoveries[0].restored_s is not None


def test_an_order_sensitive_operator_survives_a_second_kill_during_the_first_recovery(tmp_path: Path) -> None:
    query, out = chained(tmp_path)
    state: dict[int, int] = {}
    expected: Counter[str] = Counter()

    outcome = drive(
        query, tmp_path / "job", kill_owner("chain", 0, after_records=2_000), kill_on("detected", "chain", 1),
        workers=4, spares=2, checkpoint_ms=200,
    )  # fmt: skip

    # Partitions are contiguous parts of the list, and rows of one tick come partition by partition: order within a key
    # depends on ticks, so only what each key went through in all can be computed here without the log.
    for n in range(6_000):
        state[n % 50] = state.get(n % 50, 0) + 1
        expected[str(n % 50)] += 1
    if outcome.status == "failed":  # the second victim may have been the first one's backup holder
        assert "is lost" in str(outcome.error)
        return
    rows = json_rows(out)
    assert Counter(str(json.loads(row)[0]) for row in rows.elements()) == expected
    assert max(rows.values()) == 1


def test_a_kill_before_the_first_checkpoint_starts_again_from_tick_zero(tmp_path: Path) -> None:
    outcome = drive(
        word_count(tmp_path), tmp_path / "job", kill_owner("count", 1, after_records=3_000), checkpoint_ms=60_000
    )

    assert outcome.status == "done", outcome.error
    assert table(tmp_path / "counts.db", "counts") == expected_counts()
    assert outcome.recoveries[0].replayed_records > 0


def test_a_stopped_worker_is_replaced_and_fenced_when_it_comes_back(tmp_path: Path) -> None:
    stopped: list[int] = []

    def stop(job: JobControl, progress: Progress, _: list[JobEvent]) -> bool:
        owner = job.owner_of("count", 0)
        if progress.records_in < 4_000 or owner is None:
            return False
        stopped.append(owner)
        job.pause(owner)
        return True

    def wake(job: JobControl, _: Progress, events: list[JobEvent]) -> bool:
        if not any(e.kind == "restored" and e.operator == "count" for e in events):
            return False
        job.resume(stopped[0])
        return True

    outcome = drive(word_count(tmp_path, "6k/s"), tmp_path / "job", stop, wake)

    assert outcome.status == "done", outcome.error
    assert table(tmp_path / "counts.db", "counts") == expected_counts()
    assert "fenced" in kinds(outcome)
    assert "does not answer" in outcome.recoveries[0].cause


def test_user_code_that_holds_the_interpreter_is_not_a_dead_worker(tmp_path: Path) -> None:
    query = Query("stubborn")
    rows = query.source(sources.from_list(list(range(100)), rate="200/s"))
    rows.key_by().apply(Stubborn()).sink(sinks.discard())

    outcome = drive(query, tmp_path / "job", workers=2)

    assert outcome.status == "done", outcome.error
    assert "failed" not in kinds(outcome)


def test_losing_an_instance_with_its_backup_ends_the_job_and_says_what_was_lost(tmp_path: Path) -> None:
    def strike(job: JobControl, progress: Progress, _: list[JobEvent]) -> bool:
        owners = [job.owner_of("count", n) for n in range(3)]
        if progress.checkpoints < 3 or None in owners:
            return False
        for owner in owners:
            assert owner is not None
            job.kill(owner)
        return True

    outcome = drive(word_count(tmp_path), tmp_path / "job", strike, checkpoint_ms=200)

    assert outcome.status == "failed"
    assert re.search(r"the state of count#\d \(key groups .*\) is lost", str(outcome.error))
    committed = table(tmp_path / "counts.db", "counts")
    assert all(0 < count <= expected_counts()[word] for word, count in committed.items())


def test_code_that_is_not_deterministic_is_named_with_tick_and_key(tmp_path: Path) -> None:
    query = Query("restless")
    rows = query.source(sources.from_list(list(range(6_000)), rate="2k/s"))
    keyed = rows.key_by(lambda n: n % 20).apply(Restless(), name="restless")
    keyed.sink(sinks.json_lines(tmp_path / "out", commit="100ms"))

    outcome = drive(query, tmp_path / "job", kill_owner("restless", 0, after_records=3_000), checkpoint_ms=1_000)

    assert outcome.status == "failed"
    assert re.search(r"operator 'restless' is not deterministic: tick \d+, key \d+", str(outcome.error))


@pytest.mark.parametrize(("workers", "spares"), [(1, 1), (2, 0)])
def test_small_clusters_warn_of_what_they_cannot_survive(tmp_path: Path, workers: int, spares: int) -> None:
    query = Query("small")
    query.source(sources.from_list(list(range(100)))).key_by().count().sink(sinks.discard())

    outcome = drive(query, tmp_path / "job", workers=workers, spares=spares)

    assert outcome.status == "done"
    if spares == 0:
        assert any(e.kind == "warning" and "no spare" in str(e.cause) for e in outcome.events)


def test_a_slow_sink_slows_the_source_and_no_worker_grows(tmp_path: Path) -> None:
    query = Query("slow")
    records = query.source(sources.generator(keys=1000, count=200_000))
    records.sink(sinks.discard(rate="80k/s"))

    outcome = drive(query, tmp_path / "job", workers=2, memory_bytes=256 << 20)

    assert outcome.status == "done"
    assert outcome.records_out == 200_000
    assert outcome.peak_memory_bytes.worker < 256 << 20
