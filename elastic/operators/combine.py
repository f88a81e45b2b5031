"""Partial aggregation before the shuffle, where it is exact: counts, and sums, minima and maxima of integers."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from elastic.batch import Column, Pairs, columnar
from elastic.keys import key_group
from elastic.state.processing import dict_keys

_WORTH_IT = 0.75
"""Share of different keys among the rows above which it costs more than it saves; counts gain their columns anyway."""


_CODED = (
    pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary,
    pa.types.is_integer, pa.types.is_boolean, pa.types.is_float64,
)  # fmt: skip


def combined(kind: Literal["count", "sum", "min", "max"], keys: Column, values: Column | None) -> Pairs | None:
    """The different keys, in order of their first row, with the aggregate of each; None where rows must travel whole.

    Of sums, minima and maxima only those of integers are combined: they do not depend on which rows were combined, as
    those of floats do, and those of equal values of different types.

    Raises:
        KeyTypeError: A key is not even hashable.
    """
    if kind == "count":
        return _counted(keys)
    if not (_has_codes(keys) and isinstance(values, pa.Array) and pa.types.is_signed_integer(values.type)):
        return None
    if values.null_count or not len(values):
        return None
    numbers = np.asarray(values).astype(np.int64, copy=False)
    if kind == "sum" and len(numbers) * max(abs(int(numbers.min())), abs(int(numbers.max()))) >= 2**63:
        return None
    encoded = keys.dictionary_encode(null_encoding="encode")  # type: ignore[union-attr]
    count = len(encoded.dictionary)
    if count > len(numbers) * _WORTH_IT:
        return None
    codes = np.asarray(encoded.indices)
    result = np.zeros(count, np.int64)
    if kind == "sum":
        np.add.at(result, codes, numbers)
    else:
        result[codes] = numbers  # any of a key's own values will do to start from
        (np.minimum if kind == "min" else np.maximum).at(result, codes, numbers)
    return Pairs(encoded.dictionary, pa.array(result))


def _counted(keys: Column) -> Pairs:
    if _has_codes(keys):
        encoded = keys.dictionary_encode(null_encoding="encode")  # type: ignore[union-attr]
        counts = np.bincount(np.asarray(encoded.indices), minlength=len(encoded.dictionary))
        return Pairs(encoded.dictionary, pa.array(counts, pa.int64()))
    each = dict_keys(keys)
    counter: Counter[Any] = Counter()
    with contextlib.suppress(TypeError):
        counter.update(each)
    if counter.total() < len(each):
        list(map(key_group, each))  # what is not hashable is no key either, and is refused here
    return Pairs(columnar(list(counter)), pa.array(list(counter.values()), pa.int64()))


def _has_codes(keys: Column) -> bool:
    """Whether Arrow can number the different keys."""
    if not isinstance(keys, pa.Array):
        return False
    return any(has_type(keys.type) for has_type in _CODED)
