"""What a holder folds piece by piece, whenever it has time, is what one fold gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import rows
from elastic.keys import KeyInterval
from elastic.state import folding
from elastic.state.folding import FoldingTable, cut_state, folded, join_states
from elastic.state.processing import StateTable, cut_table, fold

GROUPS = 6
KEYS = st.integers(0, 30)


def table(values: dict[int, int], gone: set[int], *, typed: bool) -> StateTable:
    keys, deleted = sorted(values), sorted(gone - values.keys())
    return StateTable(
        np.array([k % GROUPS for k in keys], np.uint16),
        pa.array(keys, pa.int64()) if typed else list(keys),
        {"value": [values[k] for k in keys]},
        np.array([k % GROUPS for k in deleted], np.uint16),
        pa.array(deleted, pa.int64()) if typed else list(deleted),
    )


def content(found: StateTable) -> Any:
    return sorted(zip(found.groups.tolist(), rows(found.keys), rows(found.fields["value"]), strict=True))


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "PIECE_ENTRIES", 4)


@given(
    typed=st.booleans(),
    base=st.dictionaries(KEYS, st.integers(0, 9), max_size=31),
    steps=st.lists(
        st.one_of(
            st.tuples(st.dictionaries(KEYS, st.integers(0, 9), max_size=12), st.sets(KEYS, max_size=5)),
            st.integers(1, 6),  # so often there is time to fold
            st.none(),  # somebody fetches the whole
        ),
        max_size=12,
    ),
    at=st.integers(1, GROUPS - 1),
)
def test_however_deltas_and_folding_take_turns_the_whole_is_what_one_fold_gives(
    *, typed: bool, base: dict[int, int], steps: list[Any], at: int
) -> None:
    """So does what it is cut into, and what these parts are joined to again, without anybody folding it."""
    first = table(base, set(), typed=typed)
    expected, held = StateTable(first.groups, first.keys, first.fields), FoldingTable(first)

    for step in steps:
        if step is None:
            assert content(folded(held.layers())) == content(expected)
        elif isinstance(step, int):
            for _ in range(step):
                held.fold_some()
        else:
            delta = table(*step, typed=typed)
            expected = fold(expected, [delta])
            held.add(delta)

    layers, halves = held.layers(), (KeyInterval(0, at), KeyInterval(at, GROUPS))
    assert content(folded(layers)) == content(expected)
    parts = [cut_state(layers, half) for half in halves]
    assert [content(folded(part)) for part in parts] == [content(cut_table(expected, half)) for half in halves]
    assert content(folded(join_states(parts))) == content(expected)
    assert content(held.whole()) == content(expected)


@given(st.lists(st.dictionaries(KEYS, st.integers(0, 9), min_size=8, max_size=31), max_size=20))
def test_when_there_is_time_the_deltas_never_outweigh_the_rest(deltas: list[dict[int, int]]) -> None:
    held = FoldingTable(table(dict.fromkeys(range(31), 0), set(), typed=True))
    heaviest = 4 * held.size_bytes

    for delta in deltas:
        held.add(table(delta, set(), typed=True))
        while held.fold_some():
            pass

    assert not held.is_heavy
    assert held.size_bytes <= heaviest
