"""From a column of keys to their slots in NumPy: the limit's, where a dict would cost more than counting does."""

from __future__ import annotations

from collections import defaultdict
from itertools import count

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.keys import hash_column

Slots = npt.NDArray[np.int64]
_SPARE_BITS = 2  # of four entries of the table at most one is taken
_GROUP_BITS = np.uint64(8)  # the low bits of the hash name the key group, and one process owns few of them


class KeySlots:
    """Numbers keys 0, 1, 2 … in the order in which they are first seen.

    New keys go into a dict, and from there into the table once they are an eighth of it: so a key is put into a table
    about nine times in all, however few of them come at once.
    """

    def __init__(self) -> None:
        self._table = _Table(pa.array([], pa.string()))
        self._new: defaultdict[str, int] = defaultdict(count().__next__)

    def __len__(self) -> int:
        return len(self._table.keys) + len(self._new)

    @property
    def keys(self) -> pa.Array:
        """All keys, by slot."""
        self._settle()
        return self._table.keys

    def of(self, keys: pa.Array) -> Slots:
        """The slot of each row's key; a new key gets the next one."""
        slots = self._table.find(keys)
        unknown = np.flatnonzero(slots < 0)
        if len(unknown):
            names = keys.take(pa.array(unknown)).to_pylist()
            slots[unknown] = np.fromiter(map(self._new.__getitem__, names), np.int64, len(names))
            if len(self._new) > len(self._table.keys) // 8:
                self._settle()
        return slots

    def _settle(self) -> None:
        if self._new:
            self._table = _Table(pa.concat_arrays([self._table.keys, pa.array(list(self._new), pa.string())]))
            self._new = defaultdict(count(len(self._table.keys)).__next__)


class _Table:
    """Open addressing: at a key's hash, or the next free place behind it, stands its slot + 1."""

    def __init__(self, keys: pa.Array) -> None:
        self.keys = keys
        self._hashes = hash_column(keys)
        bits = max(4, len(keys).bit_length() + _SPARE_BITS)
        self._mask = np.uint64((1 << bits) - 1)
        self._slots = np.zeros(1 << bits, np.int32)
        place = (self._hashes >> _GROUP_BITS) & self._mask
        pending = np.arange(len(keys))
        while len(pending):
            wanted = place[pending]
            free = self._slots[wanted] == 0
            self._slots[wanted[free]] = pending[free] + 1  # where several meet, the last one stays
            pending = pending[self._slots[wanted] != pending + 1]
            place[pending] = (place[pending] + np.uint64(1)) & self._mask

    def find(self, keys: pa.Array) -> Slots:
        """The slot of each row's key, -1 where it is unknown: by hash, then held against the key itself."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        hashes = hash_column(keys)
        place = (hashes >> _GROUP_BITS) & self._mask
        slots = self._slots[place].astype(np.int64) - 1
        other = np.flatnonzero((slots >= 0) & (self._hashes[slots] != hashes))
        while len(other):
            place[other] = (place[other] + np.uint64(1)) & self._mask
            found = self._slots[place[other]].astype(np.int64) - 1
            slots[other] = found
            other = other[(found >= 0) & (self._hashes[found] != hashes[other])]
        same = np.asarray(pc.equal(keys, self.keys.take(pa.array(slots.clip(0)))))
        known: Slots = np.where(same, slots, -1)
        return known
