"""Functions of ``transform`` on real processes: with each interval's time, over data that changes, under SIGKILL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dstream import RDD, StreamingContext
from dstream.transforms import IntervalRDD
from tests.cluster.driving import DEADLINE_S

pytestmark = pytest.mark.cluster


def test_data_that_is_read_anew_is_what_it_was_in_each_interval_whoever_is_killed(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a\n")
    context = StreamingContext("100ms", workers=3, checkpoint=4, directory=tmp_path / "job")
    pairs = context.queue_stream([], default=[("a", 1), ("b", 2)])

    def allowed(at: float, rdd: IntervalRDD) -> IntervalRDD:
        names = context.text_file(str(blocked)).map(lambda name: (name, at))
        return rdd.subtract_by_key(names).map(lambda row: (at, row))

    found: list[Any] = []
    killed: list[str] = []

    def take(at: float, rdd: RDD) -> None:
        if not (collected := rdd.collect()):
            return  # an interval that passed before the queue was read
        times, rows = zip(*collected, strict=True)
        assert set(times) == {at}
        found.append(list(rows))
        job: Any = context._running._job  # type: ignore[union-attr]
        if len(found) == 3:
            (tmp_path / "new").write_text("b\n")
            (tmp_path / "new").replace(blocked)
        elif rows == (("a", 1),) and not killed:
            (newest,) = [name for name in job.plan.operators if name.endswith("-newest")]
            killed.append(newest)
            for operator in (newest, "text_files"):  # who has the newest reading, and who reads
                job.kill(job.owner_of(operator, 0))
        elif killed == ["text_files-newest"] and len(found) % 4 == 0:
            killed.append("coordinator")
            job.kill_coordinator()
            until.append(len(found) + 8)
        elif until and len(found) >= until[0]:
            context.stop()

    until: list[int] = []
    pairs.transform(allowed).foreach_rdd(take)
    context.start()

    assert context.await_termination(DEADLINE_S)
    changed = found.index([("a", 1)])
    assert changed >= 3
    assert found == [[("b", 2)]] * changed + [[("a", 1)]] * (len(found) - changed)
    assert killed == ["text_files-newest", "coordinator"]


def test_a_job_ends_with_its_input_though_it_reads_data_anew(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("a,Ann\n")
    context = StreamingContext("100ms", workers=2, directory=tmp_path / "job")
    pairs = context.queue_stream([[("a", 1), ("b", 2)], [("b", 3)]])

    def named(rdd: Any) -> Any:
        return rdd.full_outer_join(context.text_file(str(tmp_path / "names")).map(lambda line: tuple(line.split(","))))

    found: list[Any] = []
    pairs.transform(named).foreach_rdd(lambda rdd: found.append(rdd.collect()))

    report = context.run(display=False, verify=True)

    assert report.verified
    both = [each for each in found if len(each) == 2]  # an interval that passes before the queue is read has Ann alone
    assert both == [[("a", (1, "Ann")), ("b", (2, None))], [("a", (None, "Ann")), ("b", (3, None))]]
