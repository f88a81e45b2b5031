"""Partial aggregation before the shuffle, where it is exact: what a sender makes of the rows of a tick, key by key.

It is what makes an aggregate cheap on skewed keys: a key that has half of all rows has one row per sender and tick.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column, Indices, Pairs, Times, columnar, take
from elastic.keys import key_group
from elastic.operators.folding import folded
from elastic.operators.integers import comparable
from elastic.plan import ByPane, Combine, Folding
from elastic.state.processing import dict_keys

WORTH_IT = 0.75
"""Share of different keys among the rows above which it costs more than it saves; counts gain their columns anyway."""


COMPARED_PANES = 6
"""Among so few panes a row's is found sooner by comparing than by dividing, which takes NumPy 6 ns."""

_CODED = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_integer, pa.types.is_boolean, pa.types.is_float64,
)  # fmt: skip


class Combined(NamedTuple):
    """Different keys, in the order of their first rows, and what was made of the values of each.

    Attributes:
        partial: The values are begun aggregates, not values of rows.
    """

    keys: Column
    values: Column | None
    partial: bool = True


def combined(
    kind: Combine, keys: Column, values: Column | None, *, operator: str, tick: int, worth_it: float = WORTH_IT
) -> Combined | None:
    """The different keys with the partial aggregate of each; None where rows must travel whole, or had better.

    Sums and means are combined of integers only, which do not depend on how they were grouped, as those of floats do;
    minima and maxima of integers or of floats without NaN and -0.0, of which equal ones cannot be told apart. An
    aggregate of the user's is combined if it has a ``merge``, unless its accumulators hold floats.

    Args:
        kind: Of aggregate.
        keys: Of the rows.
        values: Of the rows; None where only keys matter.
        operator: Named by errors, as is ``tick``.
        tick: The rows'.
        worth_it: Numbers are combined only if no greater share of the keys are different.

    Raises:
        KeyTypeError: A key is not even hashable.
        UserCodeError: A function of the user's aggregate raised; the error names ``operator`` and ``tick``.
    """
    if kind == "count":
        return _counted(keys)
    if kind in ("first", "last", "keys", "pairs"):
        return _chosen(keys, values, last=kind == "last")
    if isinstance(kind, Folding):
        return _folded(kind, keys, values, operator, tick)
    numbers = comparable(values) if isinstance(values, pa.Array) and _has_codes(keys) else None
    if numbers is None or not len(numbers):
        return None
    aggregate = _extremes if kind in ("min", "max") else _summed
    return aggregate(kind, keys, numbers, worth_it)


def _summed(kind: Combine, keys: Column, numbers: npt.NDArray[Any], worth_it: float) -> Combined | None:
    if numbers.dtype != np.int64 or len(numbers) * max(abs(int(numbers.min())), abs(int(numbers.max()))) >= 2**63:
        return None
    if (coded := _coded(keys, worth_it)) is None:
        return None
    different, codes = coded
    sums = np.zeros(len(different), np.int64)
    np.add.at(sums, codes, numbers)
    if kind == "sum":
        return Combined(different, pa.array(sums))
    counts = np.bincount(codes, minlength=len(different))
    return Combined(different, Pairs(pa.array(sums), pa.array(counts, pa.int64())))


def _extremes(kind: Combine, keys: Column, numbers: npt.NDArray[Any], worth_it: float) -> Combined | None:
    if (coded := _coded(keys, worth_it)) is None:
        return None
    different, codes = coded
    best = np.empty(len(different), numbers.dtype)
    best[codes] = numbers  # any of a key's own values will do to start from
    (np.minimum if kind == "min" else np.maximum).at(best, codes, numbers)
    return Combined(different, pa.array(best))


def _folded(folding: Folding, keys: Column, values: Column | None, operator: str, tick: int) -> Combined | None:
    if folding.merge is None or values is None or (numbered := _numbered(keys)) is None:
        return None
    codes, at = numbered
    accumulators = folded(folding, codes, values, operator=operator, tick=tick, keys=keys)
    return None if accumulators is None else Combined(take(keys, at), columnar(accumulators))


def _chosen(keys: Column, values: Column | None, *, last: bool) -> Combined | None:
    """One row of each key: its first, or its last."""
    if (numbered := _numbered(keys)) is None:
        return None
    codes, at = numbered
    rows_at = at
    if last:
        rows_at = np.empty(len(at), np.int64)
        rows_at[codes] = np.arange(len(codes))  # where several meet, the last one stays
    return Combined(take(keys, at), None if values is None else take(values, rows_at), partial=False)


def _numbered(keys: Column) -> tuple[Indices, Indices] | None:
    """The number of each row's key, in the order in which they come, and where each key stands first.

    None if there are too many of them, or one is not even hashable and will be refused as a key.
    """
    if isinstance(keys, Pairs) and _has_codes(keys.keys) and _has_codes(keys.values):
        high, low = (half.dictionary_encode(null_encoding="encode") for half in (keys.keys, keys.values))  # type: ignore[union-attr]
        codes = np.asarray(high.indices).astype(np.int64) * len(low.dictionary) + np.asarray(low.indices)
    elif _has_codes(keys):
        codes = np.asarray(keys.dictionary_encode(null_encoding="encode").indices)  # type: ignore[union-attr]
    else:
        numbers: dict[Any, int] = {}
        try:
            codes = np.fromiter((numbers.setdefault(key, len(numbers)) for key in dict_keys(keys)), np.int64, len(keys))
        except TypeError:
            return None
    codes, at = _first_positions(codes)
    return None if len(at) > len(keys) * WORTH_IT else (codes, at)


