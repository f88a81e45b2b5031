"""What every sink keeps, whatever its target: subclass ``SinkContract`` and say how the sink is made."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elastic.batch import Batch, Pairs, columnar
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.errors import FencedError
from elastic.keys import KeyInterval, groups_of

GROUPS = 16
ALL = KeyInterval(0, GROUPS)
LOW, HIGH = KeyInterval(0, 8), KeyInterval(8, GROUPS)
Ticks = list[tuple[int, Batch]]


def batch(rows: Sequence[tuple[str, int]], interval: KeyInterval = ALL) -> Batch | None:
    """Those of the pairs whose key's group lies in the interval, as a batch; None if there are none."""
    keys = [key for key, _ in rows]
    groups = groups_of(keys, GROUPS)
    order = [i for i in np.argsort(groups, kind="stable").tolist() if interval.contains(groups[i])]
    if not order:
        return None
    picked = Pairs(columnar([keys[i] for i in order]), columnar([rows[i][1] for i in order]))
    return Batch(groups[order], None, picked)


def stream(first: int, last: int, interval: KeyInterval = ALL) -> Ticks:
    """What an operator emits to an interval in ticks [first, last]: some thirty rows each, every third tick none."""
    found = [
        (tick, batch([(f"word-{i}", tick * 100 + i) for i in range(30)], interval))
        for tick in range(first, last + 1)
        if tick % 3
    ]
    return [(tick, rows) for tick, rows in found if rows is not None]


def replayed(writer: Writer, first: int, last: int, interval: KeyInterval = ALL) -> Ticks:
    """The same, as an instance hands it over that starts at the writer's lowest tick: without what is committed."""
    pieces = writer.committed()
    parts = [(tick, rows.slice(p)) for p, done in pieces for tick, rows in stream(first, last, interval) if tick > done]
    return sorted(((tick, rows) for tick, rows in parts if rows is not None), key=lambda part: part[0])


