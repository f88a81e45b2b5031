"""A held state into which deltas are folded piece by piece, so that no fold holds up what else its worker does.

Folding one large table at once takes longer than many ticks last. A piece is a range of key groups with some ten
thousand entries: it fits into a core's cache, which makes a fold four times as fast as well.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from elastic.batch import Column, Groups, cut, take
from elastic.keys import KeyInterval
from elastic.state.processing import StateTable, cut_table, fold, join_tables

PIECE_ENTRIES = 1 << 15
"""A piece of so many entries is folded in 3 ms."""

MAX_DELTAS = 256
"""However small they are: each costs something in every fold."""

_EVERYTHING = KeyInterval(0, 1 << 16)


class _Piece(NamedTuple):
    """A range of key groups and its entries; while it is not ``cut``, the table has those of its neighbours too."""

    interval: KeyInterval
    table: StateTable
    is_cut: bool


class FoldingTable:
    """A full table and the deltas on it, oldest first. What is handed in and out is never changed."""

    def __init__(self, table: StateTable) -> None:
        self._pieces = [_Piece(_EVERYTHING, table, is_cut=True)]
        self._base_bytes = table.size_bytes
        self._deltas: list[StateTable] = []  # by key group, as those of the round are
        self._round: list[StateTable] = []  # what is being folded, into one piece after the other
        self._folded = 0  # pieces that have it

    @property
    def size_bytes(self) -> int:
        """Memory of all of it."""
        return self._base_bytes + sum(d.size_bytes for d in (*self._round, *self._deltas))

    @property
    def is_heavy(self) -> bool:
        """Whether there is a fold under way, or worth beginning: the deltas outweigh the rest, or are very many."""
        if self._round or len(self._deltas) > MAX_DELTAS:
            return True
        return len(self._deltas) > 1 and sum(d.size_bytes for d in self._deltas) >= self._base_bytes

    def add(self, delta: StateTable) -> None:
        """Keep what was written since the last delta."""
        self._deltas.append(_by_group(delta))

    def fold_some(self) -> bool:
        """Fold the deltas into one piece, if they are heavy; returns whether they were.

        So a delta's share of all folding is constant.
        """
        if not self.is_heavy:
            return False
        if not self._round:
            self._begin()
        self._fold_piece()
        return True

    def whole(self) -> StateTable:
        """The table after all the deltas."""
        while self._round or self._deltas:
            if not self._round:
                self._begin()
            self._fold_piece()
        table = join_tables([p.table if p.is_cut else cut_table(p.table, p.interval) for p in self._pieces])
        self._pieces = [_Piece(_EVERYTHING, table, is_cut=True)]
        return table

    def _begin(self) -> None:
        self._round, self._deltas, self._folded = self._deltas, [], 0
        self._pieces = [part for piece in self._pieces for part in _cut_up(piece)]

    def _fold_piece(self) -> None:
        piece = self._pieces[self._folded]
        table = piece.table if piece.is_cut else cut_table(piece.table, piece.interval)
        parts = [part for delta in self._round if (part := _within(delta, piece.interval)) is not None]
        self._pieces[self._folded] = _Piece(piece.interval, fold(table, parts), is_cut=True)
        self._folded += 1
        if self._folded == len(self._pieces):
            self._round = []
            self._base_bytes = sum(p.table.size_bytes for p in self._pieces)


def _cut_up(piece: _Piece) -> list[_Piece]:
    """The piece, or if it has grown large, parts of it of about equal size; their tables are cut when it is their turn.

    A single key group is not cut: its keys would have to be looked at.
    """
    count = len(piece.table) // PIECE_ENTRIES
    if count < 2:
        return [piece]
    before = np.cumsum(np.bincount(piece.table.groups, minlength=piece.interval.high))
    wanted = np.arange(1, count) * len(piece.table) // count
    low, high = piece.interval
    bounds = np.unique([low, *np.clip(np.searchsorted(before, wanted) + 1, low, high).tolist(), high]).tolist()
    return [_Piece(KeyInterval(a, b), piece.table, is_cut=False) for a, b in pairwise(bounds)]


def _by_group(table: StateTable) -> StateTable:
    """The same entries and deletions, by key group."""
    order = np.argsort(table.groups, kind="stable")
    fields = {name: take(column, order) for name, column in table.fields.items()}
    groups, keys = table.groups[order], take(table.keys, order)
    if table.deleted_groups is None or table.deleted_keys is None:
        return StateTable(groups, keys, fields)
    gone = np.argsort(table.deleted_groups, kind="stable")
    return StateTable(groups, keys, fields, table.deleted_groups[gone], take(table.deleted_keys, gone))


def _within(table: StateTable, interval: KeyInterval) -> StateTable | None:
    """The part of a table by key group that lies in the interval, as a view; None if there is none."""
    low, high = np.searchsorted(table.groups, interval)
    fields = {name: cut(column, low, high) for name, column in table.fields.items()}
    gone, gone_keys = _deleted_within(table, interval)
    if low == high and gone is None:
        return None
    return StateTable(table.groups[low:high], cut(table.keys, low, high), fields, gone, gone_keys)


def _deleted_within(table: StateTable, interval: KeyInterval) -> tuple[Groups | None, Column | None]:
    if table.deleted_groups is None or table.deleted_keys is None:
        return None, None
    low, high = np.searchsorted(table.deleted_groups, interval)
    return (None, None) if low == high else (table.deleted_groups[low:high], cut(table.deleted_keys, low, high))
