"""What a program over DStreams is given in its own process while it runs: datasets, figures, events, printed rows."""

from __future__ import annotations

import contextlib
import io
import json
import operator
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dstream import RDD, BatchInfo, DStream, OutputInfo, ReceiverInfo, StreamingContext, StreamingListener, rdd
from elastic import sinks, sources
from elastic.connectors.base import Partition, Source
from elastic.errors import JobFailedError, QueryError, UserError
from tests.cluster.driving import DEADLINE_S, Held
from tests.cluster.jobs import LINES

pytestmark = pytest.mark.cluster

ITEMS = [[("a", 1), ("b", 2), ("c", 3)], [], [("a", 3)], [("c", n) for n in range(20)], [("b", 5)]]


class Notes(StreamingListener):
    """Notes everything that it is told, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, Any]] = []

    def on_streaming_started(self) -> None:
        self.all.append(("streaming started", None))

    def on_receiver_started(self, receiver: ReceiverInfo) -> None:
        self.all.append(("receiver started", receiver))

    def on_receiver_error(self, receiver: ReceiverInfo) -> None:
        self.all.append(("receiver error", receiver))

    def on_receiver_stopped(self, receiver: ReceiverInfo) -> None:
        self.all.append(("receiver stopped", receiver))

    def on_batch_submitted(self, batch: BatchInfo) -> None:
        self.all.append(("submitted", batch))

    def on_batch_started(self, batch: BatchInfo) -> None:
        self.all.append(("started", batch))

    def on_batch_completed(self, batch: BatchInfo) -> None:
        self.all.append(("completed", batch))

    def on_output_operation_started(self, output: OutputInfo) -> None:
        self.all.append(("output started", output))

    def on_output_operation_completed(self, output: OutputInfo) -> None:
        self.all.append(("output completed", output))

    def named(self, name: str) -> list[Any]:
        return [value for told, value in self.all if told == name]


@dataclass
class Seen:
    """What one run of a program over ``ITEMS`` has given."""

    sums: DStream
    notes: Notes
    began_s: float
    counts: list[tuple[float, int]] = field(default_factory=list)
    rdds: list[RDD] = field(default_factory=list)
    printed: str = ""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    context = StreamingContext("200ms", workers=2, directory=tmp_path_factory.mktemp("job"))
    context.remember("400ms")
    context.add_listener(notes := Notes())
    stream = context.queue_stream([ITEMS[0], ITEMS[1], ITEMS[2], context.parallelize(ITEMS[3]), iter(ITEMS[4])])
    found = Seen(stream.reduce_by_key(operator.add).remember("10s"), notes, time.time())
    found.sums.pprint(2)
    stream.count().foreach_rdd(lambda at, each: found.counts.append((at, each.collect()[0])), name="counts")
    stream.foreach_rdd(found.rdds.append)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        context.start()
        assert context.await_termination(DEADLINE_S)
    found.printed = printed.getvalue()
    return found


def test_a_queue_gives_an_item_to_each_interval_in_order(seen: Seen) -> None:
    batches = [batch for batch in seen.notes.named("completed") if batch.records]

    assert [batch.records for batch in batches] == [len(item) for item in ITEMS if item]
    assert sum(count for _, count in seen.counts) == sum(map(len, ITEMS))
    assert batches[1].interval >= batches[0].interval + 2  # the item between them is empty
    ends = [batch.ended_s for batch in seen.notes.named("completed")]
    assert [at for at, _ in seen.counts[:-1]] == pytest.approx(ends[:-1])  # the last interval is cut short


def test_listeners_are_told_of_every_interval_in_order_with_its_figures(seen: Seen) -> None:
    assert seen.notes.all[0] == ("streaming started", None)
    count = len(seen.counts)
    for name in ("submitted", "started", "completed"):
        assert [batch.interval for batch in seen.notes.named(name)] == list(range(1, count + 1))
        assert [batch.records for batch in seen.notes.named(name)] == [each for _, each in seen.counts]
    for batch in seen.notes.named("completed"):
        assert batch.ended_s <= batch.submitted_s <= batch.completed_s
        assert batch.scheduling_delay_ms + batch.processing_ms == pytest.approx(batch.total_delay_ms, abs=1)
        mine = [name for name, told in seen.notes.all if getattr(told, "interval", None) == batch.interval]
        assert mine[:2] == ["submitted", "started"]
        assert mine[-1] == "completed"
        assert Counter(mine)["output started"] == Counter(mine)["output completed"] == 4


def test_listeners_are_told_of_outputs_and_receivers(seen: Seen) -> None:
    completed = seen.notes.named("output completed")

    names = ("remember", "pprint", "counts", "foreach_rdd")
    assert Counter(output.name for output in completed) == dict.fromkeys(names, len(seen.counts))
    assert all(output.started_s <= output.completed_s for output in completed)
    (started,), (stopped,) = seen.notes.named("receiver started"), seen.notes.named("receiver stopped")
    assert (started.source, started.partition, started.error) == ("queue", 0, None)
    assert stopped == started


def test_slices_are_the_datasets_of_past_intervals(seen: Seen) -> None:
    ends = [at for at, _ in seen.counts]
    expected: list[dict[str, int]] = [{} for _ in ITEMS]
    for sums, item in zip(expected, ITEMS, strict=True):
        for key, value in item:
            sums[key] = sums.get(key, 0) + value

    found = [dict(each.collect()) for each in seen.sums.slice(seen.began_s, time.time())]

    assert len(found) == len(seen.counts)
    assert [each for each in found if each] == [each for each in expected if each]
    assert [dict(each.collect()) for each in seen.sums.slice(ends[1], ends[2] + 0.1)] == found[1:3]
    assert seen.sums.slice(ends[0] - 1000, ends[0] - 0.01) == []


def test_an_rdd_that_was_forgotten_is_refused_with_the_users_line(seen: Seen) -> None:
    with pytest.raises(QueryError, match=r"test_streaming_outputs\.py:\d+: the rows of 'foreach_rdd' in the inter"):
        seen.rdds[0].map(str).collect()

    assert seen.rdds[-1].collect() == ITEMS[-1]


def test_the_first_rows_of_every_interval_that_has_any_are_printed_under_its_time(seen: Seen) -> None:
    lines = seen.printed.splitlines()

    assert lines[1] in {"('a', 1)", "('b', 2)", "('c', 3)"}
    assert lines[3] == "..."
    assert re.fullmatch(r"------ \d+\.\d00s ------", lines[4])
    assert lines[5] == "('a', 3)"
    assert sum(line.startswith("------") for line in lines) == 4


def test_a_directory_is_read_as_its_files_come_and_grow(tmp_path: Path) -> None:
    arrivals = tmp_path / "arrivals"
    arrivals.mkdir()
    (arrivals / "old.txt").write_text("old\n")
    (arrivals / ".hidden").write_text("hidden\n")
    context = StreamingContext("100ms", workers=1)
    context.checkpoint(tmp_path / "job")
    found: list[str] = []
    context.text_file_stream(arrivals).foreach_rdd(lambda each: found.extend(each.collect()))
    context.start()
    for name, line in (("new.txt", "new"), ("old.txt", "more"), ("", "")):
        count = len(found)
        while len(found) == count:
            assert not context.await_termination(0.02)
        if name:
            with (arrivals / name).open("a") as file:
                file.write(f"{line}\n")
    context.stop()

    assert found == ["old", "new", "more"]
    assert (tmp_path / "job" / "intervals.jsonl").exists()


def test_a_queue_goes_on_with_its_default_until_it_is_stopped(tmp_path: Path) -> None:
    context = StreamingContext("100ms", workers=1, directory=tmp_path / "job")
    found: list[list[int]] = []
    context.queue_stream([[1], [2, 3]], one_at_a_time=False, default=[0]).foreach_rdd(
        lambda each: found.append(each.collect())
    )
    context.start()
    while sum(map(bool, found)) < 4:
        assert not context.await_termination(0.02)
    context.stop()

    read = [each for each in found if each]  # a receiver that comes too late for an interval has nothing for it
    assert read[:4] == [[1, 2, 3], [0], [0], [0]]


def pairs(directory: Path, *, rate: str) -> tuple[StreamingContext, DStream]:
    context = StreamingContext("100ms", workers=2, directory=directory / "job")
    return context, context.source(sources.from_list(LINES, rate=rate), name="lines").map(lambda line: (line, 1))


def test_listeners_and_functions_go_on_after_a_kill(tmp_path: Path) -> None:
    context = StreamingContext("100ms", workers=2, directory=tmp_path / "job", checkpoint=3)
    lines = Held(sources.from_list(LINES, rate="12k/s"), tmp_path / "struck")
    ones = context.source(lines, name="lines").map(lambda line: (line, 1))

    class Struck(Notes):
        def on_receiver_started(self, receiver: ReceiverInfo) -> None:
            super().on_receiver_started(receiver)
            if len(self.named("receiver started")) > 2:  # one of the two for the second time
                (tmp_path / "struck").touch()

        def on_batch_completed(self, batch: BatchInfo) -> None:
            super().on_batch_completed(batch)
            if batch.interval == 4:
                killed.append(self.named("receiver started")[0].worker)
                context._running._job.kill(killed[0])  # type: ignore[union-attr]

    context.add_listener(notes := Struck())
    totals: list[int] = []
    killed: list[int] = []
    ones.foreach_rdd(lambda found: totals.append(found.count()))
    context.start()

    assert context.await_termination(DEADLINE_S)
    assert sum(totals) == len(LINES)
    intervals = [batch.interval for batch in notes.named("completed")]
    assert intervals == list(range(1, len(intervals) + 1))
    errors = notes.named("receiver error")
    assert {receiver.worker for receiver in errors} == set(killed)
    told = [receiver.error for receiver in errors]  # on a busy machine its silence may be seen first
    assert all("killed by SIGKILL" in error or "does not answer" in error for error in told), told
    assert len(notes.named("receiver started")) == 2 + len(errors)


def test_a_job_that_is_stopped_at_once_keeps_what_it_had_committed(tmp_path: Path) -> None:
    context, ones = pairs(tmp_path, rate="3k/s")
    ones.save(sinks.json_lines(tmp_path / "out", commit="100ms"))
    context.start()
    while not list((tmp_path / "out").glob("*.jsonl")):
        assert not context.await_termination(0.02)
    context.stop(graceful=False)

    found = [json.loads(line) for part in (tmp_path / "out").glob("*.jsonl") for line in part.read_text().splitlines()]
    assert 0 < len(found) < len(LINES)
    assert not Counter(line for line, _ in found) - Counter(LINES)
    assert context.await_termination()


def test_a_second_context_on_the_directory_of_a_job_that_runs_is_refused(tmp_path: Path) -> None:
    context, ones = pairs(tmp_path, rate="3k/s")
    other, others = pairs(tmp_path, rate="3k/s")
    ones.count().foreach_rdd(len_of := lambda found: None)
    others.count().foreach_rdd(len_of)
    context.start()
    try:
        with pytest.raises(UserError, match="job"):
            other.start()
    finally:
        context.stop(graceful=False)


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdd, "LOCAL_BYTES", 100)


@pytest.mark.usefixtures("small_limit")
def test_what_is_too_large_for_one_process_is_computed_by_workers(tmp_path: Path) -> None:
    context = StreamingContext(workers=2)
    found = context.parallelize(range(1000)).map(lambda n: (n % 10, n))

    assert dict(found.reduce_by_key(operator.add).collect()) == {d: sum(range(d, 1000, 10)) for d in range(10)}
    found.save(sinks.json_lines(tmp_path))
    assert sum(len(part.read_text().splitlines()) for part in tmp_path.glob("*.jsonl")) == 1000


@pytest.mark.usefixtures("small_limit")
def test_a_function_that_raises_on_workers_is_shown_with_the_users_line() -> None:
    numbers = StreamingContext(workers=1, retries=0).parallelize(range(1000))

    with pytest.raises(JobFailedError, match="ZeroDivisionError") as caught:
        numbers.map(lambda n: 1 // (n - 7)).count()
    assert "test_streaming_outputs.py" in str(caught.value)


def test_a_file_that_vanishes_after_it_was_listed_ends_the_job_with_its_name_and_what_was_committed_stays(
    tmp_path: Path,
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} {n}\n" for n in range(1000)))
    text = sources.text_files(str(tmp_path / "*.txt"), rate="2k/s")

    class Vanishing(Source):
        """Two files, of which the second is removed as soon as it was listed."""

        name, rate = "lines", text.rate

        def partitions(self, count: int) -> Sequence[Partition]:
            listed = text.partitions(count)
            (tmp_path / "b.txt").unlink()
            return listed

    context = StreamingContext("100ms", workers=1, directory=tmp_path / "job", partitions=1)
    context.source(Vanishing()).save(sinks.json_lines(tmp_path / "out", commit="100ms"))
    context.start()

    with pytest.raises(JobFailedError, match=r"b\.txt"):
        context.await_termination(DEADLINE_S)
    found = [
        json.loads(line)
        for part in sorted((tmp_path / "out").glob("*.jsonl"))
        for line in part.read_text().splitlines()
    ]
    assert found == [f"a {n}" for n in range(len(found))]
    assert found


def test_what_was_committed_before_a_state_function_raised_stays(tmp_path: Path) -> None:
    context = StreamingContext("100ms", workers=2, directory=tmp_path / "job", retries=1, checkpoint=2)
    numbers = context.queue_stream([[("a", n)] for n in range(12)])
    seen: list[Any] = []
    numbers.update_state_by_key(no_nine).foreach_rdd(lambda found: seen.extend(found.collect()))
    context.start()

    with pytest.raises(JobFailedError, match="nine is right out") as caught:
        context.await_termination(DEADLINE_S)
    assert "test_streaming_outputs.py" in str(caught.value)
    assert "no_nine" in str(caught.value)
    sums = list(dict.fromkeys(seen))  # the state is told again in an interval for which nothing came
    assert sums == [("a", sum(range(n + 1))) for n in range(len(sums))]
    assert 1 <= len(sums) <= 9


def no_nine(values: list[int], state: int | None) -> int:
    if 9 in values:
        raise ValueError("nine is right out")
    return (state or 0) + sum(values)


def test_a_function_that_does_not_return_is_told_of_and_keeps_nobody_from_being_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The process that calls it is the one that starts workers."""
    context = StreamingContext("100ms", workers=2, spares=0, directory=tmp_path / "job", stall_after="500ms")
    totals = context.queue_stream([], default=ITEMS[0]).running_reduce(operator.add, name="totals")
    held, going_on = threading.Event(), threading.Event()

    def hold(rdd: RDD) -> None:
        held.set()
        going_on.wait(DEADLINE_S)  # a service that does not answer

    totals.foreach_rdd(hold, name="service")
    context.start()
    job: Any = context._running._job  # type: ignore[union-attr]
    told = ""

    def seen() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "stalled (service#0): in your function" in told

    try:
        until(held.is_set)
        until(seen)
        job.kill(job.owner_of("totals", 0))
        until(lambda: any(e.kind == "restored" for e in job._events))
    finally:
        going_on.set()
    context.stop()

    lines = {stall.lines[-1]: stall.until_s for stall in job.outcome().stalls if stall.lines}
    (until_s,) = [until_s for line, until_s in lines.items() if "# a service that does not answer" in line]
    assert until_s is not None


def until(condition: Callable[[], bool]) -> None:
    """Return once it is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
