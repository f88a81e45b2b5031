"""A slow sink slows the source: no worker grows, and the job can be stopped at any time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from elastic import Query, sinks, sources
from tests.cluster.driving import Running, drive

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

MEMORY_BYTES = 192 << 20


def test_a_slow_sink_slows_the_source_and_no_worker_grows(tmp_path: Path) -> None:
    query = Query("slow")
    query.source(sources.generator(keys=1000, count=200_000)).sink(sinks.discard(rate="50k/s"))

    outcome = drive(query, tmp_path, workers=2, memory_bytes=MEMORY_BYTES)

    assert outcome.status == "done", outcome.error
    assert outcome.records_out == 200_000
    assert outcome.wall_s > 1.5
    assert outcome.peak_memory_bytes.worker < MEMORY_BYTES


@pytest.mark.parametrize("emit", ["tick", "100ms"])
def test_a_job_that_is_held_up_by_its_sink_can_be_stopped(tmp_path: Path, emit: str) -> None:
    """Its source has no end, and could fill the memory within seconds."""
    stopped_at: list[float] = []

    def stop(running: Running) -> bool:
        if running.progress.at_s < 2.5:
            return False
        stopped_at.append(time.monotonic())
        running.job.stop()
        return True

    query = Query("held-up")
    counts = query.source(sources.generator(keys=50_000)).key_by(lambda record: record["key"]).count(emit=emit)
    counts.sink(sinks.discard(rate="20k/s"))

    outcome = drive(query, tmp_path, stop, workers=2, memory_bytes=MEMORY_BYTES)

    assert outcome.status == "interrupted", outcome.error
    assert time.monotonic() - stopped_at[0] < 20.0  # 1.2 s on a machine of one's own
    assert outcome.peak_memory_bytes.worker < MEMORY_BYTES
