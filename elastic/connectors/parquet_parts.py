"""Parts of Parquet; see ``elastic.sinks.parquet``. A part is collected as columns, and written when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from elastic.batch import Column, Pairs, concat, rows
from elastic.connectors.checksum import row_hashes
from elastic.connectors.parts import Part, PartsSink
from elastic.connectors.shapes import shortened, typed_fields
from elastic.errors import SinkError


@dataclass(frozen=True)
class ParquetSink(PartsSink):
    """Rows are counted by their hash when a run is verified.

    Attributes:
        types: Types of some columns; the others have that of their values.
        compression: Parquet's codec.
    """

    types: tuple[tuple[str, pa.DataType], ...] = ()
    compression: str = "zstd"
    name = "parquet"
    suffix = ".parquet"

    def begin(self, file: BinaryIO) -> Part:
        return ParquetPart(self, file)

    def rows_of(self, part: Path) -> Counter[Any]:
        return _counted(pq.read_table(part))

    def check(self, column: Column) -> None:
        self.table(column, self.columns)

    def rows_in(self, columns: Sequence[Column]) -> Counter[Any]:
        count = Counter[Any]()
        for run in _alike(columns):
            count.update(_counted(self.table(concat(run), self.columns)))
        return count

    def table(self, column: Column, names: tuple[str, ...] | None) -> pa.Table:
        """The rows as a table.

        Raises:
            SinkError: A row has other fields, or a column holds values that have no type in common.
        """
        part, types = typed_fields(column, names), dict(self.types)
        if odd := [name for name in types if name not in part.names]:
            raise SinkError(f"parquet(types=…): the rows have no column {odd[0]!r}; they have {', '.join(part.names)}")
        arrays = [
            self._array(values, name, types.get(name)) for name, values in zip(part.names, part.columns, strict=True)
        ]
        return pa.table(arrays, names=list(part.names))

    def _array(self, values: list[Any] | pa.Array, name: str, kind: pa.DataType | None) -> pa.Array:
        try:
            if isinstance(values, list):
                return pa.array(values, kind)
            return values if kind is None or values.type == kind else values.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError) as error:
            at = _first_odd(rows(values), kind)
            raise SinkError(
                f"the column {name!r} cannot be written to {self.directory}: its value {shortened(at)} does not go "
                f"with {kind or 'the others'} ({str(error).partition('. ')[0]}); give every row the same types with "
                ".map(...), or say which with types={...}"
            ) from None


class ParquetPart(Part):
    """The rows so far; types that differ a little are brought together when it is written."""

    def __init__(self, sink: ParquetSink, file: BinaryIO) -> None:
        self._sink, self._file = sink, file
        self._names = sink.columns
        self._tables: list[pa.Table] = []

    def write(self, columns: Sequence[Column]) -> None:
        for run in _alike(columns):
            table = self._sink.table(concat(run), self._names)
            self._names = tuple(table.column_names)
            self._tables.append(table)
            self.size_bytes += table.nbytes

    def finish(self) -> None:
        try:
            whole = pa.concat_tables(self._tables, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise SinkError(
                f"the rows of a part in {self._sink.directory} have columns of different types: "
                f"{str(error).partition('. ')[0]}; give every row the same types with .map(...), or say which with "
                "types={...}"
            ) from None
        pq.write_table(whole, self._file, compression=self._sink.compression)


def _alike(columns: Sequence[Column]) -> list[list[Column]]:
    """The columns in runs that can be put end to end without being turned into lists."""
    return [list(run) for _, run in groupby(columns, key=_form)]


def _form(column: Column) -> Any:
    if isinstance(column, Pairs):
        return _form(column.keys), _form(column.values)
    return column.type if isinstance(column, pa.Array) else list


def _counted(table: pa.Table) -> Counter[Any]:
    if not table.num_rows:
        return Counter()
    columns = [column.combine_chunks() for column in table.columns]
    return Counter(row_hashes(pa.StructArray.from_arrays(columns, table.column_names)).tolist())


def _first_odd(values: Sequence[Any], kind: pa.DataType | None) -> Any:
    """The first value that alone, or with those before it, has not the type."""
    for n, value in enumerate(values):
        try:
            pa.array(values[: n + 1] if kind is None else [value], kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
            return value
    return values[0]
