"""From a column of keys to their slots in NumPy: what the limit uses where a dict would cost more than counting does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.keys import hash_column

Slots = npt.NDArray[np.int64]
_SPARE_BITS = 2  # of four entries of the table at most one is taken
_GROUP_BITS = np.uint64(8)  # the low bits of the hash name the key group, and one process owns few of them


class KeySlots:
    """Numbers keys 0, 1, 2 … in the order in which they are first seen."""

    def __init__(self) -> None:
        self.keys: pa.Array = pa.array([], pa.string())
        self._index(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, keys: pa.Array) -> Slots:
        """The slot of each row's key; a new key gets the next one."""
        slots = self._find(keys)
        unknown = np.flatnonzero(slots < 0)
        if len(unknown):
            self._index(pa.concat_arrays([self.keys, keys.take(pa.array(unknown)).unique()]))
            slots[unknown] = self._find(keys.take(pa.array(unknown)))
        return slots

    def _index(self, keys: pa.Array) -> None:
        """Open addressing: the table has, at a key's hash or the next free place behind, its slot + 1."""
        self.keys = keys
        self._hashes = hash_column(keys)
        bits = max(4, len(keys).bit_length() + _SPARE_BITS)
        self._mask = np.uint64((1 << bits) - 1)
        self._table = np.zeros(1 << bits, np.int32)
        place = (self._hashes >> _GROUP_BITS) & self._mask
        pending = np.arange(len(keys))
        while len(pending):
            wanted = place[pending]
            free = self._table[wanted] == 0
            self._table[wanted[free]] = pending[free] + 1  # where several meet, the last one stays
            pending = pending[self._table[wanted] != pending + 1]
            place[pending] = (place[pending] + np.uint64(1)) & self._mask

    def _find(self, keys: pa.Array) -> Slots:
        """The slot of each row's key, -1 where it is unknown: by hash, then held against the key itself."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        hashes = hash_column(keys)
        place = (hashes >> _GROUP_BITS) & self._mask
        slots = self._table[place].astype(np.int64) - 1
        other = np.flatnonzero((slots >= 0) & (self._hashes[slots] != hashes))
        while len(other):
            place[other] = (place[other] + np.uint64(1)) & self._mask
            found = self._table[place[other]].astype(np.int64) - 1
            slots[other] = found
            other = other[(found >= 0) & (self._hashes[found] != hashes[other])]
        same = np.asarray(pc.equal(keys, self.keys.take(pa.array(slots.clip(0)))))
        slots[~same] = -1
        return slots
