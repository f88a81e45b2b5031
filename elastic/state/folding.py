"""A held state into which deltas are folded piece by piece, so that no fold holds up what else its worker does.

Folding one large table at once takes longer than many ticks last. A piece is a range of key groups with some ten
thousand entries: it fits into a core's cache, which makes a fold four times as fast as well.

Nor is a state folded in order to hand it out: it travels, and is written, as the layers that it has, and whoever
restores it folds them. So a holder's work for a restore hardly grows with the state, and parts are folded at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from elastic.batch import Column, Groups, cut, take
from elastic.keys import KeyInterval
from elastic.state.processing import StateTable, cut_table, fold, join_tables

PIECE_ENTRIES = 1 << 15
"""A piece of so many entries is folded in 2 ms."""

MAX_DELTAS = 256
"""However small they are: each costs something in every fold."""

_EVERYTHING = KeyInterval(0, 1 << 16)


@dataclass(frozen=True, slots=True)
class Layers:
    """A full table that deltas have not been folded into yet.

    Attributes:
        pieces: Full tables of disjoint ranges of key groups, ascending.
        deltas: What was written since, oldest first. The pieces may have some of it already.
    """

    pieces: tuple[StateTable, ...]
    deltas: tuple[StateTable, ...] = ()

    def __len__(self) -> int:
        """Number of entries in the pieces; how many of the deltas' are new is not known before they are folded."""
        return sum(map(len, self.pieces))

    @property
    def size_bytes(self) -> int:
        """Memory of all of it."""
        return sum(table.size_bytes for table in (*self.pieces, *self.deltas))


def folded(state: StateTable | Layers) -> StateTable:
    """The one table that a state is.

    Cost: one pass over it, 50 ns an entry where there are deltas.
    """
    return state if isinstance(state, StateTable) else FoldingTable(state).whole()


def cut_state(state: StateTable | Layers, interval: KeyInterval) -> StateTable | Layers:
    """The part of a state whose key groups lie in the interval; values are shared, not copied."""
    if isinstance(state, StateTable):
        return cut_table(state, interval)
    pieces = [piece for table in state.pieces if len(piece := _cut_piece(table, interval))]
    return Layers(tuple(pieces or [cut_table(state.pieces[0], interval)]), _cut_deltas(state, interval))


def _cut_piece(table: StateTable, interval: KeyInterval) -> StateTable:
    inside = not len(table) or (table.groups.min() >= interval.low and table.groups.max() < interval.high)
    return table if inside else cut_table(table, interval)


def _cut_deltas(state: Layers, interval: KeyInterval) -> tuple[StateTable, ...]:
    return tuple(part for delta in state.deltas if (part := _within(_by_group(delta), interval)) is not None)


def join_states(states: Sequence[StateTable | Layers]) -> StateTable | Layers:
    """One state of those of neighbours, ascending by their intervals; at least one."""
    if all(isinstance(state, StateTable) for state in states):
        return join_tables([state for state in states if isinstance(state, StateTable)])
    layers = [Layers((state,)) if isinstance(state, StateTable) else state for state in states]
    return Layers(tuple(p for each in layers for p in each.pieces), tuple(d for each in layers for d in each.deltas))


class _Piece(NamedTuple):
    """A range of key groups and its entries; while it is not ``cut``, the table has those of its neighbours too."""

    interval: KeyInterval
    table: StateTable
    is_cut: bool


