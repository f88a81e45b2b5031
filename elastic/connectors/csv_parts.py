"""Parts of CSV; see ``elastic.sinks.csv``. Columns become text in Arrow's kernels, not value by value."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Column, columnar, concat
from elastic.connectors.parts import Part, PartsSink
from elastic.connectors.shapes import shortened, typed_fields
from elastic.errors import SinkError


@dataclass(frozen=True)
class CsvSink(PartsSink):
    """Every part begins with the names of its columns.

    Attributes:
        delimiter: Between values.
    """

    delimiter: str = ","
    name = "csv"
    suffix = ".csv"

    def begin(self, file: BinaryIO) -> Part:
        return CsvPart(self, file)

    def rows_of(self, part: Path) -> Counter[Any]:
        with part.open(encoding="utf-8", newline="") as file:
            return self._counted(csv.reader(file, delimiter=self.delimiter))

    def check(self, column: Column) -> None:
        self.text(column, self.columns)

    def rows_in(self, columns: Sequence[Column]) -> Counter[Any]:
        if not columns:
            return Counter()
        names, text = self.text(concat(columns), self.columns)
        return self._counted(csv.reader(_split_lines((self.header(names) + text).decode()), delimiter=self.delimiter))

    @staticmethod
    def _counted(reader: Any) -> Counter[Any]:
        """Each record as its values by name, whatever the order of the columns."""
        names: list[str] = next(reader, [])
        order = sorted(range(len(names)), key=names.__getitem__)
        return Counter((*(names[i] for i in order), *(row[i] for i in order)) for row in reader)

    def header(self, names: Sequence[str]) -> bytes:
        """The line with the names."""
        return _line([_quoted(pa.array([name]), self.delimiter) for name in names], self.delimiter)

    def text(self, column: Column, names: tuple[str, ...] | None) -> tuple[tuple[str, ...], bytes]:
        """The names of the fields, and the rows as lines.

        Raises:
            SinkError: A row has other fields, or holds what CSV cannot.
        """
        part = typed_fields(column, names)
        texts = [
            self._texts(values, name, single=len(part.names) == 1)
            for name, values in zip(part.names, part.columns, strict=True)
        ]
        return part.names, _line(texts, self.delimiter)

    def _texts(self, values: list[Any] | pa.Array, name: str, *, single: bool) -> pa.StringArray:
        """A column as CSV writes it; what it gives for a value does not depend on the values beside it."""
        array = columnar(values) if isinstance(values, list) else values
        if isinstance(array, list):
            texts = self._mixed(array, name)
        else:
            texts = _quoted(self._as_text(array, name), self.delimiter)
        # An empty line is no record to anybody who reads CSV.
        return pc.fill_null(texts, '""' if single else "")

    def _as_text(self, array: pa.Array, name: str) -> pa.StringArray:
        kind = array.type
        if pa.types.is_dictionary(kind):
            return self._as_text(array.dictionary_decode(), name)
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            value = next((value for value in array.to_pylist() if value is not None), None)
            raise self._unfit(value, name)
        return array.cast(pa.string())

    def _mixed(self, values: list[Any], name: str) -> pa.StringArray:
        """Values of several types, each type by itself."""
        texts = np.full(len(values), None, object)
        kinds = np.array([type(value).__name__ for value in values], object)
        for kind in {type(value) for value in values} - {type(None)}:
            at = np.flatnonzero(kinds == kind.__name__)
            picked = [values[i] for i in at.tolist()]
            try:
                array = pa.array(picked)
            except (OverflowError, pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
                if kind is not int:
                    raise self._unfit(picked[0], name) from None
                array = pa.array(list(map(str, picked)))  # of more than 64 bits
            texts[at] = _quoted(self._as_text(array, name), self.delimiter).to_pylist()
        return pa.array(texts.tolist(), pa.string())

    def _unfit(self, value: Any, name: str) -> SinkError:
        return SinkError(
            f"the column {name!r} holds {shortened(value)}, of type {type(value).__name__}, which cannot be written to "
            f"{self.directory} as CSV; CSV holds text, numbers, True, False, None and times: turn it into one of these "
            "with .map(...)"
        )


class CsvPart(Part):
    """A line of names, then lines as they come."""

    def __init__(self, sink: CsvSink, file: BinaryIO) -> None:
        self._sink, self._file = sink, file
        self._names = sink.columns

    def write(self, columns: Sequence[Column]) -> None:
        names, text = self._sink.text(concat(columns), self._names)
        if self.size_bytes == 0:
            text = self._sink.header(names) + text
        self._names = names
        self._file.write(text)
        self.size_bytes += len(text)


def _quoted(texts: pa.StringArray, delimiter: str) -> pa.StringArray:
    """Quotes around what needs them to be read as it is, empty text too; null stays null."""
    special = "\\" + delimiter
    odd = pc.match_substring_regex(texts, f'["\r\n{special}]|^$')
    if not pc.any(odd).as_py():
        return texts
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(odd, quoted, texts)


def _line(texts: Sequence[pa.StringArray], delimiter: str) -> bytes:
    """The values side by side, one line for each row, each with its end."""
    lines = pc.binary_join_element_wise(*texts, delimiter) if len(texts) > 1 else texts[0]
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return bytes(pc.binary_join(whole, "\n")[0].as_buffer()) + b"\n"


def _split_lines(text: str) -> list[str]:
    """Lines with their ends, at newlines and nothing else."""
    return [line + "\n" for line in text.split("\n")[:-1]]
