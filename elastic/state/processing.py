"""Processing state: an operator's keyed state, in the form in which it is checkpointed, folded and cut.

A checkpoint ships a *delta* (what was written since the last one); whoever holds the base folds it in. All of it works
on columns: keys of one type are matched by Arrow, others through a dict, and both agree with Python's equality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Column, Groups, Indices, Pairs, concat, cut, rows, take
from elastic.batch import size_bytes as column_bytes
from elastic.keys import KeyInterval, unique_nan

_SELF_EQUAL: frozenset[type] = frozenset({type(None), bool, int, str, bytes})
_TOMBSTONE = -1


@dataclass(frozen=True, slots=True)
class StateTable:
    """Keyed state, or the part of it that was written since another checkpoint, as columns.

    Attributes:
        groups: Key group of each entry, in any order.
        keys: Key of each entry; no key twice.
        fields: The operator's own columns, one value per entry each; the same names in every table of an operator.
        deleted_groups: Key groups of the deleted keys; only a delta has any.
        deleted_keys: Keys deleted since the checkpoint that the delta builds on; one in ``keys`` too came after that.
    """

    groups: Groups
    keys: Column
    fields: Mapping[str, Column] = field(default_factory=dict)
    deleted_groups: Groups | None = None
    deleted_keys: Column | None = None

    def __len__(self) -> int:
        """Number of entries, deletions not counted."""
        return len(self.groups)

    @property
    def size_bytes(self) -> int:
        """Memory of all columns, as ``elastic.batch.size_bytes`` counts it."""
        groups = self.groups.nbytes + (0 if self.deleted_groups is None else self.deleted_groups.nbytes)
        return groups + sum(map(column_bytes, (self.keys, self.deleted_keys, *self.fields.values())))


def dict_keys(column: Column) -> list[Any]:
    """The rows as keys of a dict that takes them for one exactly where the system does: every NaN is one object."""
    if isinstance(column, Pairs):
        return list(zip(dict_keys(column.keys), dict_keys(column.values), strict=True))
    keys = rows(column)
    if isinstance(column, list):
        return keys if _SELF_EQUAL.issuperset(map(type, keys)) else list(map(unique_nan, keys))
    return list(map(unique_nan, keys)) if pa.types.is_floating(column.type) else keys


def fold(base: StateTable, deltas: Sequence[StateTable]) -> StateTable:
    """The table after the deltas, oldest first: of equal keys the last entry holds, and deleted keys are gone.

    Entries come in any order. The arguments are not changed; with no deltas the result is the base itself.

    Cost: the deltas' keys are hashed, and each key of the base is looked up among them once.
    """
    if not deltas:
        return base
    delta = merge_deltas(deltas)
    written = [column for column in (delta.keys, delta.deleted_keys) if column is not None and len(column)]
    if not written:
        return base
    kept = _taken(base, np.flatnonzero(~_among(base.keys, concat(written))))
    if not len(delta):
        return kept
    new = StateTable(delta.groups, delta.keys, delta.fields)
    return join_tables([kept, new]) if len(kept) else new


def merge_deltas(deltas: Sequence[StateTable]) -> StateTable:
    """One delta that says what the given ones, oldest first and at least one, say together: deletions are kept."""
    if len(deltas) == 1:
        return deltas[0]
    entries = join_tables([StateTable(d.groups, d.keys, d.fields) for d in deltas])
    if not any(d.deleted_keys is not None and len(d.deleted_keys) for d in deltas):
        return _taken(entries, _last_positions(entries.keys))
    keys, groups, numbers, count = [], [], [], 0
    for d in deltas:
        if d.deleted_keys is not None and d.deleted_groups is not None:
            keys.append(d.deleted_keys)
            groups.append(d.deleted_groups)
            numbers.append(np.full(len(d.deleted_groups), _TOMBSTONE))
        keys.append(d.keys)
        groups.append(d.groups)
        numbers.append(np.arange(count, count + len(d)))
        count += len(d)
    all_keys = concat(keys)
    last = _last_positions(all_keys)
    entry = np.concatenate(numbers)[last]
    gone = last[entry == _TOMBSTONE]
    table = _taken(entries, entry[entry != _TOMBSTONE])
    if not len(gone):
        return table
    return StateTable(table.groups, table.keys, table.fields, np.concatenate(groups)[gone], take(all_keys, gone))


def join_tables(tables: Sequence[StateTable]) -> StateTable:
    """All entries of tables that share no key, such as the parts of one that was cut; at least one table."""
    if len(tables) == 1:
        return tables[0]
    deleted = [t for t in tables if t.deleted_keys is not None]
    return StateTable(
        np.concatenate([t.groups for t in tables]),
        concat([t.keys for t in tables]),
        {name: concat([t.fields[name] for t in tables]) for name in tables[0].fields},
        np.concatenate([t.deleted_groups for t in deleted if t.deleted_groups is not None]) if deleted else None,
        concat([t.deleted_keys for t in deleted if t.deleted_keys is not None]) if deleted else None,
    )


def cut_table(table: StateTable, interval: KeyInterval) -> StateTable:
    """The entries, and deletions, whose key group lies in the interval; values are shared, not copied.

    Source: SEEP §3.2, partition-processing-state. We differ: key groups are cut, not keys, so that no key is looked at.
    """
    part = _taken(table, _inside(table.groups, interval))
    if table.deleted_groups is None or table.deleted_keys is None:
        return part
    gone = _inside(table.deleted_groups, interval)
    return StateTable(part.groups, part.keys, part.fields, table.deleted_groups[gone], take(table.deleted_keys, gone))


def _inside(groups: Groups, interval: KeyInterval) -> Indices:
    return np.flatnonzero((groups >= interval.low) & (groups < interval.high))


def _taken(table: StateTable, indices: Indices) -> StateTable:
    """The entries at ascending, different indices, without deletions."""
    if len(indices) == len(table):
        return StateTable(table.groups, table.keys, table.fields)
    fields = {name: take(column, indices) for name, column in table.fields.items()}
    return StateTable(table.groups[indices], take(table.keys, indices), fields)


def _among(keys: Column, others: Column) -> npt.NDArray[np.bool_]:
    """Whether each key is one of the others."""
    if isinstance(keys, Pairs) and isinstance(others, Pairs):
        both, count = _flat(concat([keys, others])), len(keys)
        keys, others = cut(both, 0, count), cut(both, count, len(both))
    if isinstance(keys, pa.Array) and isinstance(others, pa.Array) and keys.type == others.type:
        return np.asarray(pc.is_in(_with_one_zero(keys), value_set=_with_one_zero(others)))
    return np.fromiter(map(set(dict_keys(others)).__contains__, dict_keys(keys)), bool, len(keys))


def _last_positions(keys: Column) -> Indices:
    """Where each different key stands for the last time, ascending."""
    keys = _flat(keys)
    if not isinstance(keys, pa.Array):
        return np.sort(np.fromiter(dict(zip(dict_keys(keys), range(len(keys)), strict=True)).values(), np.int64))
    codes = _codes(keys)
    last = np.zeros(int(codes.max(initial=-1)) + 1, np.int64)
    np.maximum.at(last, codes, np.arange(len(keys)))
    is_last = np.zeros(len(keys), bool)
    is_last[last] = True
    return np.flatnonzero(is_last)


def _flat(keys: Column) -> Column:
    """The keys themselves, or numbers in place of pairs of arrays: equal ones for equal pairs."""
    if isinstance(keys, Pairs) and isinstance(keys.keys, pa.Array) and isinstance(keys.values, pa.Array):
        return pa.array(_codes(keys.keys) * (len(keys) + 1) + _codes(keys.values))
    return keys


def _codes(keys: pa.Array) -> Indices:
    """Numbers 0, 1, 2 … that are the same for equal keys and differ for others."""
    encoded = _with_one_zero(keys).dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices).astype(np.int64)


def _with_one_zero(keys: pa.Array) -> pa.Array:
    """Floats with 0.0 in place of -0.0: one key in Python, two to Arrow."""
    return pc.add(keys, 0.0) if pa.types.is_floating(keys.type) else keys
