"""The input log: what each source partition read in each tick, so that exactly the same can be read again.

Each partition has a folder of its own, with segments that are named after the lowest tick they can hold. The last entry
of a full segment says that the log goes on in another. A new generation takes over the newest segment, and follows such
an entry if there is one: so it meets an older writer, wherever that is, in a file whose order decides between them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from elastic.connectors.base import Position
from elastic.connectors.fenced_file import FencedFile, read_entries
from elastic.errors import SinkError

SEGMENT_ENTRIES = 16_384
"""Entries in a segment: 0.8 MB, read in 30 ms; three minutes of ticks of 10 ms."""

_GOES_ON = None
_FINISHED, _FINAL = 1, 2


class LogEntry(NamedTuple):
    """What was read in one tick, or that nothing was in a run of them: ticks between two entries are empty.

    Attributes:
        tick: The tick; of a run of empty ones the last.
        start: Position before the read.
        end: Position after it; in a run of empty ticks the same.
        records: Records read, those that the error policy dropped among them.
        size_bytes: Input bytes read.
        read_time_s: Unix time of the read.
        finished: Nothing follows in this partition.
        final: The last tick of the job; all sources close through it.
    """

    tick: int
    start: Position
    end: Position
    records: int = 0
    size_bytes: int = 0
    read_time_s: float = 0.0
    finished: bool = False
    final: bool = False


class InputLog:
    """The log of one source partition, opened for appending by one generation; used from one thread.

    Attributes:
        last: The newest entry; None in an empty log.
    """

    def __init__(
        self, folder: Path, generation: int, *, sync: bool = False, segment_entries: int = SEGMENT_ENTRIES
    ) -> None:
        """Take over the log in a folder of its own, as ``open`` does."""
        self._folder, self._generation, self._sync = folder, generation, sync
        self._segment_entries = segment_entries
        self.last: LogEntry | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"cannot create {str(folder)!r} for the input log: {error.strerror}") from None
        self._take_over()

    @classmethod
    def open(cls, directory: Path, operator: str, partition: int, generation: int, *, sync: bool = False) -> InputLog:
        """Take the log of a partition over from every lower generation; start it where there is none.

        Args:
            directory: Of all input logs of the job.
            operator: Name of the source in the query.
            partition: Number of the partition.
            generation: Of the writer, from 0.
            sync: Have every entry on the disk before ``append`` returns.

        Raises:
            FencedError: A higher generation has opened the log.
            SinkError: It cannot be written.
        """
        return cls(_folder(directory, operator, partition), generation, sync=sync)

    @property
    def last_tick(self) -> int:
        """The log is complete through this tick; -1 if it is empty."""
        return -1 if self.last is None else self.last.tick

    @property
    def last_position(self) -> Position | None:
        """Where the next read starts; None, the partition's start, if the log is empty."""
        return None if self.last is None else self.last.end

    def append(self, entry: LogEntry) -> None:
        """Log a tick; only then may anything of it be sent.

        Raises:
            ValueError: Its tick is not above ``last_tick``, or it does not start where the last entry ended.
            FencedError: A newer writer has opened the log; nothing was logged, and this one must stop.
            SinkError: It could not be written.
        """
        last = self.last
        if last is not None and (entry.tick <= last.tick or entry.start != last.end):
            raise ValueError(f"{entry} does not follow {last}")
        if self._entries >= self._segment_entries:
            self._go_on()
        flags = _FINISHED * entry.finished | _FINAL * entry.final
        self._file.append((*entry[:6], flags))
        self._entries += 1
        self.last = entry

    def entries(self, after_tick: int) -> list[LogEntry]:
        """All entries above a tick, in order; read from the files.

        Raises:
            ValueError: The log has been trimmed above that tick.
        """
        segments = _segments(self._folder)
        if segments[0] > after_tick + 1:
            raise ValueError(
                f"the input log in {self._folder} holds no ticks below {segments[0]}, {after_tick + 1} asked"
            )
        over = [low for low, high in pairwise(segments) if high <= after_tick + 1]
        return [e for e in _read(self._folder, segments[len(over) :]) if e.tick > after_tick]

    def trim(self, through_tick: int) -> None:
        """Delete the segments that hold no tick above ``through_tick``; the last position stays known.

        Not to be called where the run is to be verified afterwards.
        """
        if self._entries == 0:  # the last position is in the segment before
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
            entries = _decoded(file.recovered)
            self.last = entries[-1] if entries else self.last
            goes_on = file.recovered[-1:] == [_GOES_ON]
            newest = _segments(self._folder)[-1]
            if newest == segment and not goes_on:
                break
            file.close()
            if not entries:  # it was trimmed after it had been listed, and opening it has made it again
                self._path(segment).unlink(missing_ok=True)
            segment = newest if newest > segment else entries[-1].tick + 1
        self._file, self._entries = file, len(entries)
        file.recovered = []
        if not entries and (before := _segments(self._folder)[:-1]):
            self.last = _read(self._folder, before[-1:])[-1]

    def _go_on(self) -> None:
        """Begin a new segment. If that fails, the next append tries again: no entry may follow this one."""
        self._file.append(_GOES_ON)
        file = FencedFile(self._path(self.last_tick + 1), self._generation, sync=self._sync)
        self._file.close()
        self._file, self._entries = file, 0


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
    return [entry for segment in segments for entry in _decoded(read_entries(_path(folder, segment)))]


def _decoded(rows: Iterable[list[Any] | None]) -> list[LogEntry]:
    return [
        LogEntry(tick, start, end, records, size_bytes, read_time_s, bool(flags & _FINISHED), bool(flags & _FINAL))
        for tick, start, end, records, size_bytes, read_time_s, flags in filter(None, rows)
    ]
