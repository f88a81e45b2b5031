"""Buffer state: what an instance emitted and consumers may still ask for."""

from __future__ import annotations

import numpy as np
import pytest

from elastic.batch import Batch, size_bytes
from elastic.keys import KeyInterval
from elastic.state.buffer import BufferState
from elastic.state.checkpoint import Checkpoint, join_checkpoints

ALL = KeyInterval(0, 4)
LEFT, RIGHT = KeyInterval(0, 2), KeyInterval(2, 4)


def batch(*groups: int) -> Batch:
    return Batch(np.array(groups, np.uint16), None, [f"row of {g}" for g in groups])


def filled(*ticks: int) -> BufferState:
    buffer = BufferState(4)
    for tick in ticks:
        buffer.append(tick, batch(0, 3))
    return buffer


def ticks_after(buffer: BufferState, tick: int) -> list[int]:
    return [entry.tick for entry in buffer.after(tick)]


def test_a_subscription_is_served_what_lies_past_its_tick() -> None:
    buffer = filled(2, 5, 9)

    assert ticks_after(buffer, 0) == [2, 5, 9]
    assert ticks_after(buffer, 2) == [5, 9]
    assert ticks_after(buffer, 4) == [5, 9]
    assert ticks_after(buffer, 9) == []


def test_a_tick_without_rows_takes_no_room() -> None:
    assert filled(2, 9).at(5) is None
    assert filled(2, 9).stats.ticks == 2


def test_nothing_is_trimmed_while_one_key_group_is_not_covered() -> None:
    buffer = filled(2, 5)

    assert not buffer.acknowledge(LEFT, 5)

    assert (buffer.floor, ticks_after(buffer, 0)) == (0, [2, 5])


def test_a_tick_is_trimmed_once_every_key_group_is_covered() -> None:
    buffer = filled(2, 5, 9)
    buffer.acknowledge(LEFT, 9)

    assert buffer.acknowledge(RIGHT, 5)

    assert (buffer.floor, ticks_after(buffer, 0)) == (5, [9])


def test_an_acknowledgement_that_comes_late_takes_nothing_back() -> None:
    buffer = filled(2, 5)
    buffer.acknowledge(ALL, 5)

    assert not buffer.acknowledge(ALL, 2)

    assert buffer.floor == 5


def test_size_counts_what_is_held_and_not_what_was_trimmed() -> None:
    buffer = filled(2, 5)
    whole = buffer.stats.size_bytes
    buffer.acknowledge(ALL, 2)

    assert whole == 2 * batch(0, 3).size_bytes
    assert buffer.stats.size_bytes == batch(0, 3).size_bytes
    buffer.acknowledge(ALL, 5)
    assert buffer.stats.size_bytes == 0


def test_a_buffer_restored_from_its_checkpoint_serves_the_same() -> None:
    buffer = filled(2, 5, 9)
    buffer.acknowledge(ALL, 2)
    buffer.acknowledge(LEFT, 5)

    restored = BufferState(4, buffer.checkpoint(None))

    assert (restored.floor, restored.acked.tolist()) == (2, [5, 5, 2, 2])
    assert ticks_after(restored, 2) == [5, 9]
    restored.acknowledge(RIGHT, 9)
    assert restored.floor == 5


def test_a_delta_holds_only_what_came_after_its_base() -> None:
    assert [tick for tick, _ in filled(2, 5, 9).checkpoint(after=5).entries] == [9]


def test_a_checkpoint_does_not_change_when_its_buffer_does() -> None:
    buffer = filled(2)
    checkpoint = buffer.checkpoint(None)
    buffer.append(5, batch(1))
    buffer.acknowledge(ALL, 2)

    assert [tick for tick, _ in checkpoint.entries] == [2]
    assert checkpoint.acked.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("row", "at_least", "at_most"),
    [
        (7, 30, 80),
        (("k", 1, "x" * 1000), 1000, 1400),
        ({"text": "x" * 1000}, 1000, 1500),
        (["x" * 500] * 40, 8000, 30_000),
    ],
)
def test_rows_of_python_objects_count_with_what_they_hold(row: object, at_least: int, at_most: int) -> None:
    assert 100 * at_least <= size_bytes([row] * 100) <= 100 * at_most


def test_where_rows_keep_their_groups_only_the_producers_own_groups_count() -> None:
    buffer = BufferState(4, own=LEFT)
    buffer.append(2, batch(0, 1))
    buffer.append(5, batch(1))

    assert buffer.acknowledge(ALL, 2)
    assert buffer.acknowledge(KeyInterval(0, 2), 5)

    assert (buffer.floor, buffer.covered.tolist()) == (5, [5, 5, 0, 0]), "of the others nothing was ever here"


def test_neighbours_that_were_joined_keep_what_one_of_them_still_needs() -> None:
    parts = []
    for own, safe in ((LEFT, 5), (RIGHT, 2)):
        buffer = BufferState(4, own=own)
        for tick in (2, 5):
            buffer.append(tick, batch(own.low))
        buffer.acknowledge(own, safe)
        parts.append(Checkpoint(6, None, None, {1: buffer.checkpoint(None)}))

    joined = BufferState(4, join_checkpoints(parts).buffers[1], own=ALL)

    assert (joined.floor, joined.acked.tolist()) == (2, [5, 5, 2, 2])
    assert [(e.tick, e.batch.groups.tolist()) for e in joined.after(0)] == [(5, [2])]
    assert joined.is_held_by(ALL)
    assert not joined.is_held_by(LEFT)
