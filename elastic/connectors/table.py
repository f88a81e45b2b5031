"""A file read whole, as a table that rows are looked up in."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elastic.batch import rows
from elastic.callables import did_you_mean
from elastic.connectors.base import Source
from elastic.connectors.column_types import TypeLike
from elastic.connectors.parquet_files import parquet
from elastic.connectors.record_files import csv, json_lines
from elastic.errors import QueryError, SourceError
from elastic.keys import key_group
from elastic.surface import surface

_READ_BYTES = 8 << 20
_BY_SUFFIX: Mapping[str, Callable[..., Source]] = {
    ".csv": csv, ".jsonl": json_lines, ".ndjson": json_lines, ".parquet": parquet
}  # fmt: skip


@surface
def table(
    path: str | os.PathLike[str], *, key: str, types: Mapping[str, TypeLike] | None = None
) -> dict[Any, dict[str, Any]]:
    """The records of a file by the value of one column, for ``Stream.lookup``; read now, when the query is built.

    Args:
        path: A file whose name ends with ``.csv``, ``.jsonl``, ``.ndjson`` or ``.parquet``.
        key: The column by which records are found; no two have the same value there.
        types: Of some columns, as for ``sources.csv``; not for Parquet, which has its own.

    Raises:
        QueryError: The file is of another kind.
        SourceError: It cannot be read, lacks the column, or has two records for one key.
    """
    suffix = Path(path).suffix
    if suffix not in _BY_SUFFIX or (suffix == ".parquet" and types):
        known = ", ".join(_BY_SUFFIX)
        raise QueryError(f"table({os.fspath(path)!r}): expected a file that ends with {known}; types go with text only")
    source = _BY_SUFFIX[suffix](path, **({"types": types} if types else {}))
    found: dict[Any, dict[str, Any]] = {}
    for partition in source.partitions(1):
        reader = partition.open()
        try:
            while not reader.finished and (chunk := reader.read(_READ_BYTES)) is not None:
                for record in rows(chunk.rows):
                    _enter(found, record, key, path)
        finally:
            reader.close()
    return found


def _enter(found: dict[Any, dict[str, Any]], record: dict[str, Any], key: str, path: str | os.PathLike[str]) -> None:
    if key not in record:
        hint = did_you_mean(key, list(record))
        raise SourceError(f"table({os.fspath(path)!r}): there is no column {key!r}{hint} It has {', '.join(record)}")
    value = record[key]
    key_group(value)  # whether it can be a key at all
    if value in found:
        raise SourceError(f"table({os.fspath(path)!r}): two records have the {key} {value!r}: {found[value]}, {record}")
    found[value] = record
