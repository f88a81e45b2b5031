"""Workers stay within their memory when sinks stall or commit rarely: output is spilled, and the source waits."""

from __future__ import annotations

import contextlib
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from elastic import Operator, Query, sinks, sources
from elastic.batch import Batch
from elastic.connectors.base import Rate, Sink, SinkContext, Writer
from elastic.connectors.discard import DiscardSink
from elastic.keys import KeyInterval
from tests.cluster.driving import Breaker, Running, drive, kill_owner, kinds

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

MEMORY_BYTES = 192 << 20
RECORDS = 240_000
RARE_ROWS = 80_000


class Padded(Operator):
    """Emits rows that take room: 200 bytes each."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield f"{key:0200}"


class Unwritable(Padded):
    """The same where no file may become larger than a few hundred kilobytes: as good as a full disk."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return super().process(key, value, state, ctx)


class RareSink(Sink):
    """Takes everything at once, and says only after very many rows that it is committed."""

    name = "rare"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return _RareWriter(DiscardSink().open(context, interval, generation), stalls_s=0.0)


class StallingSink(Sink):
    """Does not return from its second commit for some seconds."""

    name = "stalling"

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return _RareWriter(DiscardSink().open(context, interval, generation), stalls_s=4.0)


class _RareWriter(Writer):
    def __init__(self, inner: Writer, stalls_s: float) -> None:
        self._inner, self._stalls_s = inner, stalls_s
        self._through, self._rows, self._commits = 0, 0, 0

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._inner.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        self._commits += 1
        if self._stalls_s:
            time.sleep(self._stalls_s if self._commits == 2 else 0.0)
            return self._inner.commit(ticks, through, final=final)
        self._rows += sum(len(batch) for _, batch in ticks)
        if final or self._rows >= RARE_ROWS:
            self._through, self._rows = self._inner.commit((), through, final=final), 0
        return self._through


class Watch:
    """Looks at a job again and again until it has read so many records; a breaker that breaks nothing.

    Attributes:
        grown_bytes: By process of the job, the coordinator's too: its largest resident set.
        behind: By how many records the source was behind its rate at most.
    """

    def __init__(self, until_records: int, rate: Rate | None = None) -> None:
        self._until, self._rate = until_records, rate
        self.grown_bytes: Counter[int] = Counter()
        self.behind = 0.0

    def __call__(self, running: Running) -> bool:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it may have ended just now
                self.grown_bytes[process.pid] = max(self.grown_bytes[process.pid], process.memory_info().rss)
        read = running.progress.records_in
        if self._rate is not None and read:
            self.behind = max(self.behind, self._rate.due(running.progress.at_s) - read)
        return read >= self._until


def run(directory: Path, operator: Operator, sink: Sink, *breakers: Breaker, **settings: Any) -> Any:
    query = Query("memory")
    numbers = query.source(sources.generator(keys=5_000, count=RECORDS, rate="100k/s"))
    numbers.key_by(lambda record: record["key"]).apply(operator, name="padded").sink(sink)
    settings = {"memory_bytes": MEMORY_BYTES, **settings}
    return drive(query, directory, *breakers, workers=2, **settings)


def test_output_that_waits_for_a_sink_that_commits_rarely_is_spilled(tmp_path: Path) -> None:
    outcome = run(tmp_path, Padded(), RareSink(), memory_bytes=96 << 20)

    assert outcome.status == "done", outcome.error
    assert outcome.peak_memory_bytes.spilled > 4 << 20
    assert list((tmp_path / "job" / "spill").iterdir()) == []


def test_a_worker_that_is_killed_leaves_no_spilled_file_and_the_result_is_whole(tmp_path: Path) -> None:
    kill = kill_owner("padded", 1, after_records=150_000)

    outcome = run(tmp_path, Padded(), RareSink(), kill, memory_bytes=96 << 20)

    assert outcome.status == "done", outcome.error
    assert "restored" in kinds(outcome)
    assert outcome.peak_memory_bytes.spilled > 4 << 20
    assert list((tmp_path / "job" / "spill").iterdir()) == []


def test_a_disk_that_is_full_ends_the_job_with_a_clear_error(tmp_path: Path) -> None:
    outcome = run(tmp_path, Unwritable(), RareSink(), memory_bytes=96 << 20, disk="off")

    assert outcome.status == "failed"
    assert outcome.error is not None
    assert "operator 'padded' failed after tick" in outcome.error
    assert "cannot spill" in outcome.error
    assert "File too large" in outcome.error
    assert "What was committed stays committed" in outcome.error
    assert "Traceback" not in outcome.error


def test_a_sink_that_does_not_return_for_seconds_holds_the_source_back_and_no_worker_grows(tmp_path: Path) -> None:
    watch = Watch(RECORDS * 3 // 4)

    outcome = run(tmp_path, Padded(), StallingSink(), watch, stall_after_ms=1000)

    assert outcome.status == "done", outcome.error
    assert outcome.records_out == RECORDS
    assert outcome.peak_memory_bytes.worker < MEMORY_BYTES
    assert len(watch.grown_bytes) >= 4, "the coordinator, two workers, a spare"
    assert max(watch.grown_bytes.values()) < MEMORY_BYTES
    assert "stalling" in {stall.operator for stall in outcome.stalls}


def test_a_burst_of_ten_times_the_rate_slows_the_source_and_is_taken_within_the_memory(tmp_path: Path) -> None:
    query = Query("burst")
    source = sources.generator(
        keys=5_000, count=150_000, rate={"base": "20k/s", "peak": "200k/s", "every": "3s", "lasting": "1s"}
    )
    watch = Watch(120_000, source.rate)
    numbers = query.source(source)
    padded = numbers.key_by(lambda record: record["key"]).apply(Padded())
    padded.sink(sinks.discard(rate="25k/s"))  # each of two writers

    outcome = drive(query, tmp_path, watch, workers=2, memory_bytes=MEMORY_BYTES)

    assert outcome.status == "done", outcome.error
    assert watch.behind > 10_000, "what the sink does not take is not read"
    assert 0 < outcome.peak_memory_bytes.worker < MEMORY_BYTES
    assert max(watch.grown_bytes.values()) < MEMORY_BYTES
