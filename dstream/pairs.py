"""Rows as pairs of keys and values, in two columns: made of rows, merged by key, brought into order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from dstream.logic import Content
from elastic.batch import Batch, Column, Pairs, columnar, concat, rows, sorted_batch, take
from elastic.errors import KeyTypeError
from elastic.keys import groups_of, sort_order
from elastic.operators.combine import combined
from elastic.operators.failure import shortened, user_error
from elastic.state.processing import dict_keys


@dataclass(frozen=True, eq=False)
class Merging:
    """An associative function of two values, which may be applied before the shuffle and in any grouping.

    Attributes:
        exact: The kernel that does the same to columns of integers; None if there is none.
    """

    name: str
    function: Callable[[Any, Any], Any]
    exact: Literal["sum", "min", "max"] | None = None


def one(column: Column) -> Any:
    """The rows as a list or an array: what one side of pairs can be."""
    column = columnar(column) if isinstance(column, list) else column
    return rows(column) if isinstance(column, Pairs) else column


def as_pairs(column: Column, tick: int, name: str = "a pair") -> Pairs:
    """The rows as keys and values.

    Raises:
        UserCodeError: A row is not a tuple or list of two.
    """
    if isinstance(column, Pairs):
        return column
    each = rows(column)
    wrong = next((row for row in each if not isinstance(row, tuple | list) or len(row) != 2), None)
    if wrong is not None:
        error = TypeError(f"expected a (key, value) pair, got {shortened(wrong)}; make pairs with map() before")
        raise user_error(name, tick, wrong, error)
    return Pairs(one([k for k, _ in each]), one([v for _, v in each]))


def merged(merging: Merging, keys: Column, values: Column, tick: int) -> Pairs:
    """The different keys, each with its values merged; integers by a kernel where there is one.

    Raises:
        UserCodeError: The function raised.
    """
    if merging.exact is not None:
        known = _with_one_zero(keys)
        found = combined(merging.exact, known, values, operator=merging.name, tick=tick, worth_it=1.0)
        if found is not None and found.values is not None:
            return Pairs(one(found.keys), one(found.values))
    so_far: dict[Any, Any] = {}
    function = merging.function
    key = value = None
    try:
        for key, value in zip(dict_keys(keys), rows(values), strict=True):
            so_far[key] = function(so_far[key], value) if key in so_far else value
    except TypeError as error:
        if "unhashable" in str(error):
            raise user_error(merging.name, tick, value, _no_key(key), key=key) from error
        raise user_error(merging.name, tick, value, error, key=key) from error
    except Exception as error:
        raise user_error(merging.name, tick, value, error, key=key) from error
    return Pairs(one(list(so_far)), one(list(so_far.values())))


def counted(name: str, column: Column, tick: int) -> Pairs:
    """The different rows, each with how often it is there.

    Raises:
        UserCodeError: A row cannot be a key.
    """
    try:
        found = combined("count", _with_one_zero(one(column)), None, operator=name, tick=tick)
    except KeyTypeError as error:
        raise user_error(name, tick, error.key, error) from error
    assert found is not None
    assert found.values is not None
    return Pairs(one(found.keys), one(found.values))


def _with_one_zero(keys: Column) -> Column:
    """The same keys; of floats, -0.0 is 0.0, which are one key in Python and two to Arrow."""
    if isinstance(keys, pa.Array) and pa.types.is_floating(keys.type):
        return pc.add(keys, 0.0)
    return keys


def _no_key(key: Any) -> KeyTypeError:
    return KeyTypeError(shortened(key), type(key).__name__)


def keyed(pairs: Pairs, key_groups: int, tick: int, name: str) -> Batch:
    """The pairs as a batch that goes by key.

    Raises:
        UserCodeError: What is to be a key cannot be one.
    """
    try:
        return sorted_batch(groups_of(pairs.keys, key_groups), pairs.keys, pairs.values)
    except KeyTypeError as error:
        raise user_error(name, tick, error.key, error) from error


def ordered(pairs: Pairs, key_groups: int) -> Pairs:
    """The pairs in canonical order of their keys, each of which is there once."""
    order = sort_order(groups_of(pairs.keys, key_groups), pairs.keys)
    return Pairs(take(pairs.keys, order), take(pairs.values, order))


def together(contents: Sequence[Content]) -> Column:
    """All rows of some blocks, one after the other."""
    found = [_column(batch) for content in contents for _, batch in content if len(batch)]
    return concat(found) if found else []


def _column(batch: Batch) -> Column:
    assert batch.values is not None, "blocks of datasets carry their rows"
    return batch.values if batch.keys is None else Pairs(one(batch.keys), one(batch.values))
