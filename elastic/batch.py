"""What flows: the rows of one tick on one edge, as columns where they have a type and as Python objects where not.

A *column* holds one value per row, in one of three forms, and every form has the same rows:

* a ``list`` of Python objects: anything at all;
* a ``pyarrow.Array``: one type; a struct array's rows are dicts;
* ``Pairs``: two columns; its rows are ``(key, value)`` tuples.

Conversion is lazy: a function that works on rows asks for rows, one that works on columns gets the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from sys import getsizeof
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.keys import KeyInterval

Groups: TypeAlias = npt.NDArray[np.uint16]
Indices: TypeAlias = npt.NDArray[np.int64]
Times: TypeAlias = npt.NDArray[np.int64]
"""Event times of rows: microseconds since 1970, UTC."""

Marks: TypeAlias = "tuple[tuple[int, int], ...]"
"""How far event time has come, as (origin, microseconds), by origin: a source partition, named by its lowest key group,
or 0 for an operator. They go to every consumer, whatever its key interval."""

INT64 = range(-(2**63), 2**63)
_VALUES = 16
"""So many values of a row are looked at for its size."""

_TYPES: dict[frozenset[type], pa.DataType] = {
    frozenset({str}): pa.string(),
    frozenset({float}): pa.float64(),
    frozenset({bool}): pa.bool_(),
    frozenset({bytes}): pa.binary(),
}


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that are ``(key, value)`` tuples, kept as two columns of one length."""

    keys: list[Any] | pa.Array
    values: list[Any] | pa.Array

    def __len__(self) -> int:
        return len(self.keys)


Column: TypeAlias = "list[Any] | pa.Array | Pairs"


def rows(column: Column) -> list[Any]:
    """The column's rows as Python objects; a list is returned as it is, not copied."""
    if isinstance(column, list):
        return column
    if isinstance(column, Pairs):
        return list(zip(rows(column.keys), rows(column.values), strict=True))
    return column.to_pylist()  # type: ignore[no-any-return]


def columnar(values: list[Any]) -> Column:
    """The same rows as a typed array where every row has exactly one type that survives the round trip, else unchanged.

    Exactly one type: ``True`` is no integer here, and a subclass of ``str`` is no string, so that what comes out
    equals what went in by type too.
    """
    types = frozenset(map(type, values))
    if types == {int}:
        try:
            return pa.array(values, pa.int64())
        except (OverflowError, pa.ArrowInvalid):
            return values
    if (arrow := _TYPES.get(types)) is None:
        return values
    try:
        return pa.array(values, arrow)
    except (UnicodeEncodeError, pa.ArrowInvalid):  # a lone surrogate is a str, but not UTF-8; more than 2 GiB
        return values


def take(column: Column, indices: Indices) -> Column:
    """The rows at ``indices``, in that order."""
    if isinstance(column, list):
        return [column[i] for i in indices.tolist()]
    if isinstance(column, Pairs):
        return Pairs(take(column.keys, indices), take(column.values, indices))
    return column.take(pa.array(indices))


def cut(column: Column, low: int, high: int) -> Column:
    """Rows ``[low, high)``; an array is a view, not a copy."""
    if isinstance(column, Pairs):
        return Pairs(cut(column.keys, low, high), cut(column.values, low, high))
    return column[low:high]


def concat(columns: Sequence[Column]) -> Column:
    """All rows, one column after the other.

    Arrays of one type, or of it and null, stay one where that can hold as much; others become a list.
    """
    if len(columns) == 1:
        return columns[0]
    if all(isinstance(c, Pairs) for c in columns):
        return Pairs(concat([c.keys for c in columns]), concat([c.values for c in columns]))  # type: ignore[union-attr]
    if all(isinstance(c, pa.Array) for c in columns):
        types = {c.type for c in columns} - {pa.null()}  # type: ignore[union-attr]
        if len(types) <= 1:
            try:
                return pa.concat_arrays([c.cast(*types) if types and c.type == pa.null() else c for c in columns])  # type: ignore[union-attr]
            except pa.ArrowInvalid:  # more than 2 GiB of text
                pass
    return list(chain.from_iterable(map(rows, columns)))


def size_bytes(column: Column | None) -> int:
    """Memory of a column: exact for arrays; of Python objects what two of them take, times half of their number."""
    if column is None:
        return 0
    if isinstance(column, Pairs):
        return size_bytes(column.keys) + size_bytes(column.values)
    return _size_of_objects(column) if isinstance(column, list) else column.nbytes