def _first_positions(codes: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Indices]:
    """The same codes as 0, 1, 2 … in the order in which they come, and where each of these stands first."""
    if int(codes.max(initial=0)) >= 4 * len(codes) + 64:
        codes = np.unique(codes, return_inverse=True)[1]
    at = np.full(int(codes.max(initial=-1)) + 1, -1, np.int64)
    at[codes[::-1]] = np.arange(len(codes))[::-1]  # where several meet, the last one stays
    found = np.sort(at[at >= 0])
    number = np.empty(len(at), np.int64)
    number[codes[found]] = np.arange(len(found))
    return number[codes], found


def _coded(keys: Column, worth_it: float) -> tuple[pa.Array, npt.NDArray[Any]] | None:
    """The different keys and the number of each row's key among them; None if there are too many of them."""
    encoded = keys.dictionary_encode(null_encoding="encode")  # type: ignore[union-attr]
    if len(encoded.dictionary) > len(keys) * worth_it:
        return None
    return encoded.dictionary, np.asarray(encoded.indices)


def _counted(keys: Column) -> Combined:
    if _has_codes(keys):
        encoded = keys.dictionary_encode(null_encoding="encode")  # type: ignore[union-attr]
        counts = np.bincount(np.asarray(encoded.indices), minlength=len(encoded.dictionary))
        return Combined(encoded.dictionary, pa.array(counts, pa.int64()))
    each = dict_keys(keys)
    counter: Counter[Any] = Counter()
    with contextlib.suppress(TypeError):
        counter.update(each)
    if counter.total() < len(each):
        list(map(key_group, each))  # what is not hashable is no key either, and is refused here
    return Combined(columnar(list(counter)), pa.array(list(counter.values()), pa.int64()))


@dataclass(frozen=True, slots=True)
class PaneCounts:
    """Rows counted by key and pane; a pane is named by its start, microseconds."""

    keys: Column
    starts: Times
    counts: pa.Array


def counted_by_pane(keys: Column, times: Times, panes: ByPane) -> PaneCounts:
    """Every different key and pane with the number of its rows.

    Raises:
        KeyTypeError: A key is not even hashable.
    """
    first = (int(times.min()) - panes.offset_us) // panes.pane_us
    span = (int(times.max()) - panes.offset_us) // panes.pane_us - first + 1
    if _has_codes(keys):
        encoded = keys.dictionary_encode(null_encoding="encode")  # type: ignore[union-attr]
        different, codes = encoded.dictionary, np.asarray(encoded.indices)
    else:
        each = dict_keys(keys)
        try:
            slots = {key: slot for slot, key in enumerate(dict.fromkeys(each))}
        except TypeError:
            list(map(key_group, each))  # what is not hashable is no key either, and is refused here
            raise
        different, codes = columnar(list(slots)), np.fromiter(map(slots.__getitem__, each), np.int64, len(each))
    first_us = first * panes.pane_us + panes.offset_us
    if span == 1:
        counts = np.bincount(codes, minlength=len(different))
        return PaneCounts(different, np.full(len(different), first_us), pa.array(counts, pa.int64()))
    codes, numbers = codes.astype(np.int64, copy=False), _pane_numbers(times, first_us, panes.pane_us, span)
    if len(different) * span <= 4 * len(codes):
        every = np.bincount(codes * span + numbers)
        found = np.flatnonzero(every)
        counts = every[found]
    else:
        order = np.lexsort((numbers, codes))
        begins = np.ones(len(order), bool)
        begins[1:] = (np.diff(codes[order]) != 0) | (np.diff(numbers[order]) != 0)
        at = np.flatnonzero(begins)
        counts = np.diff(np.append(at, len(order)))
        codes, numbers = codes[order[at]], numbers[order[at]]
        starts = (numbers + first) * panes.pane_us + panes.offset_us
        return PaneCounts(take(different, codes), starts, pa.array(counts, pa.int64()))
    starts = (found % span + first) * panes.pane_us + panes.offset_us
    return PaneCounts(take(different, found // span), starts, pa.array(counts, pa.int64()))


def _pane_numbers(times: Times, first_us: int, pane_us: int, span: int) -> npt.NDArray[np.int64]:
    """Which pane each row is in, counted from the one that begins at ``first_us``."""
    if span > COMPARED_PANES:
        return (times - first_us) // pane_us
    numbers = np.zeros(len(times), np.int64)
    for number in range(1, span):
        numbers += times >= first_us + number * pane_us
    return numbers


def _has_codes(keys: Column) -> bool:
    """Whether Arrow can number the different keys."""
    if not isinstance(keys, pa.Array):
        return False
    return any(has_type(keys.type) for has_type in _CODED)