class SinkContract:
    """Subclasses say how to ``make`` the sink; from what is asked of it here, exactly once follows."""

    def make(self, directory: Path) -> Sink:
        """A sink under test, with its target in an empty directory."""
        raise NotImplementedError

    @pytest.fixture
    def sink(self, tmp_path: Path) -> Sink:
        return self.make(tmp_path)

    @pytest.fixture
    def context(self, tmp_path: Path) -> SinkContext:
        return SinkContext("run-1", "job", "results (1/2)", GROUPS, 10, tmp_path / "job")

    @pytest.fixture
    def ready(self, sink: Sink, context: SinkContext) -> Iterator[Sink]:
        """The sink as workers get it."""
        sink.prepare(context)
        yield pickle.loads(pickle.dumps(sink))
        sink.finish(context)

    def assert_exact(self, sink: Sink, context: SinkContext, ticks: Ticks) -> None:
        """The target has the rows of these ticks, once."""
        contents = sink.contents(context)
        assert contents is not None
        assert sink.compare(sink.expected([rows for _, rows in ticks]), contents) == (0, 0)

    def test_a_fresh_target_has_committed_nothing(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, ALL, 1)) as writer:
            assert writer.committed() == [(ALL, 0)]

        self.assert_exact(ready, context, [])

    def test_rows_that_were_committed_are_there_once(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, ALL, 1)) as writer:
            writer.commit(stream(1, 5), 5, final=False)
            assert writer.commit(stream(6, 11), 11, final=True) == 11

        self.assert_exact(ready, context, stream(1, 11))

    @pytest.mark.parametrize("step", [1, 3, 70])
    def test_commits_of_any_size_add_up(self, ready: Sink, context: SinkContext, step: int) -> None:
        """Also where the writer vanishes half-way; and no commit takes back what an earlier one has said."""
        said, writers = 0, list[Writer]()
        for generation, last in ((1, 130), (2, 270)):
            writer = ready.open(context, ALL, generation)
            writers.append(writer)
            assert writer.committed() == [(ALL, said)]
            for tick in range(said, last, step):
                through = min(tick + step, last)
                answer = writer.commit(stream(tick + 1, through), through, final=through == 270)
                assert said <= answer <= through
                said = answer
        for writer in writers:
            writer.close()

        assert said == 270
        self.assert_exact(ready, context, stream(1, 270))

    def test_a_row_that_is_missing_or_surplus_is_counted(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, ALL, 1)) as writer:
            writer.commit(stream(1, 5), 5, final=True)
        contents = ready.contents(context)

        lost, surplus = ready.compare(ready.expected([*(rows for _, rows in stream(1, 5)), _one_more()]), contents)
        assert lost >= 1
        assert surplus == 0
        lost, surplus = ready.compare(ready.expected([]), contents)
        assert lost == 0
        assert surplus >= 30

    @pytest.mark.parametrize("ticks", [1, 7, 100, 137, 200])
    def test_a_writer_that_follows_goes_on_where_the_last_commit_said(
        self, ready: Sink, context: SinkContext, ticks: int
    ) -> None:
        with closing(ready.open(context, ALL, 1)) as writer:
            said = writer.commit(stream(1, ticks), ticks, final=False)

        with closing(ready.open(context, ALL, 2)) as writer:
            assert writer.committed() == [(ALL, said)]
            writer.commit(replayed(writer, 1, ticks + 9), ticks + 9, final=True)

        self.assert_exact(ready, context, stream(1, ticks + 9))

    def test_a_writer_that_vanished_without_closing_is_followed_just_so(
        self, ready: Sink, context: SinkContext
    ) -> None:
        vanished = ready.open(context, ALL, 1)
        said = vanished.commit(stream(1, 150), 150, final=False)

        with closing(ready.open(context, ALL, 2)) as writer:
            assert writer.committed() == [(ALL, said)]
            writer.commit(replayed(writer, 1, 160), 160, final=True)
        vanished.close()

        self.assert_exact(ready, context, stream(1, 160))

    def test_a_zombie_is_refused_whatever_it_does_next(self, ready: Sink, context: SinkContext) -> None:
        zombie = ready.open(context, ALL, 1)
        zombie.commit(stream(1, 150), 150, final=False)

        with closing(ready.open(context, ALL, 2)) as writer:
            writer.commit(replayed(writer, 1, 160), 160, final=False)
            with pytest.raises(FencedError):
                zombie.commit(stream(151, 320), 320, final=False)
            with pytest.raises(FencedError):
                zombie.commit([], 400, final=True)
            zombie.close()
            writer.commit(replayed(writer, 161, 320), 320, final=True)

        self.assert_exact(ready, context, stream(1, 320))

    def test_a_zombie_is_refused_before_its_successor_has_committed(self, ready: Sink, context: SinkContext) -> None:
        zombie = ready.open(context, ALL, 1)
        writer = ready.open(context, ALL, 2)

        with pytest.raises(FencedError):
            zombie.commit(stream(1, 200), 200, final=False)
        assert writer.committed() == [(ALL, 0)]

        zombie.close()
        writer.close()
        self.assert_exact(ready, context, [])

    @pytest.mark.slow
    def test_a_writer_killed_at_any_point_is_followed_without_loss_or_repetition(self, tmp_path: Path) -> None:
        """Real processes, and SIGKILL before or after any call with an effect: in opening, committing, closing."""
        made = list[tuple[Sink, SinkContext]]()
        for number in range(48):
            directory = tmp_path / f"{number}"
            directory.mkdir()
            made.append((self.make(directory), SinkContext("run", "job", "results", GROUPS, 10, directory)))
        (tmp_path / "made").write_bytes(pickle.dumps(made))

        outcome = subprocess.run(
            [sys.executable, "-m", "tests.unit.sink_killer", str(tmp_path / "made")],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

        assert outcome.stdout.splitlines() == ["exact"] * len(made), outcome.stderr

    def test_an_older_generation_cannot_open(self, ready: Sink, context: SinkContext) -> None:
        ready.open(context, ALL, 5).close()

        with pytest.raises(FencedError, match="generation 4"):
            ready.open(context, LOW, 4)

    def test_writers_of_two_halves_share_a_target(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, LOW, 1)) as low, closing(ready.open(context, HIGH, 1)) as high:
            low.commit(stream(1, 150, LOW), 150, final=False)
            high.commit(stream(1, 120, HIGH), 120, final=False)
            low.commit(stream(151, 160, LOW), 160, final=True)
            high.commit(stream(121, 160, HIGH), 160, final=True)

        self.assert_exact(ready, context, stream(1, 160))

    def test_replacing_one_half_leaves_the_other_alone(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, LOW, 1)) as low, closing(ready.open(context, HIGH, 1)) as gone:
            low.commit(stream(1, 50, LOW), 50, final=False)
            gone.commit(stream(1, 50, HIGH), 50, final=False)
            with closing(ready.open(context, HIGH, 2)) as high:
                low.commit(stream(51, 160, LOW), 160, final=True)
                high.commit(replayed(high, 1, 160, HIGH), 160, final=True)

        self.assert_exact(ready, context, stream(1, 160))

    def test_splitting_an_interval_keeps_its_tick_in_both_parts(self, ready: Sink, context: SinkContext) -> None:
        whole = ready.open(context, ALL, 1)
        said = whole.commit(stream(1, 250), 250, final=False)

        with closing(ready.open(context, HIGH, 2)) as high:
            assert high.committed() == [(HIGH, said)]
            with pytest.raises(FencedError):
                whole.commit(stream(251, 500), 500, final=False)
        whole.close()

        for interval in (LOW, HIGH):
            with closing(ready.open(context, interval, 3)) as writer:
                assert writer.committed() == [(interval, said)]
                writer.commit(replayed(writer, 1, 500, interval), 500, final=True)
        self.assert_exact(ready, context, stream(1, 500))

    def test_joining_two_intervals_reports_the_tick_of_each(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, LOW, 1)) as low, closing(ready.open(context, HIGH, 1)) as high:
            low.commit(stream(1, 90, LOW), 90, final=True)
            high.commit(stream(1, 40, HIGH), 40, final=True)

        with closing(ready.open(context, ALL, 2)) as writer:
            assert writer.committed() == [(LOW, 90), (HIGH, 40)]
            assert writer.commit(replayed(writer, 41, 60), 60, final=True) == 60
            assert writer.committed() == [(LOW, 90), (HIGH, 60)]
            rest = [part for part in replayed(writer, 61, 110) if part[0] > 60]
            writer.commit(rest, 110, final=True)
            assert [tick for _, tick in writer.committed()] in ([110], [110, 110])

        self.assert_exact(ready, context, stream(1, 110))

    def test_progress_without_rows_is_recorded_in_time(self, ready: Sink, context: SinkContext) -> None:
        with closing(ready.open(context, ALL, 1)) as writer:
            said = [writer.commit([], tick, final=False) for tick in range(1, 301)]
            assert said == sorted(said)
            assert said[-1] >= 200

        with closing(ready.open(context, ALL, 2)) as writer:
            assert writer.committed() == [(ALL, said[-1])]
            assert writer.commit([], 301, final=True) == 301
        with closing(ready.open(context, ALL, 3)) as writer:
            assert writer.committed() == [(ALL, 301)]

    def test_another_run_and_another_operator_start_afresh(
        self, ready: Sink, context: SinkContext, tmp_path: Path
    ) -> None:
        with closing(ready.open(context, ALL, 7)) as writer:
            writer.commit(stream(1, 5), 5, final=True)

        for run, operator in (("run-2", context.operator), ("run-1", "other")):
            other = SinkContext(run, "job", operator, GROUPS, 10, tmp_path / "job")
            ready.prepare(other)
            with closing(ready.open(other, ALL, 1)) as writer:
                assert writer.committed() == [(ALL, 0)]
            ready.finish(other)

    def test_nothing_but_the_target_and_its_record_stays(
        self, ready: Sink, context: SinkContext, tmp_path: Path
    ) -> None:
        vanished = ready.open(context, ALL, 1)
        vanished.commit(stream(1, 150), 150, final=False)
        with closing(ready.open(context, ALL, 2)) as writer:
            writer.commit(replayed(writer, 1, 170), 170, final=False)
        vanished.close()

        ready.finish(context)

        assert [p for p in tmp_path.rglob("*") if p.suffix == ".tmp" or p.name.endswith(("-wal", "-shm"))] == []


def _one_more() -> Any:
    extra = batch([("a word of its own", 1)])
    assert extra is not None
    return extra
