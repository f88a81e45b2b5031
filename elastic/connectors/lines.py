"""Byte ranges of files, read as whole lines; what a line means is up to a format, which parses many lines at once.

A partition is a list of byte ranges of files, each of whole lines, and a position in it is one number: bytes from its
start, counted on through its repetitions. So two integers name any run of lines, and reading them again gives the same
rows for as long as the files stay.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal, NamedTuple, Self, TypeAlias

import numpy as np

from elastic.batch import Column
from elastic.connectors.base import Chunk, Malformed, Partition, Position, Reader
from elastic.errors import SourceError

InvalidRecord: TypeAlias = Literal["fail", "skip", "divert"]
"""What becomes of a line that is no record."""

READ_AT_MOST_BYTES = 1 << 30
"""The offsets of an Arrow string column have 31 bits."""

PEEKED_BYTES, PEEKED_LINES = 4096, 16
"""So much is looked at of a file that is ahead: enough for a first record with a time, after a few lines without."""

SHOWN_CHARACTERS = 120
"""So much of a malformed line is shown."""


class Parsed(NamedTuple):
    """What a format makes of some lines.

    Attributes:
        rows: The records.
        records: Lines that are records, or should have been.
        repaired: Records that were changed to make them readable.
        bad: Which lines, counted from 0, are none; ascending. They have no row.
    """

    rows: Column
    records: int
    repaired: int = 0
    bad: Sequence[int] = ()


class LineFormat(ABC):
    """How the lines of a source are read. Must survive pickling.

    A line's row depends on the line alone, never on the lines beside it: so it does not matter how a file is cut.

    Attributes:
        source: Name of the source, for errors.
        errors: What becomes of a bad line.
        advice: What the user can do about a bad line.
    """

    source: str
    errors: str
    advice: str

    @abstractmethod
    def parse(self, text: bytes) -> Parsed:
        """The records in whole lines, each of which ends with a newline."""

    @abstractmethod
    def cause(self, line: bytes) -> str:
        """What is wrong with a bad line, and what was expected."""

    def fitted(self, paths: Sequence[str]) -> LineFormat:
        """The same format, once the files that it is to read have been looked at.

        Raises:
            SourceError: What the records are cannot be told from the files.
        """
        return self

    def with_errors(self, errors: str) -> Self:
        """The same format with another policy."""
        return replace(self, errors=errors)  # type: ignore[type-var]

    def header_bytes(self, path: str, head: bytes) -> int:
        """How many bytes at the start of a file come before its first record; ``head`` is its first line.

        Raises:
            SourceError: The file begins in another way than the others.
        """
        return 0


class Segment(NamedTuple):
    """Bytes ``[start, end)`` of one file: whole lines, at least one."""

    path: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class LinePartition(Partition):
    """Segments that are read one after the other, ``repeat`` times over."""

    name: str
    segments: tuple[Segment, ...]
    format: LineFormat
    repeat: int = 1

    @property
    def input_bytes(self) -> int:
        return self.repeat * sum(segment.end - segment.start for segment in self.segments)

    def open(self) -> LineReader:
        """A reader at the first line; each file is opened when it is reached."""
        return LineReader(self)


class Piece(NamedTuple):
    """Whole lines of one file, each ended by a newline, also the last of a file that lacks it."""

    text: bytes
    start: int
    end: int

    def head(self, size_bytes: int) -> Piece:
        """Its first bytes, fewer than all: so no newline that was added is among them."""
        return Piece(self.text[:size_bytes], self.start, self.start + size_bytes)


class LineReader(Reader):
    """Reads one partition; holds one file open at a time."""

    def __init__(self, partition: LinePartition) -> None:
        self._segments, self._format = partition.segments, partition.format
        self._starts = list(accumulate((s.end - s.start for s in self._segments), initial=0))
        self._end = self._starts[-1] * partition.repeat
        self._line_bytes = 64.0  # running mean, for reading about as much as a limit in records needs
        self._path, self._file = "", -1
        self._counted = ("", 0, 1)  # file, offset and line number of the line that was placed last
        self.seek(0)

    def seek(self, position: Position) -> None:
        """Go on reading from ``position``, where a line begins."""
        assert isinstance(position, int)
        self._position = position
        self.finished = position >= self._end

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """Whole lines of about ``limit_bytes``, from as many files as that takes; a longer line comes whole."""
        if self.finished:
            return None
        limit = max(1, min(limit_bytes, READ_AT_MOST_BYTES))
        if limit_records is None:
            pieces = self._gather(limit)
        else:
            enough = int(1.25 * self._line_bytes * limit_records) + 1
            pieces = first_lines(self._gather(min(limit, enough)), max(1, limit_records))
        start, end = self._position, pieces[-1].end
        chunk = self._parsed(pieces, end)
        self._line_bytes += 0.2 * ((end - start) / max(1, chunk.records) - self._line_bytes)
        self.seek(end)
        return chunk

    def reread(self, start: Position, end: Position) -> Column | Chunk:
        """The lines between two positions that reads began or ended at."""
        assert isinstance(start, int)
        assert isinstance(end, int)
        pieces = []
        while start < end:
            piece, _ = self._piece(start, end - start)
            pieces.append(piece)
            start = piece.end
        chunk = self._parsed(pieces, end)
        return chunk if chunk.malformed else chunk.rows

    def ahead(self) -> list[tuple[Position, Column]]:
        """Where the files after the first begin; of what is repeated, where it does so for the last time."""
        last_time = self._end - self._starts[-1]
        starts = [last_time + start for start in self._starts[:-1]]
        return [(start, self._first_records(start)) for start in starts if start]

    def _first_records(self, position: int) -> Column:
        """The first few lines at a position where a file begins."""
        piece, cut_off = self._piece(position, PEEKED_BYTES)
        if cut_off:
            whole = piece.text.rfind(b"\n") + 1
            piece = piece.head(whole) if whole else self._long_line(position, PEEKED_BYTES)
        return self._format.parse(first_lines([piece], PEEKED_LINES)[0].text).rows

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._file >= 0:
            os.close(self._file)
            self._path, self._file = "", -1

    def _gather(self, limit_bytes: int) -> list[Piece]:
        """Whole lines from here on, of ``limit_bytes`` in all or of one line."""
        pieces: list[Piece] = []
        position = self._position
        while limit_bytes > 0 and position < self._end:
            piece, cut_off = self._piece(position, limit_bytes)
            if cut_off:
                whole = piece.text.rfind(b"\n") + 1
                if not whole and pieces:
                    break
                piece = self._long_line(position, limit_bytes) if not whole else piece.head(whole)
            pieces.append(piece)
            limit_bytes -= piece.end - position
            position = piece.end
        return pieces

    def _piece(self, position: int, size_bytes: int) -> tuple[Piece, bool]:
        """At most ``size_bytes`` of the segment at ``position``, and whether more of it follows."""
        segment, offset = self._locate(position)
        size = min(size_bytes, segment.end - offset)
        text = self._pread(segment.path, offset, size)
        if cut_off := offset + size < segment.end:
            return Piece(text, position, position + size), cut_off
        return Piece(text if text.endswith(b"\n") else text + b"\n", position, position + size), cut_off

    def _long_line(self, position: int, size_bytes: int) -> Piece:
        """The line at ``position``, which is longer than ``size_bytes``."""
        while size_bytes < READ_AT_MOST_BYTES:
            size_bytes = min(max(2 * size_bytes, 4096), READ_AT_MOST_BYTES)
            piece, cut_off = self._piece(position, size_bytes)
            if whole := piece.text.find(b"\n") + 1:
                return piece.head(whole) if cut_off or whole < len(piece.text) else piece
        raise SourceError(f"{self._where(position)} is longer than 1 GiB; is this a text file?")

    def _locate(self, position: int) -> tuple[Segment, int]:
        """The segment that the byte at ``position`` lies in, and its offset in the file."""
        within = position % self._starts[-1]
        index = bisect_right(self._starts, within) - 1
        segment = self._segments[index]
        return segment, segment.start + within - self._starts[index]

    def _pread(self, path: str, offset: int, size_bytes: int) -> bytes:
        try:
            if path != self._path:
                self.close()
                self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self._path = path
            text = pread(self._file, size_bytes, offset)
        except OSError as error:
            problem = "has gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            hint = "put it back and run again"
            raise SourceError(f"{self._format.source}: {path!r} {problem} since the job started; {hint}") from None
        if len(text) < size_bytes:
            raise SourceError(
                f"{self._format.source}: {path!r} became shorter since the job started: at least {offset + size_bytes} "
                f"bytes were expected, {offset + len(text)} found; input must stay as it is until the job has ended"
            )
        return text

    def _parsed(self, pieces: Sequence[Piece], end: int) -> Chunk:
        """What the pieces hold, through the position ``end``."""
        parsed = self._format.parse(b"".join([piece.text for piece in pieces]))  # no copy if there is only one
        bad = lines_of(pieces, told_of(self._format, parsed))
        malformed = told(self._format, [(line, *self._place(start)) for _, start, line in bad])
        return chunk_of(self._format, parsed, end, end - pieces[0].start if pieces else 0, malformed)

    def _place(self, position: int) -> tuple[str, int, int]:
        """File, line number and offset of the line at ``position``; reads what of the file was not counted yet."""
        segment, offset = self._locate(position)
        path, at, line = self._counted
        if path != segment.path or at > offset:
            at, line = 0, 1
        while at < offset:
            block = self._pread(segment.path, at, min(1 << 20, offset - at))
            line, at = line + block.count(b"\n"), at + len(block)
        self._counted = segment.path, offset, line
        return segment.path, line, offset

    def _where(self, position: int) -> str:
        path, line, offset = self._place(position)
        return f"{self._format.source}: {path!r}, line {line} (at byte {offset})"


def pread(file: int, size_bytes: int, offset: int) -> bytes:
    """So many bytes of a file from an offset on, or fewer at its end; one call need not give all."""
    text = os.pread(file, size_bytes, offset)
    while len(text) < size_bytes and (more := os.pread(file, size_bytes - len(text), offset + len(text))):
        text += more
    return text


def first_lines(pieces: Sequence[Piece], count: int) -> list[Piece]:
    """The first ``count`` lines, or all if there are fewer."""
    kept: list[Piece] = []
    for piece in pieces:
        if count == 0:
            break
        if (lines := piece.text.count(b"\n")) > count:
            newlines = np.flatnonzero(np.frombuffer(piece.text, np.uint8) == ord("\n"))
            return [*kept, piece.head(int(newlines[count - 1]) + 1)]
        kept.append(piece)
        count -= lines
    return kept


def lines_of(pieces: Sequence[Piece], numbers: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """These lines, counted from 0 through all pieces and ascending: the number of its piece, where it begins, its text.

    Where it begins counts on from the start of the piece; its text is without its end.
    """
    found: list[tuple[int, int, bytes]] = []
    before = 0
    for index, piece in enumerate(pieces):
        if len(found) == len(numbers):
            break
        ends = np.flatnonzero(np.frombuffer(piece.text, np.uint8) == ord("\n"))
        for number in numbers[len(found) :]:
            if (n := number - before) >= len(ends):
                break
            start = int(ends[n - 1]) + 1 if n else 0
            found.append((index, piece.start + start, piece.text[start : int(ends[n])].removesuffix(b"\r")))
        before += len(ends)
    return found


def told_of(form: LineFormat, parsed: Parsed) -> Sequence[int]:
    """Which of the bad lines something is to be said about: every one that is diverted, else the first."""
    return parsed.bad if form.errors == "divert" else parsed.bad[:1]


def told(form: LineFormat, lines: Sequence[tuple[bytes, str, int, int]]) -> tuple[Malformed, ...]:
    """What there is to say of bad lines, given with file, line number and offset of each.

    Raises:
        SourceError: A bad line is to end the job.
    """
    if lines and form.errors == "fail":
        line, path, number, offset = lines[0]
        place = f"{form.source}: {path!r}, line {number} (at byte {offset})"
        raise SourceError(f"{place}: {form.cause(line)}: {shown(line)}; {form.advice}")
    return tuple(Malformed(as_text(line), f"{path}:{number}", form.cause(line)) for line, path, number, _ in lines)


def chunk_of(
    form: LineFormat, parsed: Parsed, position: Position, size_bytes: int, malformed: tuple[Malformed, ...]
) -> Chunk:
    """What was parsed, as a reader gives it."""
    skipped = 0 if form.errors == "divert" else len(parsed.bad)
    return Chunk(parsed.rows, position, size_bytes, parsed.records, skipped, malformed, parsed.repaired)


def as_text(line: bytes) -> str:
    r"""A line as text; bytes that are no UTF-8 as ``\xff``."""
    return line.decode("utf-8", "backslashreplace")


def shown(line: bytes) -> str:
    """A line as an error shows it."""
    text = as_text(line)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
