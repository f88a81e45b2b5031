"""Checkpoints that are cut and joined: nothing is lost, nothing is there twice, and the order within a tick stays."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, rows, sorted_batch
from elastic.keys import KeyInterval
from elastic.state.checkpoint import (
    BaseMismatchError,
    BufferCheckpoint,
    Checkpoint,
    join_checkpoints,
    partition_checkpoint,
)
from elastic.state.folding import folded
from elastic.state.processing import StateTable

GROUPS = 16


def batch(groups: list[int]) -> Batch:
    """Rows that say which group they are of, and when in it they came."""
    ordered = np.array(groups, np.uint16)
    return sorted_batch(ordered, None, [(g, n) for n, g in enumerate(groups)])


@st.composite
def checkpoints(draw: st.DrawFn) -> Checkpoint:
    keys = draw(st.dictionaries(st.integers(0, 500), st.integers(), max_size=30))
    state = StateTable(np.array([k % GROUPS for k in keys], np.uint16), list(keys), {"value": list(keys.values())})
    group_lists = st.lists(st.integers(0, GROUPS - 1), min_size=1, max_size=8)
    ticks = draw(st.dictionaries(st.integers(11, 40), group_lists, max_size=5))
    entries = tuple((tick, batch(ticks[tick])) for tick in sorted(ticks))
    buffer = BufferCheckpoint(10, np.full(GROUPS, 10), entries, narrow=draw(st.booleans()))
    return Checkpoint(40, None, state, {3: buffer}, draw(st.booleans()))


def content(checkpoint: Checkpoint) -> Any:
    """Everything in it, in a form that can be compared."""
    assert checkpoint.state is not None
    state = folded(checkpoint.state)
    table = sorted(zip(state.groups.tolist(), rows(state.keys), rows(state.fields["value"]), strict=True))
    buffers = {
        edge: (b.floor, b.acked.tolist(), [(t, e.groups.tolist(), rows(e.values or [])) for t, e in b.entries])
        for edge, b in checkpoint.buffers.items()
    }
    return checkpoint.tick, checkpoint.final, table, buffers


@given(checkpoints(), st.sets(st.integers(1, GROUPS - 1)))
def test_what_was_cut_and_joined_again_is_what_it_was(whole: Checkpoint, cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), GROUPS]
    intervals = [KeyInterval(low, high) for low, high in itertools.pairwise(bounds)]

    assert content(join_checkpoints(partition_checkpoint(whole, intervals))) == content(whole)


@given(checkpoints(), st.integers(1, GROUPS - 1))
def test_where_rows_keep_their_groups_each_part_has_its_own(whole: Checkpoint, cut: int) -> None:
    narrow = replace(whole, buffers={3: replace(whole.buffers[3], narrow=True)})
    intervals = [KeyInterval(0, cut), KeyInterval(cut, GROUPS)]

    for part, interval in zip(partition_checkpoint(narrow, intervals), intervals, strict=True):
        expected = [(t, [g for g in b.groups.tolist() if interval.contains(g)]) for t, b in whole.buffers[3].entries]
        found = [(t, b.groups.tolist()) for t, b in part.buffers[3].entries]
        assert found == [(t, groups) for t, groups in expected if groups]


@given(st.lists(st.lists(st.integers(0, 7), max_size=5), min_size=2, max_size=2), st.integers(0, 30))
def test_rows_of_one_tick_come_in_canonical_order_and_those_that_are_safe_anywhere_are_left_out(
    groups: list[list[int]], floor: int
) -> None:
    """Neighbours own disjoint groups, and a consumer may have told only one of them that a tick is safe."""
    low, high = groups[0], [g + 8 for g in groups[1]]
    parts = [
        Checkpoint(40, None, None, {3: BufferCheckpoint(f, np.full(GROUPS, f), ((20, batch(g)),) if g else ())})
        for f, g in ((floor, low), (0, high))
    ]

    joined = join_checkpoints(parts).buffers[3]

    assert joined.floor == floor
    assert joined.acked.tolist() == [floor] * GROUPS
    found = [g for tick, b in joined.entries for g in b.groups.tolist()]
    assert found == (sorted(low + high) if floor < 20 else [])


def test_checkpoints_of_different_ticks_cannot_be_joined() -> None:
    parts = [Checkpoint(tick, None, None, {}) for tick in (7, 8)]

    with pytest.raises(BaseMismatchError, match=r"of ticks \[7, 8\] cannot be joined"):
        join_checkpoints(parts)
