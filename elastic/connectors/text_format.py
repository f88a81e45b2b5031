"""Lines of UTF-8 text as an Arrow column, without Python work per line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elastic.connectors.lines import LineFormat, Parsed

InvalidText: TypeAlias = Literal["replace", "skip", "fail", "divert"]


@dataclass(frozen=True)
class TextFormat(LineFormat):
    r"""A line is a str without its end, ``\n`` or ``\r\n``.

    Attributes:
        errors: What becomes of a line that is not UTF-8.
    """

    errors: InvalidText = "replace"
    source: str = "text_files"
    advice = "convert the file, or choose errors='replace', 'skip' or 'divert'"

    def parse(self, text: bytes) -> Parsed:
        """The lines; those that are not UTF-8 repaired, or left out."""
        ended, repaired = ended_lines(text), 0
        records, bad = len(ended), list[int]()
        if not (text.isascii() or is_valid(ended)):
            invalid = list(_invalid_lines(text))
            if self.errors == "replace":
                ended, repaired = ended_lines(text.decode("utf-8", "replace").encode()), len(invalid)
            else:
                bad, keep = invalid, np.ones(records, np.bool_)
                keep[invalid] = False
                ended = ended.filter(pa.array(keep))
        return Parsed(pc.ascii_rtrim(ended, "\n"), records, repaired, bad)

    def cause(self, line: bytes) -> str:
        """There is only one."""
        return "the line is not UTF-8"


def ended_lines(text: bytes) -> pa.StringArray:
    """Lines with the newline that ends each; the bytes of ``text`` are shared, not copied.

    With the ends still in place the offsets alone make the column, and Arrow's trim then copies the rest in one pass:
    3 GB/s, against 2.3 for ``split_pattern`` and 1.3 to 2.0 for taking the newlines out of the buffer.
    """
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    offsets = np.zeros(len(newlines) + 1, np.int32)
    np.add(newlines, 1, out=offsets[1:], casting="unsafe")
    return pa.StringArray.from_buffers(len(newlines), pa.py_buffer(offsets), pa.py_buffer(text))


def is_valid(lines: pa.StringArray) -> bool:
    """Whether every line is UTF-8."""
    try:
        lines.validate(full=True)  # twice as fast as decoding
    except pa.ArrowInvalid:
        return False
    return True


def _invalid_lines(text: bytes) -> Iterator[int]:
    """Which lines are not UTF-8, counted from 0; one decoding step each."""
    view = memoryview(text)
    start = line = 0
    while start < len(text):
        try:
            str(view[start:], "utf-8")
        except UnicodeDecodeError as error:
            at = start + error.start
            line += text.count(b"\n", start, at)
            yield line
            start = text.index(b"\n", at) + 1
            line += 1
        else:
            return
