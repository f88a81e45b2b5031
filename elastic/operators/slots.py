"""Which slot a key has: a dict that knows all keys, and for columns of text a table that NumPy can search.

A dict costs 150 ns a key here, since every key must become a Python object that is hashed and then looked for all over
the memory; the table costs 55. It finds a place by the keys' stable hash and holds what is there against the key.

Hashing is 16 of the 55. If the sender's hashes came with the batch, six of these would go into their fingerprint, order
and transport, and a key would take 30 bytes in buffers instead of 22: so they do not.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count, islice
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Column, Groups, Indices, columnar
from elastic.hashing import number_values
from elastic.keys import hash_column, order_codes, sort_order
from elastic.operators.growing_text import GrowingText
from elastic.operators.integers import grown
from elastic.state.processing import dict_keys

WORTH_IT_ROWS = 500
"""Below it the table's dozen NumPy calls cost more than they save."""

MOST_BYTES = 1 << 30
"""Of text in the table; Arrow's offsets end at two GiB."""

_SPARE_BITS = 2  # of four places of the table at most one is taken
_GROUP_BITS = np.uint64(8)  # the low bits of the hash choose the key group, and one instance owns few of them


class KeySlots:
    """Numbers keys 0, 1, 2 … in the order in which they are first seen; equal keys have one number.

    Integers of a checkpoint stay a column with a table of their own: a million are there in a tenth of a second. They
    come into the dict once somebody asks for keys of other types.
    """

    def __init__(self) -> None:
        self._early: _Table | None = None  # the first keys, which are not in the dict, nor in the list
        self._late: list[Any] = []  # all others, by slot
        self._slots: defaultdict[Any, int] = defaultdict(count().__next__)  # a missing key gets the next slot
        self._table = _Table(pa.array([], pa.string()), np.empty(0, np.int64))
        self._numbers: npt.NDArray[np.int64] | None = np.empty(0, np.int64)  # the first keys while all are int64
        self._numbered = 0  # how many of them
        self._covered = 0  # keys below this slot are in the table if a column of text can hold them

    def __len__(self) -> int:
        return self._first + len(self._late)

    @property
    def _first(self) -> int:
        """The slot of the first key of the list."""
        return 0 if self._early is None else len(self._early.keys)

    @property
    def keys(self) -> list[Any]:
        """By slot, a key as it was first seen."""
        self._unite()
        return self._late

    def _unite(self) -> None:
        """Have all keys in the dict and in the list."""
        if self._early is None:
            return
        early = self._early.keys.to_pylist()
        slots = defaultdict(count(len(self)).__next__, zip(early, range(len(early)), strict=True))
        slots.update(self._slots)
        self._early, self._slots, self._late = None, slots, early + self._late

    def take(self, slots: Indices) -> Column:
        """The keys at some slots, as they were first seen."""
        if len(slots) and (numbers := self._as_numbers()) is not None:
            return pa.array(numbers[slots])
        if len(slots) >= WORTH_IT_ROWS:
            self._cover()
        late = np.flatnonzero(slots >= self._covered)
        all_text = len(self._table.keys) == self._covered  # then the n-th key of the table has slot n
        if not len(slots) or not all_text or len(late) == len(slots):
            return columnar(list(map(self.keys.__getitem__, slots.tolist())))
        if not len(late):
            return self._table.keys.take(pa.array(slots))
        return self._with_late(slots, late)

    def _with_late(self, slots: Indices, late: Indices) -> Column:
        """The keys at some slots, those at ``late`` of which are not in the table, which has all others."""
        rest = columnar(list(map(self.keys.__getitem__, slots[late].tolist())))
        if not _is_text(rest, 1):
            return columnar(list(map(self.keys.__getitem__, slots.tolist())))
        early = np.flatnonzero(slots < self._covered)
        at = np.empty(len(slots), np.int64)
        at[early], at[late] = np.arange(len(early)), np.arange(len(early), len(slots))
        return pa.concat_arrays([self._table.keys.take(pa.array(slots[early])), rest]).take(pa.array(at))

    def begin(self, keys: Column) -> Indices:
        """The slots of the first keys of all, which all differ, as those of a checkpoint do; faster than ``of``."""
        every = np.arange(len(keys))
        if _is_int(keys):
            self._early, self._slots = _Table(keys, every), defaultdict(count(len(keys)).__next__)
            self._numbers, self._numbered = np.array(number_values(keys)), len(keys)  # a copy: more keys follow in it
            return every
        known = dict_keys(keys)
        self._slots = defaultdict(count(len(known)).__next__, zip(known, range(len(known)), strict=True))
        self._late = list(known)
        if _is_text(keys):
            self._covered, self._table = len(known), _Table(keys, every)
        return every

    def of(self, keys: Column) -> Indices:
        """The slot of each row's key; new keys get the next ones."""
        if self._early is not None and _is_int(keys):
            return self._beside_early(self._early, keys)
        self._unite()
        if not _is_text(keys):
            return self._by_dict(keys)
        slots = self._table.find(keys)
        unknown = np.flatnonzero(slots < 0)
        if len(unknown):
            slots[unknown] = self._by_dict(keys.take(pa.array(unknown)))  # type: ignore[union-attr]
            self._cover()
        return slots

    def knows(self, keys: Column) -> npt.NDArray[np.bool_]:
        """Whether each row's key has a slot; none gets one."""
        self._unite()
        return np.fromiter(map(self._slots.__contains__, dict_keys(keys)), bool, len(keys))

    def _beside_early(self, early: _Table, keys: pa.Array) -> Indices:
        slots = early.find(keys)
        unknown = np.flatnonzero(slots < 0)
        if len(unknown):
            slots[unknown] = self._by_dict(keys.take(pa.array(unknown)))
        return slots

    def _by_dict(self, keys: Column) -> Indices:
        slots = np.fromiter(map(self._slots.__getitem__, dict_keys(keys)), np.int64, len(keys))
        if new := len(self._slots) - len(self._late):
            self._late += reversed(list(islice(reversed(self._slots), new)))
        return slots

    def _as_numbers(self) -> npt.NDArray[np.int64] | None:
        """All keys as a column, if they are int and fit; a random access to so many objects would leave the caches."""
        if self._numbers is not None and self._numbered < len(self):
            fresh = columnar(self._late[self._numbered - self._first :])
            if isinstance(fresh, pa.Array) and pa.types.is_integer(fresh.type):
                self._numbers = grown(self._numbers, len(self))
                self._numbers[self._numbered : len(self)] = np.asarray(fresh)
                self._numbered = len(self)
            else:
                self._numbers = None
        return self._numbers

    def _cover(self) -> None:
        """Put the keys that are new since the last time into the table, if they are enough for that to pay."""
        if len(self) - self._covered < WORTH_IT_ROWS or self._table.full:
            return
        fresh = [(n, key) for n, key in enumerate(self.keys[self._covered :], self._covered) if _fits(key)]
        self._covered = len(self)
        self._table.add(pa.array([key for _, key in fresh], pa.string()), np.array([n for n, _ in fresh], np.int64))


