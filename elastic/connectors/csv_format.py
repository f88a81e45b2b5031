"""CSV as an Arrow struct column, parsed by Arrow's own reader a block at a time."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.csv

from elastic.connectors.bisection import parse_good_lines
from elastic.connectors.column_types import Wanted, described, sample
from elastic.connectors.files import first_line
from elastic.connectors.lines import InvalidRecord, LineFormat, Parsed
from elastic.errors import SourceError
from elastic.units import counted

_BOM = b"\xef\xbb\xbf"
_NEWLINE = ord("\n")


@dataclass(frozen=True)
class CsvFormat(LineFormat):
    """A line is a record, values between delimiters, quoted with ``"`` where they need it.

    Attributes:
        wanted: What the user has said of the columns.
        header: Whether the first line of each file has the names of its columns.
        names: All columns of the input, in order; None before the files were looked at, unless the user gave them.
        schema: Those that are wanted, with their types; None before the files were looked at.
    """

    wanted: Wanted = field(default_factory=Wanted)
    errors: InvalidRecord = "fail"
    delimiter: str = ","
    header: bool = True
    names: tuple[str, ...] | None = None
    schema: pa.Schema | None = None
    source: str = "csv"
    advice = "mend it, choose errors='skip' or 'divert', or say what the columns hold with types={...}"

    def fitted(self, paths: Sequence[str]) -> CsvFormat:
        """With the names and types of the columns, told from the start of the first files unless all were given."""
        names = self.names
        if names is None and paths:
            names = self._names_in(paths[0], first_line(paths[0]))
        names = names or self.wanted.columns or tuple(name for name, _ in self.wanted.types)
        if not names:
            raise SourceError(
                f"{self.source}: there is no line from which the columns could be told; say them with types={...}"
            )
        if odd := [name for name, _ in self.wanted.types if name not in names]:
            raise SourceError(f"{self.source}: there is no column {odd[0]!r} in the input; it has {', '.join(names)}")
        fitted, types = replace(self, names=names), dict(self.wanted.types)
        wanted = self.wanted.columns or names
        if untold := [name for name in wanted if name not in types]:
            if not paths:
                raise SourceError(
                    f"{self.source}: there is no file yet from which the type of {untold[0]!r} could be told; say it "
                    "with types={...}"
                )
            return replace(fitted, schema=fitted._inferred(paths))  # noqa: SLF001 (itself)
        if odd := [name for name in wanted if name not in names]:
            raise SourceError(f"{self.source}: there is no column {odd[0]!r} in the input; it has {', '.join(names)}")
        return replace(fitted, schema=pa.schema([(name, types[name]) for name in wanted]))

    def header_bytes(self, path: str, head: bytes) -> int:
        """The line with the names, which must be the same in every file; a byte order mark is no part of it."""
        if not self.header:
            return len(_BOM) if head.startswith(_BOM) else 0
        found = self._names_in(path, head)
        if self.names is not None and found != self.names:
            raise SourceError(
                f"{self.source}: {path!r} has the columns {', '.join(found)}; the first file has "
                f"{', '.join(self.names)}: read files of other columns as a source of their own"
            )
        return len(head)

    def parse(self, text: bytes) -> Parsed:
        """The records, empty lines left out."""
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        count = _count(text)
        rows = self._rows(text, count) if count else None
        if rows is not None:
            return Parsed(rows, count)
        lines = [(n, line) for n, line in enumerate(text.split(b"\n")) if line]
        return parse_good_lines(lines, self._parse_lines, self._nothing)

    def cause(self, line: bytes) -> str:
        """What is wrong with a line, and what was expected."""
        assert self.schema is not None
        assert self.names is not None
        wanted = f"expected {counted(len(self.names), 'value')}, {', '.join(self.names)}"
        try:
            table = self._read(line + b"\n" + line + b"\n", pa.schema([]))
        except pa.ArrowInvalid as error:
            found = str(error).partition("columns, got ")[2].partition(":")[0]
            return f"{counted(int(found), 'value') if found.isdigit() else error}; {wanted}"
        if table.num_rows != 2:
            return f"a quoted value goes on in the next line, or a carriage return cuts the line in two; {wanted}"
        for column in self.schema:
            try:
                self._read(line + b"\n", pa.schema([column]))
            except pa.ArrowInvalid as error:
                _, _, value = str(error).partition("invalid value ")
                if value:
                    return f"the column {column.name!r} holds {value}; expected {column.type}"
                if "UTF8" in str(error):
                    return "the line is not UTF-8"
                return f"the column {column.name!r} cannot be read as {column.type}: {error}"
        return f"this cannot be read as {described(self.schema)}"

    @property
    def _nothing(self) -> pa.StructArray:
        assert self.schema is not None, "the format was fitted to its files"
        return pa.array([], pa.struct(list(self.schema)))

    def _rows(self, text: bytes, count: int) -> pa.StructArray | None:
        """The rows of ``count`` lines that are not empty; None if there is anything wrong with one of them."""
        assert self.schema is not None
        if b"\r" in text:  # to Arrow an end of line
            return None if count > 1 else self._rows_alone(text)
        if b'"' in text and self._goes_on(text):
            return None
        try:
            table = self._read(text, self.schema)
        except pa.ArrowInvalid:
            return None
        return _as_struct(table, self.schema) if table.num_rows == count else None

    def _rows_alone(self, line: bytes) -> pa.StructArray | None:
        """The row of a line with a carriage return in it, which is part of a quoted value or an error."""
        assert self.schema is not None
        try:
            table = self._read(line + line, self.schema)
        except pa.ArrowInvalid:
            return None
        return _as_struct(table, self.schema)[:1] if table.num_rows == 2 else None

    def _goes_on(self, text: bytes) -> bool:
        """Whether a quoted value is still open at the end of the text: then it would take in what follows."""
        last = text[text.rstrip(b"\n").rfind(b"\n") + 1 :]
        if last.count(b'"') % 2 == 0:
            return False
        try:
            rows: int = self._read(last + last, pa.schema([])).num_rows
        except pa.ArrowInvalid:
            return True
        return rows != 2

    def _parse_lines(self, lines: Sequence[bytes]) -> pa.StructArray | None:
        return self._rows(b"\n".join(lines) + b"\n", len(lines))

    def _read(self, text: bytes, schema: pa.Schema, *, infer: bool = False) -> pa.Table:
        """The columns of the schema; without any the first one as bytes, which shows where records begin."""
        assert self.names is not None
        columns = [column.name for column in schema] or [self.names[0]]
        types = {column.name: column.type for column in schema} or {self.names[0]: pa.binary()}
        if infer:
            columns, types = list(self.names), {}
        return pyarrow.csv.open_csv(  # a stream, though of one block: it hands nothing over to other threads
            pa.BufferReader(text),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=list(self.names)),
            pyarrow.csv.ParseOptions(delimiter=self.delimiter),
            pyarrow.csv.ConvertOptions(column_types=types, include_columns=columns),
        ).read_all()

    def _names_in(self, path: str, head: bytes) -> tuple[str, ...]:
        """The columns that a file has by its first line; without a header, they are called after their numbers."""
        text = head.removeprefix(_BOM).rstrip(b"\r\n").decode("utf-8", "replace")
        values = next(csv.reader([text], delimiter=self.delimiter), [])
        names = tuple(values if self.header else (f"f{n}" for n in range(len(values))))
        if not names or len(set(names)) < len(names) or "" in names:
            raise SourceError(
                f"{self.source}: {path!r}, line 1: the columns {', '.join(map(repr, names))} are not one name each; "
                "if this is no header, give names=[...]"
            )
        return names

    def _inferred(self, paths: Sequence[str]) -> pa.Schema:
        text = sample(paths[:1])
        if self.header:
            text = text.partition(b"\n")[2]
        parse = partial(self._read, schema=pa.schema([]), infer=True)
        try:
            schema = parse(text).schema
        except pa.ArrowInvalid:
            schema = parse(self._regular(text)).schema
        texts = {f.name: pa.string() if pa.types.is_null(f.type) else f.type for f in schema}
        return self.wanted.applied(self.source, pa.schema(list(texts.items())))

    def _regular(self, text: bytes) -> bytes:
        """Those of the lines that have as many values as there are columns."""
        assert self.names is not None
        regular = []
        for line in text.split(b"\n"):
            try:
                regular += [line + b"\n"] * (self._read(line + b"\n" + line, pa.schema([])).num_rows == 2)
            except pa.ArrowInvalid:
                continue
        if not regular:
            raise SourceError(
                f"{self.source}: no line at the start of the input has the columns {', '.join(self.names)}; is the "
                f"delimiter {self.delimiter!r}?"
            )
        return b"".join(regular)


def _as_struct(table: pa.Table, schema: pa.Schema) -> pa.StructArray:
    return pa.StructArray.from_arrays([table.column(n).combine_chunks() for n in schema.names], fields=list(schema))


def _count(text: bytes) -> int:
    """Number of lines that are not empty."""
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    if not len(ends):
        return 0
    return int(np.count_nonzero(np.diff(ends, prepend=-1) > 1))
