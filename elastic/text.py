"""Kernels over the bytes of a whole string column: cutting into words, and finding a text.

Both look at the column's data as one run of bytes, without going through its rows, and come back to rows by their
offsets. UTF-8 makes that exact: the bytes of one character never occur inside another.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elastic.hashing import byte_spans

Bytes: TypeAlias = npt.NDArray[np.uint8]
Flags: TypeAlias = npt.NDArray[np.bool_]
Offsets: TypeAlias = npt.NDArray[np.signedinteger[Any]]

WHITE_SPACE = "".join(chr(c) for c in range(0x3001) if chr(c).isspace())
"""What ``str.split`` and ``str.strip`` take for white space; U+3000 is the last of them."""

_WIDE_SPACES = [c.encode() for c in WHITE_SPACE if ord(c) >= 0x80]
_BLANK = 0x20
_BLOCK_BYTES = 1 << 17  # of text at once; what is made of it stays in cache and off the page allocator


def split_words(column: pa.Array) -> pa.Array:
    """A list array of each row's words: what ``str.split()`` gives. The column has strings and no nulls."""
    return _split(column, _cut_words)


def split_bytes(column: pa.Array, separator: str) -> pa.Array:
    """A list array of what ``str.split(separator)`` gives for each row, for a separator of one ASCII character."""
    byte = ord(separator)
    return _split(column, lambda data, offsets: _cut(data, offsets, data == byte))


