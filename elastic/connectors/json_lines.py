"""Parts of JSON lines; see ``elastic.sinks.json_lines``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from elastic.batch import Column, rows
from elastic.connectors.parts import Part, PartsSink
from elastic.connectors.shapes import fields, shortened
from elastic.errors import SinkError

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class JsonLinesSink(PartsSink):
    """Without ``columns``, rows are written as they are."""

    name = "json_lines"
    suffix = ".jsonl"

    def begin(self, file: BinaryIO) -> Part:
        return JsonLinesPart(self, file)

    def check(self, column: Column) -> None:
        self.lines(column)

    def rows_of(self, part: Path) -> Counter[Any]:
        return Counter(part.read_bytes().decode().split("\n")[:-1])

    def rows_in(self, columns: Sequence[Column]) -> Counter[Any]:
        return Counter(line.decode() for column in columns for line in self.lines(column))

    def lines(self, column: Column) -> list[bytes]:
        """Each row as JSON in UTF-8, without the line's end.

        Raises:
            SinkError: A row that JSON cannot hold.
        """
        if self.columns:
            part = fields(column, self.columns)
            values: list[Any] = [dict(zip(part.names, row, strict=True)) for row in zip(*part.columns, strict=True)]
        else:
            values = rows(column)
        try:
            return [_encode(value).encode() for value in values]
        except (TypeError, ValueError, RecursionError):
            return [self._line(value) for value in values]

    def _line(self, value: Any) -> bytes:
        """One row of a batch that has a difficult one; what it gives must not depend on which rows are beside it."""
        try:
            text = _encode(value)
            try:
                return text.encode()
            except UnicodeEncodeError:  # a lone surrogate: JSON has an escape for it, UTF-8 no bytes
                return _encode_ascii(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SinkError(
                f"the row {shortened(value)} cannot be written to {self.directory} as JSON: {error}; JSON holds dicts "
                f"with text keys, lists, text, finite numbers, True, False and None: turn it into these with .map(...)"
            ) from error


class JsonLinesPart(Part):
    """Lines, as they come."""

    def __init__(self, sink: JsonLinesSink, file: BinaryIO) -> None:
        self._sink, self._file = sink, file

    def write(self, columns: Sequence[Column]) -> None:
        text = b"\n".join([line for column in columns for line in self._sink.lines(column)]) + b"\n"
        self._file.write(text)
        self.size_bytes += len(text)
