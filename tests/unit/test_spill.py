"""Output that takes too much memory lies on the disk, oldest first, and comes back as it was."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, rows, sorted_batch
from elastic.errors import UserError
from elastic.keys import KeyInterval
from elastic.protocol import Cut, Fetch, Hold, Part, Send, Store
from elastic.state.backup import BackupStore
from elastic.state.buffer import BufferState
from elastic.state.checkpoint import BufferCheckpoint, Checkpoint
from elastic.state.spill import SpilledBatch
from elastic.testing.world import MemorySpill
from elastic.wire.control import codec
from elastic.worker.spill import SEGMENT_BYTES, SpillFiles

GROUPS = 8
ALL = KeyInterval(0, GROUPS)


def batch(groups: list[int], tick: int = 0) -> Batch:
    return sorted_batch(np.array(groups, np.uint16), None, [(g, tick, n) for n, g in enumerate(groups)])


def content(found: Batch) -> list[object]:
    assert found.values is not None
    return [found.groups.tolist(), rows(found.values)]


def files(path: Path, limit_bytes: int = 1 << 30) -> SpillFiles:
    return SpillFiles(path / "spill", limit_bytes, 512 << 20)


@given(
    ticks=st.lists(st.lists(st.integers(0, GROUPS - 1), min_size=1, max_size=6), min_size=1, max_size=8),
    excess=st.lists(st.integers(0, 2_000), max_size=4),
    acked=st.integers(0, 8),
    low=st.integers(0, GROUPS - 1),
)
def test_a_buffer_serves_the_same_whatever_of_it_is_spilled(
    ticks: list[list[int]], excess: list[int], acked: int, low: int
) -> None:
    plain, spilling, spill = BufferState(GROUPS), BufferState(GROUPS), MemorySpill(1 << 20)
    for n, groups in enumerate(ticks, 1):
        plain.append(n, batch(groups, n))
        spilling.append(n, batch(groups, n))
        if n <= len(excess):
            spilling.spill(spill, excess[n - 1])
    plain.acknowledge(ALL, acked)
    spilling.acknowledge(ALL, acked)

    assert spilling.stats == plain.stats
    assert spilling.memory_bytes <= plain.memory_bytes
    for mine, theirs in zip(spilling.after(0), plain.after(0), strict=True):
        assert (mine.tick, mine.start_bytes, len(mine.batch)) == (theirs.tick, theirs.start_bytes, len(theirs.batch))
        assert content(mine.batch) == content(theirs.batch)
        for part, expected in [(b.slice(KeyInterval(low, GROUPS)) for b in (mine.batch, theirs.batch))]:
            assert (part is None) == (expected is None)
            assert part is None or expected is None or content(part) == content(expected)


def test_the_oldest_is_spilled_first_and_only_as_much_as_is_wanted() -> None:
    buffer = BufferState(GROUPS)
    for tick in range(1, 11):
        buffer.append(tick, batch([0] * 10, tick))
    each = buffer.stats.size_bytes // 10

    freed = buffer.spill(MemorySpill(1 << 20), 3 * each - 1)

    assert freed == 3 * each
    assert buffer.memory_bytes == 7 * each
    assert [isinstance(e.batch, SpilledBatch) for e in buffer.after(0)] == [True] * 3 + [False] * 7


def test_where_there_is_no_more_room_the_rest_stays_in_memory(tmp_path: Path) -> None:
    buffer, spill = BufferState(GROUPS), files(tmp_path, limit_bytes=1)
    for tick in range(1, 5):
        buffer.append(tick, batch([0] * 10, tick))

    buffer.spill(spill, buffer.stats.size_bytes)

    assert [isinstance(e.batch, SpilledBatch) for e in buffer.after(0)] == [True, False, False, False]


def test_what_lies_in_files_comes_back_and_travels_as_it_was(tmp_path: Path) -> None:
    given_ = batch([3, 1, 1, 7])
    there = files(tmp_path).put(given_)
    assert there is not None

    travelled = codec().decode(codec().encode(there))

    assert content(there) == content(given_) == content(travelled)
    assert type(travelled) is Batch
    assert (len(there), there.size_bytes) == (len(given_), given_.size_bytes)


def test_files_have_no_name_and_their_room_is_free_when_nobody_needs_it(tmp_path: Path) -> None:
    spill = files(tmp_path)
    values = [os.urandom(1 << 20)] * 40  # more than a file
    kept = [spill.put(Batch(np.zeros(1, np.uint16), None, [value])) for value in values]
    full, names = spill.size_bytes, list((tmp_path / "spill").iterdir())

    del kept[:-1]
    gc.collect()

    assert full > SEGMENT_BYTES
    assert names == []
    assert spill.size_bytes < full - SEGMENT_BYTES // 2


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", pwrite)

    with pytest.raises(UserError, match=r"cannot spill .* of output to .*spill: No space left on device; 0B lie there"):
        files(tmp_path).put(batch([1]))


def test_a_holder_spills_the_output_in_what_it_holds_and_hands_it_out_whole() -> None:
    store = BackupStore()
    store.on_hold(Hold(1, 5, fresh=True))
    entries = tuple((tick, batch([0, 1, 1], tick)) for tick in range(1, 9))
    checkpoint = Checkpoint(8, None, None, {3: BufferCheckpoint(0, np.zeros(GROUPS, np.int64), entries)})
    store.on_store(Store(5, 2, checkpoint))
    held = store._held[5]
    before = held.buffer_bytes

    store.relieve(MemorySpill(1 << 20), before // 2)
    after = held.buffer_bytes
    (answer,) = store.on_fetch(Fetch(5, 2))

    assert after <= before // 2
    assert isinstance(answer, Send)
    assert isinstance(answer.message, Part)
    assert answer.message.checkpoint is not None
    found = answer.message.checkpoint.buffers[3].entries
    assert [(t, content(b)) for t, b in found] == [(t, content(b)) for t, b in entries]
    assert store.on_cut(Cut(1, 9, 5, ((6, ALL),)))