def _size_of_objects(column: list[Any]) -> int:
    """About what they take, looked into one level deep."""
    if not column:
        return 0
    first, middle = column[0], column[len(column) // 2]
    return (_size_of_object(first) + _size_of_object(middle)) * len(column) // 2


def _size_of_object(row: Any) -> int:
    """What a row takes with its place in a list, and the values in it."""
    size = 8 + getsizeof(row, 64)
    if isinstance(row, tuple | list):
        return size + sum(getsizeof(value, 64) for value in row[:_VALUES])
    if isinstance(row, dict):
        return size + sum(getsizeof(value, 64) for value in islice(row.values(), _VALUES))
    return size


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one tick on one edge, sorted by key group, so that every key interval is a contiguous slice.

    Attributes:
        groups: Key group of each row, ascending; on an edge without keys, the group that the row was emitted from.
        keys: Key of each row; None on an edge without keys.
        values: The rows; None where only the keys matter (a count).
        partial: The values are already aggregated per key by the sender, and merge with ``combine`` instead of ``add``.
        times: Event time of each row; None on an edge without event time.
        marks: Of the tick, with or without rows.
    """

    groups: Groups
    keys: Column | None
    values: Column | None
    partial: bool = False
    times: Times | None = None
    marks: Marks = ()

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def size_bytes(self) -> int:
        """Memory held by the batch, as credit and buffer limits count it."""
        times = 0 if self.times is None else self.times.nbytes
        return self.groups.nbytes + size_bytes(self.keys) + size_bytes(self.values) + times

    def slice(self, interval: KeyInterval) -> Batch | None:
        """The rows whose group lies in ``interval``, as a view, and all marks; None when there are neither."""
        low, high = np.searchsorted(self.groups, (interval.low, interval.high))
        if low == high:
            return Batch(NO_GROUPS, None, None, marks=self.marks) if self.marks else None
        if low == 0 and high == len(self.groups):
            return self
        keys, values, times = self.keys, self.values, self.times
        return Batch(
            self.groups[low:high],
            None if keys is None else cut(keys, low, high),
            None if values is None else cut(values, low, high),
            self.partial,
            None if times is None else times[low:high],
            self.marks,
        )

    def ordered(self, order: Indices) -> Batch:
        """The same rows in another order."""
        keys, values, times = self.keys, self.values, self.times
        return Batch(
            self.groups[order],
            None if keys is None else take(keys, order),
            None if values is None else take(values, order),
            self.partial,
            None if times is None else times[order],
            self.marks,
        )


NO_GROUPS: Groups = np.empty(0, np.uint16)


def sorted_batch(
    groups: Groups, keys: Column | None, values: Column | None, *, partial: bool = False, times: Times | None = None
) -> Batch:
    """A batch of rows given in any order; rows of one group keep theirs (a stable sort)."""
    batch = Batch(groups, keys, values, partial, times)
    if len(groups) < 2 or bool(np.all(groups[1:] >= groups[:-1])):
        return batch
    return batch.ordered(np.argsort(groups, kind="stable"))


def merge(batches: Sequence[Batch]) -> Batch:
    """One batch in canonical order: by group, then in the order in which the batches are given, then by position.

    The batches must agree on having keys, values and times and on ``partial``. Marks are not merged.
    """
    if len(batches) == 1:
        return batches[0]
    whole = _end_to_end(batches)
    return sorted_batch(whole.groups, whole.keys, whole.values, partial=whole.partial, times=whole.times)


def carried(batches: Sequence[Batch | None], marks: Marks = (), held: Marks = ()) -> Batch | None:
    """What an edge carries of one tick: the rows of the batches, merged, and all marks; None for neither.

    Marks of the same origin become the furthest of them, but not further than ``held`` says.
    """
    given = [b for b in batches if b is not None]
    full = [b for b in given if len(b)]
    furthest: dict[int, int] = {}
    for origin, time_us in chain(marks, *(b.marks for b in given)):
        furthest[origin] = max(time_us, furthest.get(origin, time_us))
    whole = merge(full) if full else None
    if not furthest:
        return whole
    furthest |= {origin: min(time_us, furthest[origin]) for origin, time_us in held if origin in furthest}
    every = tuple(sorted(furthest.items()))
    return Batch(NO_GROUPS, None, None, marks=every) if whole is None else replace(whole, marks=every)


def joined(batches: Sequence[Batch]) -> list[Batch]:
    """The same rows in the same order in as few batches as possible, which are not sorted by group any more."""
    runs: list[list[Batch]] = []
    for batch in batches:
        if runs and _alike(runs[-1][0], batch):
            runs[-1].append(batch)
        else:
            runs.append([batch])
    return [run[0] if len(run) == 1 else _end_to_end(run) for run in runs]


def _alike(a: Batch, b: Batch) -> bool:
    """Whether the two can be put end to end without turning a column into a list."""
    alike = a.partial == b.partial and (a.times is None) == (b.times is None)
    return alike and _form(a.keys) == _form(b.keys) and _form(a.values) == _form(b.values)


def _form(column: Column | None) -> object:
    return column.type if isinstance(column, pa.Array) else type(column)


def _end_to_end(batches: Sequence[Batch]) -> Batch:
    first = batches[0]
    times = [b.times for b in batches if b.times is not None]
    return Batch(
        np.concatenate([b.groups for b in batches]),
        None if first.keys is None else concat([b.keys for b in batches if b.keys is not None]),
        None if first.values is None else concat([b.values for b in batches if b.values is not None]),
        first.partial,
        np.concatenate(times) if len(times) == len(batches) else None,
    )


def mask(column: Column, keep: pa.Array | npt.NDArray[np.bool_]) -> Column:
    """The rows for which ``keep`` is true; None in ``keep`` counts as false."""
    flags = np.asarray(pc.fill_null(keep, False)) if isinstance(keep, pa.Array) else keep
    return take(column, np.flatnonzero(flags))
