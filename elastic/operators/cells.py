"""Which cell a key has in a piece of time: a table of (key, pane) pairs that NumPy can search."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from elastic.batch import Column, Groups, Indices
from elastic.operators.integers import grown
from elastic.operators.slots import KeySlots

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX2 = np.uint64(0xC2B2AE3D27D4EB4F)
_SPARE_BITS = 2  # of four places at most one is taken


class Cells:
    """Numbers (key, pane) pairs 0, 1, 2 …; a pane is a whole number.

    Attributes:
        keys: Numbers the keys.
        key, pane, groups: By cell, with room to grow: slot of its key, its pane, its key group.
    """

    def __init__(self) -> None:
        self.keys = KeySlots()
        self.key = np.empty(0, np.int64)
        self.pane = np.empty(0, np.int64)
        self.groups: Groups = np.empty(0, np.uint16)
        self._count = 0
        self._places = np.zeros(16, np.int32)

    def __len__(self) -> int:
        return self._count

    def of(self, keys: Column, groups: Groups, panes: npt.NDArray[np.int64]) -> Indices:
        """The cell of each row; new pairs get the next numbers."""
        slots = self.keys.of(keys)
        cells = self._find(slots, panes)
        unknown = np.flatnonzero(cells < 0)
        if len(unknown):
            order = unknown[np.lexsort((panes[unknown], slots[unknown]))]
            first = np.ones(len(order), bool)
            first[1:] = (np.diff(slots[order]) != 0) | (np.diff(panes[order]) != 0)
            cells[order] = self._count + np.cumsum(first) - 1
            fresh = order[first]
            self._append(slots[fresh], panes[fresh], groups[fresh])
        return cells

    def known(self, keys: Column, panes: npt.NDArray[np.int64]) -> Indices:
        """The cell of each pair, -1 where there is none."""
        return self._find(self.keys.of(keys), panes)

    def take(self, cells: Indices) -> Column:
        """The keys at some cells, as they were first seen."""
        return self.keys.take(self.key[cells])

    def _append(self, slots: Indices, panes: npt.NDArray[np.int64], groups: Groups) -> None:
        low, self._count = self._count, self._count + len(slots)
        self.key, self.pane = grown(self.key, self._count), grown(self.pane, self._count)
        self.groups = grown(self.groups, self._count)
        self.key[low : self._count], self.pane[low : self._count] = slots, panes
        self.groups[low : self._count] = groups
        if self._count << _SPARE_BITS > len(self._places):
            self._places = np.zeros(1 << (self._count.bit_length() + _SPARE_BITS + 1), np.int32)
            low = 0
        self._place(np.arange(low, self._count))

    def _place(self, pending: Indices) -> None:
        """Put cells, which are all different and not there yet, at their hash or the next free place behind it."""
        mask = len(self._places) - 1
        place = self._hash(self.key[pending], self.pane[pending]) & mask
        while len(pending):
            free = self._places[place] == 0
            self._places[place[free]] = pending[free] + 1  # where several meet, the last one stays
            left = self._places[place] != pending + 1
            pending, place = pending[left], (place[left] + 1) & mask

    def _find(self, slots: Indices, panes: npt.NDArray[np.int64]) -> Indices:
        """The cell of each pair, -1 where it is unknown."""
        mask = len(self._places) - 1
        place = self._hash(slots, panes) & mask
        found: Indices = self._places[place].astype(np.int64) - 1
        if not self._count:
            return found
        other = np.flatnonzero((found >= 0) & ((self.key[found] != slots) | (self.pane[found] != panes)))
        while len(other):
            place[other] = (place[other] + 1) & mask
            now = self._places[place[other]].astype(np.int64) - 1
            found[other] = now
            other = other[(now >= 0) & ((self.key[now] != slots[other]) | (self.pane[now] != panes[other]))]
        return found

    @staticmethod
    def _hash(slots: Indices, panes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        mixed = slots.astype(np.uint64) * _MIX ^ panes.astype(np.uint64) * _MIX2
        hashes: npt.NDArray[np.int64] = ((mixed ^ (mixed >> np.uint64(32))) & np.uint64(2**62 - 1)).astype(np.int64)
        return hashes

    def kept(self, cells: Indices) -> Cells:
        """Only these cells, numbered anew in their order; keys that had none for long are forgotten."""
        again = Cells()
        if len(self.keys) <= 2 * len(np.unique(self.key[: self._count])) + 1024:
            again.keys, slots = self.keys, self.key[cells]
        else:
            slots = again.keys.of(self.take(cells))
        again._append(slots, self.pane[cells], self.groups[cells])
        return again
