"""JSON lines as an Arrow struct column, parsed by Arrow's own reader a block at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from elastic.connectors.bisection import parse_good_lines
from elastic.connectors.column_types import Wanted, described, sample
from elastic.connectors.lines import InvalidRecord, LineFormat, Parsed
from elastic.errors import SourceError

_BOM = b"\xef\xbb\xbf"
_BRACE, _END_BRACE, _NEWLINE = map(ord, "{}\n")
_CHANGED = re.compile(r"Column\(/(.*)\) changed from (\w+) to (\w+)")


@dataclass(frozen=True)
class JsonFormat(LineFormat):
    """A line is a JSON object; its row has every column of the schema, None where the object lacks it.

    Attributes:
        wanted: What the user has said of the columns.
        schema: Their types, which are the same for the whole job; None before the files were looked at.
    """

    wanted: Wanted = field(default_factory=Wanted)
    errors: InvalidRecord = "fail"
    schema: pa.Schema | None = None
    source: str = "json_lines"
    advice = "mend it, choose errors='skip' or 'divert', or say what the fields are with types={...}"

    def fitted(self, paths: Sequence[str]) -> JsonFormat:
        """With the types of the columns, told from the start of the first files unless all were given."""
        if (complete := self.wanted.complete) is not None:
            return replace(self, schema=complete)
        inferred = self._infer(sample(paths))
        return replace(self, schema=self.wanted.applied(self.source, inferred))

    def header_bytes(self, path: str, head: bytes) -> int:
        """A byte order mark is no part of the first object."""
        return len(_BOM) if head.startswith(_BOM) else 0

    def parse(self, text: bytes) -> Parsed:
        """The objects, blank lines left out."""
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        count = _lone_objects(text)
        rows = self._rows(text, count) if count and _is_utf8(text) else None
        if rows is not None:
            return Parsed(rows, count)
        lines = [(n, stripped) for n, line in enumerate(text.split(b"\n")) if (stripped := line.strip())]
        return parse_good_lines(lines, self._parse_lines, self._nothing)

    @property
    def _nothing(self) -> pa.StructArray:
        assert self.schema is not None, "the format was fitted to its files"
        return pa.array([], pa.struct(list(self.schema)))

    @property
    def _unexpected(self) -> str:
        """Fields that were not asked for are left out; those that nobody knew of are not."""
        return "error" if self.wanted.columns is None else "ignore"

    def _rows(self, text: bytes, count: int) -> pa.StructArray | None:
        """The rows of ``count`` objects; None if there is anything wrong with one of them."""
        try:
            table = _read(text, self.schema, self._unexpected)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        if table.num_rows != count:
            return None
        columns = [column.combine_chunks() for column in table.columns]
        return pa.StructArray.from_arrays(columns, fields=list(table.schema))

    def _parse_lines(self, lines: Sequence[bytes]) -> pa.StructArray | None:
        text = b"\n".join(lines) + b"\n"
        alone = _lone_objects(text) == len(lines) and _is_utf8(text)
        return self._rows(text, len(lines)) if alone else None

    def cause(self, line: bytes) -> str:
        """What is wrong with a line, and what was expected."""
        assert self.schema is not None
        try:
            value = json.loads(line)
        except UnicodeDecodeError:
            return "the line is not UTF-8"
        except (ValueError, RecursionError) as error:
            return f"this is no JSON object ({error}); expected one with the fields {described(self.schema)}"
        if not isinstance(value, dict):
            return f"this is a {_kind(value)}; expected a JSON object with the fields {described(self.schema)}"
        unknown = [name for name in value if name not in self.schema.names]
        if unknown and self._unexpected == "error":
            known = described(self.schema)
            return f"the field {unknown[0]!r} was not in the first lines of the input, which have {known}"
        for wanted in self.schema:
            if (problem := _problem(line, wanted)) is not None:
                return problem
        return f"this cannot be read as {described(self.schema)}"

    def _infer(self, text: bytes) -> pa.Schema:
        given = pa.schema(list(self.wanted.types))
        for part in (text, _objects(text, given)):
            if not part.strip():
                break
            try:
                return _read(part, given, "infer").schema
            except pa.ArrowInvalid as error:
                problem = str(error).partition(" in row")[0]
        else:
            raise SourceError(
                f"{self.source}: the types of the fields cannot be told from the first lines: {problem}; say them with "
                "types={...}, or read the lines with text_files and .map(json.loads)"
            )
        if self.wanted.types:
            return pa.schema([])
        raise SourceError(
            f"{self.source}: there are no objects from which the fields could be told; say them with types={{...}}"
        )


def _read(text: bytes, schema: pa.Schema | None, unexpected: str) -> pa.Table:
    return pyarrow.json.open_json(  # a stream, though of one block: it hands nothing over to other threads
        pa.BufferReader(text),
        # One block: Arrow then never has to look for the end of an object that goes on in the next.
        pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected),
    ).read_all()


def _lone_objects(text: bytes) -> int:
    """Number of lines, if each begins with a brace and ends with one; else 0.

    Then no object goes on in the next line: between two objects stands nothing, between any other braces a comma. So if
    Arrow, to which a newline is a blank, finds as many objects, there is one in each line.
    """
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    starts = np.zeros(len(ends), np.int64)
    starts[1:] = ends[:-1] + 1
    if not len(ends) or (data[starts] != _BRACE).any() or (data[ends - 1] != _END_BRACE).any():
        return 0
    return len(ends)


def _is_utf8(text: bytes) -> bool:
    """Whether it is; Arrow's reader does not look."""
    if text.isascii():
        return True
    offsets = pa.py_buffer(np.array([0, len(text)], np.int32))
    try:
        pa.StringArray.from_buffers(1, offsets, pa.py_buffer(text)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _objects(text: bytes, given: pa.Schema) -> bytes:
    """Those of the lines that are JSON objects, and have the types that were given."""

    def is_object(line: bytes) -> bool:
        try:
            fits = isinstance(json.loads(line), dict)
            return fits and all(_problem(line, wanted) is None for wanted in given)
        except (ValueError, RecursionError):
            return False

    return b"".join(line + b"\n" for line in text.split(b"\n") if is_object(line))


def _problem(line: bytes, wanted: pa.Field) -> str | None:
    """What is wrong with one field of an object; None if nothing."""
    try:
        _read(line, pa.schema([wanted]), "ignore")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        text = str(error)
        if (changed := _CHANGED.search(text)) is not None:
            return f"the field {changed[1].replace('/', '.')!r} holds a {changed[3]}; expected {wanted.type}"
        _, found, value = text.partition("couldn't parse:")
        if found:
            return f"the field {wanted.name!r} holds {value}; expected {wanted.type}"
        return f"the field {wanted.name!r} cannot be read as {wanted.type}: {text.partition(' in row')[0]}"
    return None


def _kind(value: Any) -> str:
    names = {list: "JSON array", str: "JSON string", bool: "JSON boolean", type(None): "JSON null"}
    return names.get(type(value), "JSON number")
