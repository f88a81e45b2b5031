"""The types of named columns: how users write them, and which of those that Arrow infers are taken over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from elastic.errors import QueryError, SourceError

TypeLike: TypeAlias = "str | type | pa.DataType"

_PYTHON: dict[Any, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()
}  # fmt: skip
_NAMES = {kind.__name__: arrow for kind, arrow in _PYTHON.items()}

SAMPLE_BYTES = 1 << 20
"""Types are told from so much of the first file, and a sixteenth of it of each of the next fifteen."""

SAMPLE_FILES = 16


@dataclass(frozen=True)
class Wanted:
    """What a user has said of the columns.

    Attributes:
        columns: Their names, in order; all there are if None.
        types: Types of some of them; the others are inferred.
    """

    columns: tuple[str, ...] | None = None
    types: tuple[tuple[str, pa.DataType], ...] = ()

    @property
    def complete(self) -> pa.Schema | None:
        """All columns with their types, if nothing has to be inferred."""
        types = dict(self.types)
        if self.columns is None or any(name not in types for name in self.columns):
            return None
        return pa.schema([(name, types[name]) for name in self.columns])

    def applied(self, source: str, inferred: pa.Schema) -> pa.Schema:
        """The columns that were asked for, with the types that were, out of those that the input has.

        Raises:
            SourceError: One is not there.
        """
        types = {field.name: _plain(field.type) for field in inferred} | dict(self.types)
        names = self.columns or tuple(types)
        if missing := [name for name in names if name not in types]:
            raise SourceError(
                f"{source}: there is no column {missing[0]!r} in the input; it has {', '.join(inferred.names)}"
            )
        return pa.schema([(name, types[name]) for name in names])


def as_wanted(source: str, columns: Iterable[str] | None, types: Mapping[str, TypeLike] | None) -> Wanted:
    """What was written as ``columns`` and ``types``.

    Raises:
        QueryError: A name is none, or stands twice; a type is none.
    """
    names = None if columns is None else tuple([columns] if isinstance(columns, str) else columns)
    if names is not None and (
        not names or not all(isinstance(n, str) and n for n in names) or len(set(names)) < len(names)
    ):
        raise QueryError(f"{source}(columns={columns!r}): expected at least one name, and none twice")
    given = {name: _type(source, name, kind) for name, kind in dict(types or {}).items()}
    if names is not None and (odd := [name for name in given if name not in names]):
        raise QueryError(f"{source}(types=…): {odd[0]!r} is not among columns={list(names)}")
    return Wanted(names, tuple(given.items()))


def described(schema: pa.Schema) -> str:
    """``user: string, amount: double``."""
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def sample(paths: Sequence[str]) -> bytes:
    """Whole lines from the start of the first files; a last line that has no end gets one."""
    parts = []
    for n, path in enumerate(paths[:SAMPLE_FILES]):
        limit = SAMPLE_BYTES if n == 0 else SAMPLE_BYTES // SAMPLE_FILES
        with Path(path).open("rb") as file:
            text = file.read(limit)
            text += file.readline(SAMPLE_BYTES) if text and not text.endswith(b"\n") else b""
        text = text.removeprefix(b"\xef\xbb\xbf")
        parts.append(text if not text or text.endswith(b"\n") else text + b"\n")
    return b"".join(parts)


def _type(source: str, name: str, kind: Any) -> pa.DataType:
    if isinstance(kind, pa.DataType):
        return kind
    try:
        return _PYTHON[kind] if isinstance(kind, type) else _NAMES.get(kind) or pa.type_for_alias(kind)
    except (KeyError, ValueError, TypeError):
        raise QueryError(
            f"{source}(types={{{name!r}: {kind!r}}}): this is no type; write str, int, float, bool, a name of Arrow's "
            "such as 'timestamp[ms]', or a pyarrow type"
        ) from None


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type, with text where Arrow takes text for a time: only the user knows whether it is one."""
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind
