"""Which file is which, whatever it is called: known by its inode and its first bytes, and found again by them.

A position lists the files that were read so far, each with an offset and a checksum of all that was read of it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias
from zlib import crc32

from elastic.connectors.base import Position
from elastic.connectors.files import FilePatterns, regular_files
from elastic.connectors.lines import Piece, pread

HEAD_BYTES = 256
"""A file is known by at most so many of its first bytes: an inode alone is given out again."""

Inode: TypeAlias = tuple[int, int]
"""Device and number."""

_FIELDS = 7


class FileId(NamedTuple):
    """Which file it is, whatever it is called.

    Attributes:
        head_bytes, head_checksum: Of its first bytes.
        truncated: How often it was found truncated; what it holds after each time is another file.
    """

    device: int
    inode: int
    head_bytes: int
    head_checksum: int
    truncated: int


class Mark(NamedTuple):
    """How far a file was read.

    Attributes:
        checksum: Of all records before ``offset``.
    """

    file: FileId
    offset: int
    checksum: int


def position_of(marks: Sequence[Mark]) -> Position:
    """The position that the marks are."""
    return [n for mark in marks for n in (*mark.file, mark.offset, mark.checksum)]


def marks_of(position: Position) -> list[Mark]:
    """The marks that a position is, in its order."""
    assert isinstance(position, list)
    runs = [position[i : i + _FIELDS] for i in range(0, len(position), _FIELDS)]
    return [Mark(FileId(*run[:-2]), *run[-2:]) for run in runs]


def identity(file: int, head_bytes: int, truncated: int) -> FileId:
    """Which file an open one is, by so many of its first bytes."""
    head = pread(file, head_bytes, 0)
    return FileId(*inode_of(os.fstat(file)), len(head), crc32(head), truncated)


def checksum(piece: Piece, before: Mark | None) -> int:
    """Of all records of a file through a piece of it."""
    return crc32(piece.text, before.checksum if before else 0)


def inode_of(status: os.stat_result) -> Inode:
    """Device and inode."""
    return status.st_dev, status.st_ino


class Places:
    """Where files are by now: those that match, then those beside them.

    Log rotation leaves a file where it was, under another name.

    Cost: one look into the folders for all files that are wanted at once, and another if some are not there.
    """

    def __init__(self, files: FilePatterns) -> None:
        self._files = files
        self._paths: Mapping[Inode, list[str]] = {}

    def opened(self, wanted: Sequence[FileId]) -> dict[FileId, tuple[str, int]]:
        """Path and open file of each that is there; the caller closes them.

        A file may be renamed between a look and now: so those that are missing are looked for again, for as long as
        that finds another.

        Raises:
            OSError: One is there, and does not let itself be opened. None is open then.
        """
        found: dict[FileId, tuple[str, int]] = {}
        try:
            self._open(wanted, found)
            before = -1
            while before < len(found) < len(wanted):
                before = len(found)
                self._look()
                self._open(wanted, found)
        except OSError:
            for _, file in found.values():
                os.close(file)
            raise
        return found

    def _open(self, wanted: Sequence[FileId], found: dict[FileId, tuple[str, int]]) -> None:
        """Add those that are where they were at the last look."""
        for file in wanted:
            for path in () if file in found else self._paths.get((file.device, file.inode), ()):
                with suppress(FileNotFoundError):
                    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    if identity(opened, file.head_bytes, file.truncated) == file:
                        found[file] = path, opened
                        break
                    os.close(opened)

    def _look(self) -> None:
        matching = self._files.look()
        folders = sorted({str(Path(path).parent) for path in (*matching, *self._files.patterns)})
        beside = [path for folder in folders for path in names_in(folder) if path not in matching]
        self._paths = paths = defaultdict[Inode, list[str]](list)
        for path, status in (*matching.items(), *regular_files(beside)):
            paths[inode_of(status)].append(path)


def names_in(folder: str) -> list[str]:
    """The paths of what is in a folder, sorted; none if it is not there."""
    with suppress(OSError):
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))  # noqa: PTH118, PTH208 (many)
    return []
