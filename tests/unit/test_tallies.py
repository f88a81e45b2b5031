"""How many rows a sink has committed is known exactly, though its writers die at any moment and one after the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.worker import tallies
from elastic.worker.tallies import Tally
from tests.examples import examples


@examples(60)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 5), max_size=4),  # rows of each tick that is handed over at once
            st.booleans(),  # whether the target takes them, or keeps them back
            st.booleans(),  # whether the writer dies before it hears of that
        ),
        max_size=25,
    )
)
def test_the_rows_through_the_targets_tick_are_known_whoever_dies_and_when(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[list[int], bool, bool]]
) -> None:
    directory = tmp_path_factory.mktemp("job") / "tallies"
    rows: dict[int, int] = {}  # of every tick there was, handed over by whomever
    committed, tick, generation = 0, 0, 1
    tally, counted = Tally(directory, "sink", 0, generation, 0), 0
    for sizes, taken, dies in history:
        ticks = [(tick + n + 1, size) for n, size in enumerate(sizes)]
        tick += len(ticks)
        rows |= dict(ticks)
        tally.hand(ticks)
        committed = tick if taken else committed
        if not dies:
            counted += tally.settle(committed)
            assert counted == tally.rows == sum(r for t, r in rows.items() if t <= committed)
            continue
        generation += 1  # the successor is given again what the target has not taken
        rows, tick = {t: r for t, r in rows.items() if t <= committed}, committed
        tally = Tally(directory, "sink", 0, generation, committed)
        counted = tally.rows
        assert counted == sum(rows.values())
    shutil.rmtree(directory)


def test_a_writer_that_was_replaced_and_goes_on_changes_nothing(tmp_path: Path) -> None:
    zombie = Tally(tmp_path, "sink", 0, 1, 0)
    zombie.hand([(1, 10)])
    heir = Tally(tmp_path, "sink", 0, 2, 1)
    zombie.hand([(2, 99)])
    heir.hand([(2, 5)])

    assert Tally(tmp_path, "sink", 0, 3, 2).rows == 15


def test_places_and_operators_are_told_apart_though_their_names_are_odd(tmp_path: Path) -> None:
    for name, index, rows in (("a", 0, 1), ("a", 1, 2), ("a/b.1", 0, 4), ("a-0", 1, 8)):
        Tally(tmp_path, name, index, 7, 0).hand([(1, rows)])

    assert Tally(tmp_path, "a", 1, 8, 1).rows == 2
    assert Tally(tmp_path, "a/b.1", 0, 8, 1).rows == 4
    assert Tally(tmp_path, "a-0", 1, 8, 1).rows == 8


def test_the_file_of_a_long_run_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "_MANY", 8)
    tally = Tally(tmp_path, "sink", 0, 1, 0)
    for tick in range(1, 1001):
        tally.hand([(tick, 2)])
        tally.settle(tick - 1)

    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 16 * 20
    assert Tally(tmp_path, "sink", 0, 2, 1000).rows == 2000


def test_a_directory_that_cannot_be_written_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "tallies").write_text("in the way")
    tally = Tally(tmp_path / "tallies", "sink", 0, 1, 0)
    tally.hand([(1, 3)])

    assert tally.settle(1) == 3
