"""What listeners are told, on its way from the coordinator's process to theirs: files that go once they have been read.

One process writes, one reads, and each may be replaced while the other goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

NEWS = "news"
"""Folder of the job directory."""

SEGMENT_BYTES = 1 << 20


class NewsWriter:
    """Writes lines of JSON, in files of about a megabyte.

    Args:
        directory: Of the job. What a writer before this one has begun is not written on.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / NEWS
        self._folder.mkdir(exist_ok=True)
        self._number = max(_numbers(self._folder), default=0)
        self._begin()

    def _begin(self) -> None:
        self._number += 1
        self._file = _path(self._folder, self._number).open("a", encoding="utf-8", buffering=1)

    def add(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """Each is told, in order."""
        for note in notes:
            self._file.write(json.dumps(note) + "\n")
        if self._file.tell() >= SEGMENT_BYTES:
            self._file.close()
            self._begin()

    def close(self) -> None:
        """Nothing more is told."""
        self._file.close()


class NewsReader:
    """Reads what is told from now on; what was told in the directory before is dropped.

    Args:
        directory: Of the job.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / NEWS
        self._number = 0
        self._lines: Lines | None = None
        for number in _numbers(self._folder):
            _path(self._folder, number).unlink()

    def read(self) -> Iterator[Mapping[str, Any]]:
        """All that was told since the last call. A file is removed when another one has been begun after it."""
        while True:
            numbers = _numbers(self._folder)
            if self._lines is None:
                if not numbers:
                    return
                self._number = numbers[0]
                self._lines = Lines(_path(self._folder, self._number).open(encoding="utf-8"))
            yield from self._lines.read()
            if numbers[-1] == self._number:
                return
            self.close()
            _path(self._folder, self._number).unlink()

    def close(self) -> None:
        """Release the file."""
        if self._lines is not None:
            self._lines.file.close()
            self._lines = None


class Lines:
    """JSON lines of a file that grows; the last one may still be under way."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self._part = ""

    def read(self) -> Iterator[Mapping[str, Any]]:
        """Those that are complete since the last call."""
        *whole, self._part = (self._part + self.file.read()).split("\n")
        yield from map(json.loads, whole)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.jsonl"


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("*.jsonl"))