def rows_with(column: pa.Array, text: bytes) -> pa.Array:
    """Which rows contain the text. The column has strings or binaries and no nulls."""
    data, offsets = _spans(column)
    if not text:
        return pa.array(np.ones(len(column), np.bool_))
    hits = _find(data, text, at_most=len(column) // 4)
    if hits is None:
        return pc.match_substring(column, text)
    rows = np.searchsorted(offsets[1:], hits, side="right")  # the first row that ends behind the hit's first byte
    found = np.zeros(len(column), np.bool_)
    found[rows[hits + len(text) <= offsets[1:][rows]]] = True
    return pa.array(found)


def is_ascii(column: pa.Array) -> bool:
    """Whether the column's strings are all ASCII, so that a kernel that only knows ASCII is exact on it."""
    data, _ = _spans(column)
    return not len(data) or bool(data.max() < 0x80)


class _Cut(NamedTuple):
    """Rows cut into words, the separators gone.

    Attributes:
        data: The bytes that are no separators.
        words: Offset in ``data`` of each word's start, and of the last word's end.
        rows: Index in ``words`` of each row's first word, and of the last row's end.
    """

    data: Bytes
    words: Offsets
    rows: Offsets


def _split(column: pa.Array, cut: Callable[[Bytes, Offsets], _Cut]) -> pa.Array:
    """Cut the column, block by block if it is long, into a list array."""
    data, offsets = _spans(column)
    found = cut(data, offsets) if len(data) <= _BLOCK_BYTES else _in_blocks(data, offsets, cut)
    values = pa.Array.from_buffers(
        column.type, len(found.words) - 1, [None, pa.py_buffer(found.words), pa.py_buffer(found.data)]
    )
    return pa.Array.from_buffers(
        pa.list_(column.type), len(column), [None, pa.py_buffer(found.rows)], children=[values]
    )


def _in_blocks(data: Bytes, offsets: Offsets, cut: Callable[[Bytes, Offsets], _Cut]) -> _Cut:
    starts = np.searchsorted(offsets, np.arange(0, len(data), _BLOCK_BYTES))
    borders = np.unique(np.append(starts, (0, len(offsets) - 1))).tolist()
    cuts = [_Cut(data[:0], np.zeros(1, offsets.dtype), np.zeros(1, np.int32))]
    words_before = bytes_before = 0
    for low, high in pairwise(borders):
        first, last = offsets[low], offsets[high]
        block = cut(data[first:last], offsets[low : high + 1] - first)
        cuts.append(_Cut(block.data, block.words[1:] + bytes_before, block.rows[1:] + words_before))
        bytes_before += len(block.data)
        words_before += len(block.words) - 1
    return _Cut(*map(np.concatenate, zip(*cuts, strict=True)))


def _cut_words(data: Bytes, offsets: Offsets) -> _Cut:
    if len(data) and data.max() >= 0x80:
        data = _with_plain_spaces(data)
    # 9 to 13 and 28 to 32; unsigned subtraction takes what is lower around to the top
    separators = (data - np.uint8(9)) < 5
    separators |= (data - np.uint8(28)) < 5
    cut = _cut(data, offsets, separators)
    full = cut.words[1:] != cut.words[:-1]
    if full.all():
        return cut
    # An empty word lies between two separators, or between one and an end of its row: drop it.
    counts = np.zeros(len(cut.words), np.int32)
    np.cumsum(full, out=counts[1:])
    return _Cut(cut.data, cut.words[np.append(True, full)], counts[cut.rows])


def _cut(data: Bytes, offsets: Offsets, separators: Flags) -> _Cut:
    """Cut at the separators and at the ends of rows; a row with n separators has n + 1 words, empty ones included."""
    at = np.flatnonzero(separators)
    before = np.searchsorted(at, offsets)  # separators before each row
    # The borders between words in order, both kinds, as they lie when the separators are taken out.
    rows = before + np.arange(len(offsets))
    words = np.empty(len(at) + len(offsets), offsets.dtype)
    is_row = np.zeros(len(words), np.bool_)
    is_row[rows] = True
    words[~is_row] = at - np.arange(len(at))
    words[rows] = offsets - before
    return _Cut(np.compress(~separators, data), words, rows.astype(np.int32))


def _spans(column: pa.Array) -> tuple[Bytes, Offsets]:
    """The bytes of the column's own rows, and their offsets from 0."""
    spans = byte_spans(column)
    if spans is None:
        raise TypeError(f"a column of strings or binaries is needed, not of {column.type}")
    data, offsets = spans
    low, high = int(offsets[0]), int(offsets[-1])
    return data[low:high], offsets - low if low else offsets


def _with_plain_spaces(data: Bytes) -> Bytes:
    """The same text with each space character that is not ASCII overwritten by as many blanks as it has bytes."""
    leads: dict[int, list[bytes]] = {}
    for space in _WIDE_SPACES:
        leads.setdefault(space[0], []).append(space)
    copy = data
    for lead, spaces in leads.items():
        at = np.flatnonzero(data == lead)
        if not len(at):
            continue
        for space in spaces:
            hits = at
            for i in range(1, len(space)):
                hits = hits[data[hits + i] == space[i]]
            if len(hits):
                copy = data.copy() if copy is data else copy
                for i in range(len(space)):
                    copy[hits + i] = _BLANK
    return copy


def _find(data: Bytes, text: bytes, at_most: int) -> Offsets | None:
    """Positions of the text in the data, ascending; None where there are so many that going row by row is faster.

    Four bytes are compared at once, in four passes over the data, each from another byte on.
    """
    width = 4 if len(text) >= 4 else 2 if len(text) >= 2 else 1
    first = np.frombuffer(text, f"u{width}", 1)[0]
    found = []
    for phase in range(width):
        count = (len(data) - phase) // width
        if count <= 0:
            break
        equal = data[phase : phase + count * width].view(f"u{width}") == first
        candidates = int(np.count_nonzero(equal))
        at_most -= candidates
        if at_most < 0:
            return None
        if candidates:
            found.append(np.flatnonzero(equal) * width + phase)
    hits = np.concatenate(found) if found else np.empty(0, np.int64)
    hits = hits[hits <= len(data) - len(text)]
    for i in range(width, len(text)):
        hits = hits[data[hits + i] == text[i]]
    return np.sort(hits)
