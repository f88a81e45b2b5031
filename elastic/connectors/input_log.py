"""The input log: what each source partition read in each tick, so that exactly the same can be read again.

An entry says of a long position only what has changed since the one before it; the first of a segment has it whole, so
that every segment can be read by itself.

Each partition has a folder of its own, with segments that are named after the lowest tick they can hold. The last entry
of a full segment says that the log goes on in another. A new generation takes over the newest segment, and follows such
an entry if there is one: so it meets an older writer, wherever that is, in a file whose order decides between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from elastic.connectors.base import LogEntry, Position
from elastic.connectors.fenced_file import FencedFile, read_entries
from elastic.connectors.positions import restored, stored
from elastic.errors import SinkError

SEGMENT_ENTRIES = 16_384
"""Entries in a segment: 0.8 MB, read in 30 ms; three minutes of ticks of 10 ms."""

SEGMENT_BYTES = 32 << 20
"""A segment that keeps records ends after so much: what a successor reads into memory at once."""

SEGMENT_NUMBERS = 2_000_000
"""A segment of long positions ends after so many numbers: 16 MB when they are in memory, whole."""

_GOES_ON = None
_FINISHED, _FINAL = 1, 2


class InputLog:
    """The log of one source partition, opened for appending by one generation; used from one thread.

    Attributes:
        last: The newest entry; None in an empty log.
        floor: The highest tick given to ``trim``, by any generation; 0 at first.
    """

    def __init__(
        self,
        folder: Path,
        generation: int,
        *,
        keep: bool = False,
        sync: bool = False,
        segment_entries: int = SEGMENT_ENTRIES,
    ) -> None:
        """Take over the log in a folder of its own, as ``open`` does."""
        self._folder, self._generation, self._keep, self._sync = folder, generation, keep, sync
        self._segment_entries = segment_entries
        self.last: LogEntry | None = None
        self.floor = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot create {str(folder)!r} for the input log: {error.strerror}") from None
        self._take_over()

    @classmethod
    def open(
        cls,
        directory: Path,
        operator: str,
        partition: int,
        generation: int,
        *,
        keep: bool = False,
        sync: bool = False,
    ) -> InputLog:
        """Take the log of a partition over from every lower generation; start it where there is none.

        Args:
            directory: Of all input logs of the job.
            operator: Name of the source in the query.
            partition: Number of the partition.
            generation: Of the writer, from 0.
            keep: Delete nothing when trimmed, so that the whole run can be read again.
            sync: Have every entry on the disk before ``append`` returns.

        Raises:
            FencedError: A higher generation has opened the log.
            SinkError: It cannot be written.
        """
        return cls(_folder(directory, operator, partition), generation, keep=keep, sync=sync)

    def append(self, entry: LogEntry) -> None:
        """Log a tick; only then may anything of it be sent.

        Raises:
            ValueError: Its tick is not above the last entry's, or it does not start where that ended.
            FencedError: A newer writer has opened the log; nothing was logged, and this one must stop.
            SinkError: It could not be written.
        """
        last = self.last
        if last is not None and (entry.tick <= last.tick or entry.start != last.end):
            raise ValueError(f"{entry} does not follow {last}")
        full = self._entries >= self._segment_entries or self._numbers >= SEGMENT_NUMBERS
        if full or self._file.size_bytes >= SEGMENT_BYTES:
            self._go_on()
        before = self.last.end if self.last is not None and self._entries else None
        self._file.append(_row(entry, before))
        self._note_one(entry)

    def entries(self, after_tick: int) -> list[LogEntry]:
        """All entries above a tick, in order; read from the files.

        Raises:
            ValueError: ``after_tick`` lies below the floor, so that entries may be missing.
        """
        if after_tick < self.floor:
            raise ValueError(f"the input log in {self._folder} is trimmed through {self.floor}; {after_tick} was asked")
        segments = _segments(self._folder)
        over = [low for low, high in pairwise(segments) if high <= after_tick + 1]
        return [e for e in _read(self._folder, segments[len(over) :]) if e.tick > after_tick]

    def trim(self, through_tick: int) -> None:
        """Raise the floor, and delete the segments that hold no tick above it, except where the log is kept.

        Raises:
            FencedError: A newer writer has opened the log; nothing was deleted.
            SinkError: It could not be written.
        """
        if through_tick <= self.floor:
            return
        self._file.append(through_tick)
        self.floor = through_tick
        if self._keep or self._entries == 0:  # the last entry is still in the segment before
            return
        for low, high in pairwise(_segments(self._folder)):
            if high <= through_tick + 1:
                self._path(low).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _path(self, segment: int) -> Path:
        return _path(self._folder, segment)

    def _take_over(self) -> None:
        """Open the newest segment, so that no older writer gets an entry in any more."""
        segment = max(_segments(self._folder), default=0)
        while True:
            file = FencedFile(self._path(segment), self._generation, sync=self._sync)
            entries = self._note(file.recovered)
            goes_on = file.recovered[-1:] == [_GOES_ON]
            newest = _segments(self._folder)[-1]
            if newest == segment and not goes_on:
                break
            file.close()
            if not entries:  # it was trimmed after it had been listed, and opening it has made it again
                self._path(segment).unlink(missing_ok=True)
            segment = newest if newest > segment else entries[-1].tick + 1
        self._file, self._entries, self._numbers = file, 0, 0
        for entry in entries:
            self._note_one(entry)
        file.recovered = []
        if not entries and (before := _segments(self._folder)[:-1]):
            self._note(read_entries(self._path(before[-1])))

    def _note_one(self, entry: LogEntry) -> None:
        """An entry is in the segment that is written."""
        self._entries += 1
        self._numbers += len(entry.end) if isinstance(entry.end, list) else 1
        self.last = entry

    def _note(self, rows: list[Any]) -> list[LogEntry]:
        """The entries of a segment, of which the last and the floor are remembered."""
        entries = _entries(rows)
        self.last = entries[-1] if entries else self.last
        self.floor = max([self.floor, *(row for row in rows if isinstance(row, int))])
        return entries

    def _go_on(self) -> None:
        """Begin a new segment. If that fails, the next append tries again: no entry may follow this one."""
        assert self.last is not None
        self._file.append(_GOES_ON)
        file = FencedFile(self._path(self.last.tick + 1), self._generation, sync=self._sync)
        self._file.close()
        self._file, self._entries, self._numbers = file, 0, 0
        file.append(self.floor)


def _row(entry: LogEntry, before: Position | None) -> Sequence[Any]:
    """An entry as it is written, where ``before`` is the end of the one before it in the segment."""
    positions = []
    for position in (entry.start, *entry.cuts, entry.end):
        positions.append(stored(position, before))
        before = position
    start, *cuts, end = positions
    flags = _FINISHED * entry.finished | _FINAL * entry.final
    rest: list[Any] = [cuts, list(entry.kept), entry.owed, *entry.read]
    while rest and not rest[-1]:  # most entries have nothing of these
        rest.pop()
    return entry.tick, start, end, *entry[3:6], flags, *rest


def read_log(directory: Path, operator: str, partition: int) -> list[LogEntry]:
    """All entries of a partition's log, for reading its input again; empty if there is no log.

    Raises:
        SinkError: It cannot be read.
    """
    folder = _folder(directory, operator, partition)
    return _read(folder, _segments(folder))


def _folder(directory: Path, operator: str, partition: int) -> Path:
    return directory / f"{quote(operator, safe=' ()')}-{partition}"


def _path(folder: Path, segment: int) -> Path:
    return folder / f"{segment}.log"


def _segments(folder: Path) -> list[int]:
    """The lowest tick that each segment can hold, ascending."""
    return sorted(int(path.stem) for path in folder.glob("*.log"))


def _read(folder: Path, segments: Iterable[int]) -> list[LogEntry]:
    return [entry for segment in segments for entry in _entries(read_entries(_path(folder, segment)))]


def _entries(rows: Iterable[Any]) -> list[LogEntry]:
    """The entries among what was appended, which beside them is floors (numbers) and an announcement."""
    found: list[LogEntry] = []
    for row in rows:
        if isinstance(row, list):
            found.append(_entry(found[-1].end if found else None, *row))
    return found


def _entry(
    before: Position | None,
    tick: int, start: Any, end: Any, records: int, size_bytes: int, read_time_s: float, flags: int,
    cuts: Sequence[Any] = (), kept: Sequence[bytes] = (), owed: int = 0, all_records: int = 0, all_bytes: int = 0,
) -> LogEntry:  # fmt: skip
    positions: list[Position] = []
    for found in (start, *cuts, end):
        before = restored(found, before)
        positions.append(before)
    return LogEntry(
        tick, positions[0], positions[-1], records, size_bytes, read_time_s,
        bool(flags & _FINISHED), bool(flags & _FINAL),
        tuple(positions[1:-1]), tuple(kept), owed, (all_records, all_bytes),
    )  # fmt: skip
