"""How many rows each instance of a sink has committed, so that its successor knows though nobody lives to tell it.

Before ticks are handed to the target, it is written down how many rows there are through each of them: a file for each
writer, in the job directory. What of that the target has taken it says itself, since it keeps its tick (invariant 2).
So whoever is killed, and whenever, the number through the target's tick is there to be read.

The files are left to the system's caches: after a loss of power, numbers may be low. A disk that refuses them costs
their exactness and nothing else.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

TALLIES = "tallies"
"""The folder of the job directory where they lie."""

_ENTRY = struct.Struct("<qq")  # a tick, and the rows of all ticks through it
_MANY = 4096
"""After so many entries a file is begun anew, with those that still count."""


class Tally:
    """What one writer commits, on top of what those before it have; used from one thread.

    Args:
        directory: Of all tallies; made if it is not there.
        operator: The sink.
        index: Which of its instances; all writers of one have the same key groups.
        generation: Of the writer: higher than those before it.
        through: The tick through which the target held everything when this writer opened it.
    """

    def __init__(self, directory: Path, operator: str, index: int, generation: int, through: int) -> None:
        place = f"{quote(operator, safe=' ()')}-{index}"
        self._path = directory / f"{place}.{generation}"
        known = {int(p.suffix[1:]): p for p in directory.glob("*") if p.stem == place and p.suffix[1:].isdigit()}
        before = {writer: path for writer, path in known.items() if writer < generation}
        self.rows = _read(before[max(before)], through) if before else 0
        """Rows through the last tick that the target is known to hold."""
        self._total = self.rows
        self._open: deque[tuple[int, int]] = deque()
        self._file: int | None = None
        self._entries = 0
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            self._begin(through)
            for path in before.values():
                path.unlink(missing_ok=True)

    def hand(self, ticks: Iterable[tuple[int, int]]) -> None:
        """These ticks, with so many rows each, are about to be handed to the target."""
        entries = []
        for tick, rows in ticks:
            self._total += rows
            entries.append((tick, self._total))
        self._open.extend(entries)
        with suppress(OSError):
            self._write(entries)

    def settle(self, through: int) -> int:
        """The target holds everything through this tick; how many rows more that is."""
        before = self.rows
        while self._open and self._open[0][0] <= through:
            self.rows = self._open.popleft()[1]
        if self._entries > _MANY + len(self._open):
            with suppress(OSError):
                self._begin(through)
        return self.rows - before

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin(self, through: int) -> None:
        """A file with what is known now takes the place of the one before, whole or not at all."""
        self.close()
        partial = self._path.with_suffix(f"{self._path.suffix}p")
        partial.write_bytes(b"".join(_ENTRY.pack(*entry) for entry in [(through, self.rows), *self._open]))
        partial.replace(self._path)
        self._file, self._entries = os.open(self._path, os.O_WRONLY | os.O_APPEND), 1 + len(self._open)

    def _write(self, entries: list[tuple[int, int]]) -> None:
        if self._file is not None and entries:
            os.write(self._file, b"".join(_ENTRY.pack(*entry) for entry in entries))
            self._entries += len(entries)


def _read(path: Path, through: int) -> int:
    """The rows through a tick, as a writer has written them down; 0 if it could not."""
    with suppress(OSError):
        found = path.read_bytes()
        whole = found[: len(found) // _ENTRY.size * _ENTRY.size]
        return max((rows for tick, rows in _ENTRY.iter_unpack(whole) if tick <= through), default=0)
    return 0
