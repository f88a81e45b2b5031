"""Buffer state: an instance's output on one edge that downstream checkpoints do not cover yet.

Invariant 3, nothing is trimmed early: a tick goes only when every downstream key group is covered by a *stored*
checkpoint at or past it. Source: SEEP §3.1 (β_o) and its ``trim``; we trim by key group, so that it holds for any cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from elastic.batch import Batch
from elastic.keys import KeyInterval
from elastic.state.checkpoint import BufferCheckpoint
from elastic.state.spill import Spill


class Entry(NamedTuple):
    """One tick's rows; ``start_bytes`` counts all that was ever appended before it."""

    tick: int
    batch: Batch
    start_bytes: int


@dataclass(frozen=True, slots=True)
class BufferStats:
    """Size of a buffer state."""

    ticks: int
    size_bytes: int


class BufferState:
    """Ticks ``(floor, τ]`` of one edge; ticks without rows take no room.

    Attributes:
        floor: What lies at or below it was trimmed: every consumer is safe there.
        acked: Per downstream key group, the tick that a stored checkpoint covers.

    Args:
        key_groups: Of the job.
        checkpoint: What it begins with.
        own: On a narrow edge, the producer's interval: no other groups have rows here, or are acknowledged.
    """

    def __init__(
        self, key_groups: int, checkpoint: BufferCheckpoint | None = None, own: KeyInterval | None = None
    ) -> None:
        self._entries: list[Entry] = []
        self._spilled = 0  # of the entries, the first so many lie on the disk
        self.appended_bytes = 0
        self._narrow, self._span = own is not None, own or KeyInterval(0, key_groups)
        if checkpoint is None:
            self.floor, self.acked = 0, np.zeros(key_groups, np.int64)
        else:
            self.acked = checkpoint.acked.copy()
            self.floor = max(checkpoint.floor, self._least_acked(self._span))
            for tick, batch in checkpoint.entries:
                if tick > self.floor:
                    self.append(tick, batch)

    def _least_acked(self, interval: KeyInterval) -> int:
        low, high = max(interval.low, self._span.low), min(interval.high, self._span.high)
        return int(self.acked[low:high].min())

    @property
    def stats(self) -> BufferStats:
        """How much is held."""
        return BufferStats(len(self._entries), self.size_bytes)

    @property
    def size_bytes(self) -> int:
        """How much is held, in memory and on the disk."""
        return self.appended_bytes - self._entries[0].start_bytes if self._entries else 0

    @property
    def memory_bytes(self) -> int:
        """How much is held in memory."""
        entries, first = self._entries, self._spilled
        return self.appended_bytes - entries[first].start_bytes if first < len(entries) else 0

    def spill(self, spill: Spill, excess_bytes: int) -> int:
        """Put the oldest entries on the disk until so much memory is freed, or there is no more room; returns how much.

        Raises:
            UserError: The disk is full, or does not let itself be written.
        """
        freed = 0
        while freed < excess_bytes and self._spilled < len(self._entries):
            entry = self._entries[self._spilled]
            if (there := spill.put(entry.batch)) is None:
                break
            self._entries[self._spilled] = entry._replace(batch=there)
            self._spilled += 1
            freed += there.size_bytes
        return freed

    def append(self, tick: int, batch: Batch) -> None:
        """Keep the rows of a tick; ticks ascend."""
        self._entries.append(Entry(tick, batch, self.appended_bytes))
        self.appended_bytes += batch.size_bytes

    def after(self, tick: int) -> list[Entry]:
        """Entries past ``tick``, ascending."""
        entries = self._entries
        if not entries or entries[-1].tick <= tick:  # the usual case, without a search
            return []
        return entries[bisect_right(entries, tick, key=lambda entry: entry.tick) :]

    def at(self, tick: int) -> Batch | None:
        """The rows of one tick; None if it had none or was trimmed."""
        found = self.after(tick - 1)
        return found[0].batch if found and found[0].tick == tick else None

    def acknowledge(self, interval: KeyInterval, tick: int) -> bool:
        """A stored checkpoint covers ``interval`` through ``tick``; trims, and tells whether the floor rose."""
        acked = self.acked[max(interval.low, self._span.low) : min(interval.high, self._span.high)]
        np.maximum(acked, tick, out=acked)
        floor = self._least_acked(self._span)
        if floor <= self.floor:
            return False
        self.floor = floor
        gone = bisect_right(self._entries, floor, key=lambda entry: entry.tick)
        del self._entries[:gone]
        self._spilled = max(0, self._spilled - gone)
        return True

    @property
    def covered(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Per downstream key group, the tick through which nothing can be served any more."""
        covered = self.acked.copy()
        own = covered[self._span.low : self._span.high]
        np.maximum(own, self.floor, out=own)
        return covered

    def is_held_by(self, interval: KeyInterval) -> bool:
        """Whether a consumer of this interval, which overlaps the producer's on a narrow edge, holds back trimming."""
        return self._least_acked(interval) == self.floor

    def checkpoint(self, after: int | None) -> BufferCheckpoint:
        """What a checkpoint holds of this edge: everything, or what came after tick ``after`` for a delta."""
        entries: Iterable[Entry] = self._entries if after is None else self.after(after)
        kept = tuple((e.tick, e.batch) for e in entries)
        return BufferCheckpoint(self.floor, self.acked.copy(), kept, self._narrow)