class FoldingTable:
    """A full table and the deltas on it, oldest first. What is handed in and out is never changed."""

    def __init__(self, state: StateTable | Layers) -> None:
        layers = state if isinstance(state, Layers) else Layers((state,))
        self._pieces = _spread(layers.pieces)
        self._base_bytes = sum(table.size_bytes for table in layers.pieces)
        self._deltas: list[StateTable] = []  # by key group, as those of the round are
        self._delta_bytes = 0
        self._round: list[StateTable] = []  # what is being folded, into one piece after the other
        self._round_bytes = 0
        self._folded = 0  # pieces that have it
        for delta in layers.deltas:
            self.add(delta)

    @property
    def size_bytes(self) -> int:
        """Memory of all of it."""
        return self._base_bytes + self._round_bytes + self._delta_bytes

    @property
    def is_folding(self) -> bool:
        """Whether there is a fold under way."""
        return bool(self._round)

    @property
    def is_heavy(self) -> bool:
        """Whether there is a fold under way, or worth beginning: the deltas outweigh the rest, or are very many."""
        if self._round or len(self._deltas) > MAX_DELTAS:
            return True
        return len(self._deltas) > 1 and self._delta_bytes >= self._base_bytes

    @property
    def is_pressing(self) -> bool:
        """Whether folding cannot wait until there is time for it: the deltas outweigh the rest twice."""
        return len(self._deltas) > 2 * MAX_DELTAS or (
            len(self._deltas) > 1 and self._round_bytes + self._delta_bytes >= 2 * self._base_bytes
        )

    def add(self, delta: StateTable) -> None:
        """Keep what was written since the last delta."""
        self._deltas.append(_by_group(delta))
        self._delta_bytes += delta.size_bytes

    def layers(self) -> Layers:
        """The table as it is now, as much folded as it is."""
        tables = []
        for _, run in groupby(self._pieces, key=lambda p: id(None if p.is_cut else p.table)):
            pieces = list(run)
            if pieces[0].is_cut:
                tables += [piece.table for piece in pieces]
            else:  # those of one large table that have not had their turn
                interval = KeyInterval(pieces[0].interval.low, pieces[-1].interval.high)
                tables.append(_cut_piece(pieces[0].table, interval))
        return Layers(tuple(tables), (*self._round, *self._deltas))

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
        table = join_tables([p.table for p in self._pieces])
        self._pieces = [_Piece(_EVERYTHING, table, is_cut=True)]
        return table

    def _begin(self) -> None:
        self._round, self._deltas, self._folded = self._deltas, [], 0
        self._round_bytes, self._delta_bytes = self._delta_bytes, 0
        self._pieces = [part for piece in self._pieces for part in _cut_up(piece)]

    def _fold_piece(self) -> None:
        piece = self._pieces[self._folded]
        table = piece.table if piece.is_cut else cut_table(piece.table, piece.interval)
        parts = [part for delta in self._round if (part := _within(delta, piece.interval)) is not None]
        self._pieces[self._folded] = _Piece(piece.interval, fold(table, parts), is_cut=True)
        self._folded += 1
        if self._folded == len(self._pieces):
            self._round, self._round_bytes = [], 0
            self._base_bytes = sum(p.table.size_bytes for p in self._pieces)


def _spread(tables: Sequence[StateTable]) -> list[_Piece]:
    """Full tables of ranges of key groups, ascending, as pieces that cover all groups."""
    tables = [table for table in tables if len(table)] or list(tables[:1])
    lows = [_EVERYTHING.low, *(int(table.groups.min()) for table in tables[1:])]
    bounds = pairwise([*lows, _EVERYTHING.high])
    return [_Piece(KeyInterval(a, b), table, is_cut=True) for (a, b), table in zip(bounds, tables, strict=True)]


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
    if _ascends(table.groups) and (table.deleted_groups is None or _ascends(table.deleted_groups)):
        return table
    order = np.argsort(table.groups, kind="stable")
    fields = {name: take(column, order) for name, column in table.fields.items()}
    groups, keys = table.groups[order], take(table.keys, order)
    if table.deleted_groups is None or table.deleted_keys is None:
        return StateTable(groups, keys, fields)
    gone = np.argsort(table.deleted_groups, kind="stable")
    return StateTable(groups, keys, fields, table.deleted_groups[gone], take(table.deleted_keys, gone))


def _ascends(groups: Groups) -> bool:
    return bool(np.all(groups[1:] >= groups[:-1]))


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
