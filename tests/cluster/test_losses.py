"""What cannot be survived is said; what is not deterministic is named; what is slow stays within its memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic import Operator, Query, sinks, sources
from tests.cluster.driving import Running, drive, kill_owner
from tests.cluster.jobs import counts, expected_counts, word_count

pytestmark = pytest.mark.cluster


class Restless(Operator):
    """Not deterministic: another process gives another result."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield key, os.getpid()


def test_losing_an_instance_with_its_backup_ends_the_job_and_says_what_was_lost(tmp_path: Path) -> None:
    def kill_all(running: Running) -> bool:
        owners = [running.job.owner_of("count", n) for n in range(3)]
        if running.progress.checkpoints < 3 or None in owners:
            return False
        for owner in owners:
            assert owner is not None
            running.job.kill(owner)
        return True

    outcome = drive(word_count(tmp_path), tmp_path, kill_all, checkpoint_ms=200)

    assert outcome.status == "failed"
    assert re.search(r"the state of count#\d \(key groups .*\) is lost", str(outcome.error))
    assert all(0 < count <= expected_counts()[word] for word, count in counts(tmp_path).items())


def test_code_that_is_not_deterministic_is_named_with_tick_and_key(tmp_path: Path) -> None:
    query = Query("restless")
    rows = query.source(sources.from_list(list(range(6_000)), rate="2k/s"))
    keyed = rows.key_by(lambda n: n % 20).apply(Restless(), name="restless")
    keyed.sink(sinks.json_lines(tmp_path / "out", commit="100ms"))

    outcome = drive(query, tmp_path, kill_owner("restless", 0, after_records=3_000), checkpoint_ms=1_000)

    assert outcome.status == "failed"
    assert re.search(r"operator 'restless' is not deterministic: tick \d+, key \d+", str(outcome.error))


def test_a_slow_sink_slows_the_source_and_no_worker_grows(tmp_path: Path) -> None:
    query = Query("slow")
    query.source(sources.generator(keys=1000, count=200_000)).sink(sinks.discard(rate="80k/s"))

    outcome = drive(query, tmp_path, workers=2, memory_bytes=256 << 20)

    assert outcome.status == "done"
    assert outcome.records_out == 200_000
    assert outcome.peak_memory_bytes.worker < 256 << 20