class SlotOrder:
    """The canonical order of keys by slot."""

    def __init__(self, slots: KeySlots) -> None:
        self._slots = slots
        self._codes = np.empty(0, np.uint64)  # by slot, with room to grow: they sort as the canonical order does
        self._coded = 0

    def of(self, slots: Indices, groups: Groups) -> Indices:
        """The slots in canonical order of their keys; ``groups`` are by slot, of all."""
        self._code(groups)
        codes = self._codes[slots]
        order = np.argsort(codes)
        codes = codes[order]
        if (codes[1:] == codes[:-1]).any():
            return slots[sort_order(groups[slots], self._slots.take(slots))]
        ordered: Indices = slots[order]
        return ordered

    def _code(self, groups: Groups) -> None:
        known, every = self._coded, len(self._slots)
        if known < every:
            self._codes, self._coded = grown(self._codes, every), every
            self._codes[known:every] = order_codes(groups[known:every], self._slots.take(np.arange(known, every)))


class _Table:
    """Open addressing: at a key's hash, or the next free place behind it, stands its number + 1."""

    def __init__(self, keys: pa.Array, slots: npt.NDArray[np.int64]) -> None:
        self.keys, self.slots = keys, slots
        self._text: GrowingText | None = None  # the keys with room to grow, once there are more
        self._hashes = hash_column(keys)
        self._make_places()

    @property
    def full(self) -> bool:
        """Whether no more keys may come: a column of text has two GiB."""
        return bool(self.keys.nbytes >= MOST_BYTES)

    def add(self, keys: pa.Array, slots: npt.NDArray[np.int64]) -> None:
        """Take in more text keys, which are not in it."""
        known = len(self.keys)
        if self._text is None:
            self._text = GrowingText(self.keys)
        self._text.append(keys)
        self.keys = self._text.column()
        self.slots = grown(self.slots, len(self.keys))
        self.slots[known : len(self.keys)] = slots
        self._hashes = grown(self._hashes, len(self.keys))
        self._hashes[known : len(self.keys)] = hash_column(keys)
        if len(self.keys) << _SPARE_BITS > len(self._places):
            self._make_places()
        else:
            self._place(np.arange(known, len(self.keys)))

    def _make_places(self) -> None:
        """All places anew; there is room for up to twice as many keys."""
        bits = max(4, len(self.keys).bit_length() + _SPARE_BITS)
        self._mask = np.uint64((1 << bits) - 1)
        self._places = np.zeros(1 << bits, np.int32)
        self._place(np.arange(len(self.keys)), all_free=True)

    def _place(self, pending: Indices, *, all_free: bool = False) -> None:
        place = ((self._hashes[pending] >> _GROUP_BITS) & self._mask).astype(np.int64)
        number = (pending + 1).astype(np.int32)
        while len(number):
            if all_free:
                self._places[place] = number  # where several meet, the last one stays
            else:
                free = np.flatnonzero(self._places[place] == 0)
                self._places[place[free]] = number[free]
            all_free = False
            homeless = np.flatnonzero(self._places[place] != number)
            place, number = (place[homeless] + 1) & int(self._mask), number[homeless]

    def find(self, keys: pa.Array) -> Indices:
        """The slot of each row's key, -1 where it is unknown."""
        if not len(self.keys):
            return np.full(len(keys), -1)
        hashes = hash_column(keys)
        place = (hashes >> _GROUP_BITS) & self._mask
        found = self._places[place].astype(np.int64) - 1
        other = np.flatnonzero((found >= 0) & (self._hashes[found] != hashes))
        while len(other):
            place[other] = (place[other] + np.uint64(1)) & self._mask
            found[other] = self._places[place[other]].astype(np.int64) - 1
            now = found[other]
            other = other[(now >= 0) & (self._hashes[now] != hashes[other])]
        same = np.asarray(pc.equal(keys, self.keys.take(pa.array(found.clip(0)))))
        slots: Indices = np.where(same & (found >= 0), self.slots[found], -1)
        return slots


def _fits(key: Any) -> bool:
    """Whether a column of text can hold the key: not a str with a lone surrogate, which UTF-8 does not have."""
    if type(key) is not str:
        return False
    try:
        return key.isascii() or bool(key.encode())
    except UnicodeEncodeError:
        return False


def _is_int(keys: Column) -> TypeGuard[pa.Array]:
    """Whether the keys are a column of int64 without None."""
    return isinstance(keys, pa.Array) and keys.type == pa.int64() and not keys.null_count


def _is_text(keys: Column, at_least: int = WORTH_IT_ROWS) -> bool:
    """Whether it is a column of text without None, and so long that the table pays."""
    return (
        isinstance(keys, pa.Array) and len(keys) >= at_least and pa.types.is_string(keys.type) and not keys.null_count
    )
