"""A checksum of rows: the same in any order, in any batches, and for rows as for columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column, Pairs, rows
from elastic.errors import KeyTypeError
from elastic.keys import hash_column, key_hash


def checksum(column: Column) -> int:
    """The sum of ``row_hashes``, modulo 2^64."""
    return int(row_hashes(column).sum(dtype=np.uint64)) if len(column) else 0


def row_hashes(column: Column) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row; rows that Python calls equal count as the same row.

    Rows of the types of keys are hashed as keys are, typed columns of them without a Python step. A dict is hashed by
    its fields, in any order; an object by its type and attributes, or by its ``repr`` if it has none.
    """
    try:
        return hash_column(_plain(column))
    except KeyTypeError:
        return np.fromiter((key_hash(canonical(row)) for row in rows(column)), np.uint64, len(column))


def _plain(column: Column) -> Column:
    """Structs, and dicts of one set of fields, as the nested pairs that ``canonical`` makes of them."""
    values: dict[str, Column]
    if isinstance(column, list):
        if set(map(type, column)) != {dict} or len(names := set(map(frozenset, column))) != 1:
            return column
        values = {name: [row[name] for row in column] for name in names.pop()}
    elif isinstance(column, pa.Array) and pa.types.is_struct(column.type) and not column.null_count:
        values = dict(zip((f.name for f in column.type), column.flatten(), strict=True))
    else:
        return column
    nested: Column = pa.nulls(len(column))
    for name in sorted(values, key=str, reverse=True):
        constant = pa.DictionaryArray.from_arrays(np.zeros(len(column), np.int8), [name])
        nested = Pairs(constant, Pairs(values[name], nested))
    return nested


def canonical(row: Any) -> Any:
    """A value of the types of keys, equal for equal rows."""
    if row is None or isinstance(row, (int, float, str, bytes)):
        return row
    if isinstance(row, tuple):
        return tuple(map(canonical, row))
    if isinstance(row, list):
        return ("list", *map(canonical, row))
    if isinstance(row, (set, frozenset)):
        return ("set", *sorted(key_hash(canonical(element)) for element in row))
    if isinstance(row, Mapping):
        return _fields(row)
    attributes = getattr(row, "__dict__", None)
    return (type(row).__qualname__, _fields(attributes) if attributes is not None else repr(row))


def _fields(row: Mapping[Any, Any]) -> Any:
    """Name, value and the rest, nested: two columns at a time is how typed columns are hashed."""
    nested: Any = None
    for name in sorted(row, key=str, reverse=True):
        nested = (canonical(name), (canonical(row[name]), nested))
    return nested
