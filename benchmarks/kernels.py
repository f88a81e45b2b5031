"""What one plain process does with a block of input and with the rows that it owns: the kernels of the limit.

Tried, with their costs on one core of the machine that the published figures come from (one block of 1 MiB, ns a word
or, for what is done to rows after counting, ns a row; there is one row for five words):

* cutting into words: ``elastic.functions.split`` 15, ``pc.ascii_split_whitespace`` 24, ``bytes.split`` 68;
* counting in the block: ``dictionary_encode`` + ``bincount`` 25, ``value_counts`` 27, sorted hashes 35, ``Counter`` 50;
* the slot of a row's key: ``KeySlots`` 55, ``pc.index_in`` 136, ``dict.get`` over a list 160.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Batch, Column, Pairs, columnar, concat, rows, sorted_batch
from elastic.functions import apply_column, contains, split
from elastic.keys import groups_of
from elastic.operators.combine import combined
from elastic.operators.slots import KeySlots


class KeyedJob(ABC):
    """A keyed aggregation as one process runs it: its part of the input, and the keys that it owns."""

    @abstractmethod
    def batch(self, block: bytes) -> Batch:
        """The rows of a block of whole lines that go to the owners of their keys, sorted by key group."""

    @abstractmethod
    def aggregate(self, batches: Sequence[Batch]) -> None:
        """Take in rows of own keys; at least one batch."""

    @abstractmethod
    def emitted(self) -> Pairs:
        """The keys that changed since the last call, with their values."""

    @abstractmethod
    def result(self) -> dict[str, int]:
        """All keys and values."""


class WordCount(KeyedJob):
    """Words of a text, each with how often it occurs."""

    def __init__(self) -> None:
        self._split = split()
        self._slots = KeySlots()
        self._counts = np.zeros(0, np.int64)
        self._changed = np.zeros(0, np.bool_)

    def batch(self, block: bytes) -> Batch:
        """Counted in the block. The block is cut as one text, since a newline is white space too."""
        words = apply_column(self._split, _column(block, np.array([0, len(block)], np.int32)))
        assert isinstance(words, pa.ListArray)
        pairs = combined("count", words.flatten(), None, operator="count", tick=0)
        assert pairs is not None
        return sorted_batch(groups_of(pairs.keys), pairs.keys, pairs.values, partial=True)

    def aggregate(self, batches: Sequence[Batch]) -> None:
        slots = self._slots.of(_joined([batch.keys for batch in batches]))
        if len(self._slots) > len(self._counts):
            more = 2 * len(self._slots) - len(self._counts)
            self._counts = np.append(self._counts, np.zeros(more, np.int64))
            self._changed = np.append(self._changed, np.zeros(more, np.bool_))
        np.add.at(self._counts, slots, np.asarray(_joined([batch.values for batch in batches])))
        self._changed[slots] = True

    def emitted(self) -> Pairs:
        slots = np.flatnonzero(self._changed)
        self._changed[slots] = False
        keys = columnar(list(map(self._slots.keys.__getitem__, slots.tolist())))
        return Pairs(keys, pa.array(self._counts[slots]))

    def result(self) -> dict[str, int]:
        return dict(zip(self._slots.keys, self._counts.tolist(), strict=False))


class RunningSum(KeyedJob):
    """Lines ``key,value``, each parsed by a lambda, and added to the sum of its key by another."""

    def __init__(self, parse: Callable[[str], tuple[str, int]], add: Callable[[int, int], int]) -> None:
        self._parse, self._add = parse, add
        self._slots = KeySlots()
        self._sums: list[int | None] = []
        self._changed = np.zeros(0, np.bool_)

    def batch(self, block: bytes) -> Batch:
        records = list(map(self._parse, rows(lines(block))))
        keys, values = columnar(list(map(itemgetter(0), records))), columnar(list(map(itemgetter(1), records)))
        return sorted_batch(groups_of(keys), keys, values)

    def aggregate(self, batches: Sequence[Batch]) -> None:
        slots = self._slots.of(_joined([batch.keys for batch in batches]))
        if more := len(self._slots) - len(self._sums):
            self._sums += [None] * more
            self._changed = np.append(self._changed, np.zeros(more, np.bool_))
        self._changed[slots] = True
        sums, add = self._sums, self._add
        for slot, value in zip(slots.tolist(), rows(_joined([batch.values for batch in batches])), strict=True):
            so_far = sums[slot]
            sums[slot] = value if so_far is None else add(so_far, value)

    def emitted(self) -> Pairs:
        slots = np.flatnonzero(self._changed)
        self._changed[slots] = False
        changed = slots.tolist()
        keys, values = map(self._slots.keys.__getitem__, changed), map(self._sums.__getitem__, changed)
        return Pairs(columnar(list(keys)), columnar(list(values)))

    def result(self) -> dict[str, int]:
        return {key: value for key, value in zip(self._slots.keys, self._sums, strict=True) if value is not None}


def lines(block: bytes) -> pa.Array:
    """The lines of a block that ends with a newline."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    offsets = np.zeros(len(ends) + 1, np.int32)
    np.add(ends, 1, out=offsets[1:], casting="unsafe")
    return pc.ascii_rtrim(_column(block, offsets), "\n")


def lines_with(text: str) -> Callable[[bytes], list[Any]]:
    """A function that gives a block's lines that contain the text."""
    has = contains(text)

    def matching(block: bytes) -> list[Any]:
        column = lines(block)
        found = apply_column(has, column)
        return rows(column.filter(found))

    return matching


def _column(text: bytes, offsets: np.ndarray[Any, np.dtype[np.int32]]) -> pa.StringArray:
    """The pieces of a text between the offsets; its bytes are shared."""
    if not text.isascii():
        text.decode()  # refuses what is not UTF-8, as a source would
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def _joined(columns: Sequence[Column | None]) -> pa.Array:
    return concat([column for column in columns if column is not None])
