"""A record in which the writers of one sink note their commits, and by whose order an older generation is refused.

Every writer appends; nobody locks, so a writer that is stopped in the middle of anything blocks nobody. An append lands
at one place in the file's order, and what a record means follows from the records before it alone: a commit counts
unless a higher generation opened some of its key groups earlier in the file. A writer appends, reads up to the end of
its own record, and knows. Whoever opens sees every commit that counts, since a later one of an older writer does not.

So that a job of days leaves no log of days, the file is a row of *segments*. Whoever finds the newest one large ends it
with a record, and begins another with what all before it say: its first record, there from the segment's birth. Who
appends to an ended segment finds the end before its own record, goes on to the newest one, and appends there.

Needs a file system whose appends land whole, one after the other (POSIX says so; NFS does not keep it). A record that a
killed process or a full disk left unfinished fails its checksum, and counts as never written. Without hard links, the
log stays one segment.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from elastic.connectors.base import SinkContext
from elastic.connectors.claims import Claim, committed
from elastic.connectors.commit_record import Entry, Standing, entries
from elastic.connectors.durability import sync_path
from elastic.errors import FencedError, SinkError
from elastic.keys import KeyInterval

SEGMENT_BYTES = 4 << 20
"""A segment is ended past this: read in 0.1 s by whoever takes over, and a thousand seconds of an idle sink's notes."""


class CommitLogReader:
    """What a commit log says so far; reads on from where it stopped.

    Args:
        path: Of the log.
        whole: Begin with the oldest record that is left, and not with what the newest segment says.
    """

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        self._path, self._whole = path, whole
        self._standing = Standing()
        self._segment: int | None = None
        self._offset = 0
        self._ended = False

    @property
    def claims(self) -> list[Claim]:
        """Which generation owns which key groups, and their committed ticks, as of the last record read."""
        return self._standing.claims

    @property
    def complete(self) -> bool:
        """Whether the first record that there ever was is left."""
        return min(_segments(self._path), default=0) == 0

    @property
    def position(self) -> tuple[int, int]:
        """Segment and offset of the first byte not yet read."""
        return self._segment or 0, self._offset

    def skip(self, position: tuple[int, int]) -> None:
        """Take note of the records before a position that another reader of the log had, and give none of them."""
        for _ in self.read(until=position):
            pass

    def read(self, until: tuple[int, int] | None = None) -> Iterator[Entry]:
        """The commits that count among the whole records not yet read, as far as a position.

        Of the segments before the one that it begins with, the last commit of each writer comes first; not where it
        reads the ``whole`` log, which is every commit of the segments that are left.
        """
        while self._find() and (until is None or self.position < until):
            if (found := self._unread(until)) is None:
                continue
            for entry in found:
                if entry.kind == "base":
                    if self._standing.claims:  # it has read all that this tells
                        continue
                    self._standing = Standing.at(entry)
                    if not self._whole:
                        yield from self._standing.last.values()
                elif entry.kind == "end":
                    self._ended = True
                    break
                elif self._counts(entry) and entry.kind == "commit":
                    yield entry
            if not self._ended:
                return

    def drop_read(self, keep: int) -> None:
        """Delete the segments that were read, but for the newest ``keep``; nobody else may need them."""
        for number in _segments(self._path):
            if self._segment is not None and number < self._segment - keep:
                _place(self._path, number).unlink(missing_ok=True)

    def _find(self) -> bool:
        """Whether there is a segment to read from: the one under way, or the one after it."""
        if self._segment is not None and not self._ended:
            return True
        later = [n for n in _segments(self._path) if self._segment is None or n > self._segment]
        if not later:
            return False
        first = self._whole or self._segment is not None
        self._segment, self._offset, self._ended = min(later) if first else max(later), 0, False
        return True

    def _unread(self, until: tuple[int, int] | None) -> Iterator[Entry] | None:
        """The whole records of the segment that were not read yet; None if it was deleted."""
        assert self._segment is not None
        try:
            with _place(self._path, self._segment).open("rb") as file:
                file.seek(self._offset)
                data = file.read(-1 if until is None or until[0] > self._segment else until[1] - self._offset)
        except FileNotFoundError:  # a newer one has come meanwhile
            self._segment, self._standing = None, Standing()
            return None
        whole = data.rfind(b"\n") + 1  # what follows may still be under way
        self._offset += whole
        return entries(data[:whole])

    def _counts(self, entry: Entry) -> bool:
        try:
            self._standing.apply(entry)
        except FencedError:  # what an older generation has tried
            return False
        return True


class CommitLog:
    """A commit log, opened to write one key interval under one generation.

    Args:
        keep: Delete no segment: somebody reads them all.
        segment_bytes: Size from which on a segment is ended.

    Attributes:
        commits: The newest commit that counted when the log was opened, of every writer that there was.
    """

    def __init__(
        self, path: Path, interval: KeyInterval, generation: int, *, keep: bool = False, segment_bytes: int = 0
    ) -> None:
        """Raise the interval's generation and read what is committed, in one append.

        Raises:
            FencedError: A higher generation has opened some of the interval.
            SinkError: The file cannot be written.
        """
        self._path, self._interval, self._generation, self._keep = path, interval, generation, keep
        self._limit_bytes = segment_bytes or SEGMENT_BYTES
        self._standing = Standing()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._enter()
        except OSError as error:
            raise SinkError(f"the commit record {path} cannot be opened: {error.strerror}") from error
        try:
            self._append(Entry("open", interval, generation))
        except BaseException:
            self.close()
            raise
        self.commits = list(self._standing.last.values())

    @property
    def segments(self) -> int:
        """How many segments there are."""
        return len(_segments(self._path))

    def committed(self) -> list[tuple[KeyInterval, int]]:
        """The committed tick of each piece of the writer's interval, as of its last call."""
        return committed(self._standing.claims, self._interval)

    def commit(self, through: int, payload: object, *, sync: bool = False) -> None:
        """Commit through a tick, with what the sink keeps beside it; on disk afterwards if ``sync``.

        Raises:
            FencedError: A higher generation has opened some of the interval. The commit does not count.
            SinkError: No space, or the file is gone. The commit does not count.
        """
        self._append(Entry("commit", self._interval, self._generation, through, payload))
        if sync:
            os.fsync(self._fd)
        if self._offset >= self._limit_bytes:
            self._end_segment()

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)

    def _append(self, entry: Entry) -> None:
        """Append one record, and take over what lies between the last call and it."""
        line = entry.encode()
        while self._catch_up((end := self._write(line)) - len(line)):
            self._go_on()
        self._offset = end
        self._standing.apply(entry)

    def _write(self, line: bytes) -> int:
        """Append a line to the segment; where it ends."""
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise SinkError(f"the commit record {self._path} cannot be written: {error.strerror}") from error
        if written < len(line):
            raise SinkError(f"the commit record {self._path} cannot be written: no space left on the disk")
        return os.lseek(self._fd, 0, os.SEEK_CUR)  # an append leaves the position behind what it wrote

    def _catch_up(self, end: int) -> bool:
        """Take over the records before byte ``end``; whether the segment has ended there.

        They are read from the open file, which is there for its writers even when it was deleted.
        """
        for entry in entries(os.pread(self._fd, end - self._offset, self._offset)):
            if entry.kind == "end":
                return True
            if entry.kind == "base":
                self._standing = Standing.at(entry)
                continue
            with suppress(FencedError):  # what an older generation has tried
                self._standing.apply(entry)
        self._offset = end
        return False

    def _end_segment(self) -> None:
        """End the segment, unless somebody has, and go on in a new one."""
        if not self._links():
            self._limit_bytes = 1 << 62
            return
        self._catch_up(self._write(Entry("end").encode()))
        self._go_on()

    def _links(self) -> bool:
        """Whether the file system has hard links, by which a segment is born with its first record."""
        probe = _aside(self._path)
        try:
            os.link(_place(self._path, self._segment), probe)
        except OSError:
            return False
        finally:
            probe.unlink(missing_ok=True)
        return True

    def _go_on(self) -> None:
        """The segment has ended and was read through: begin the next one, if nobody has, and enter the newest."""
        aside = _aside(self._path)
        try:
            aside.write_bytes(self._standing.base().encode())
            sync_path(aside)
            with suppress(FileExistsError):
                os.link(aside, _place(self._path, self._segment + 1))
            sync_path(self._path.parent)
        except OSError as error:
            raise SinkError(f"the commit record {self._path} cannot be continued: {error.strerror}") from error
        finally:
            aside.unlink(missing_ok=True)
        os.close(self._fd)
        self._enter()
        for older in () if self._keep else [n for n in _segments(self._path) if n < self._segment]:
            _place(self._path, older).unlink(missing_ok=True)

    def _enter(self) -> None:
        """Open the newest segment; what it says is read with the next append."""
        while True:
            newest = max(_segments(self._path), default=0)
            create = 0 if newest else os.O_CREAT
            try:
                self._fd = os.open(_place(self._path, newest), os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | create, 0o666)
            except FileNotFoundError:  # deleted since it was listed: there is a newer one
                continue
            if max(_segments(self._path)) == newest:
                self._segment, self._offset = newest, 0
                return
            os.close(self._fd)  # what was created here is no part of the log, and nobody will read it


def _place(path: Path, segment: int) -> Path:
    return path if segment == 0 else path.with_name(f"{path.name}.{segment}")


def _segments(path: Path) -> list[int]:
    """The numbers of the segments that there are, ascending."""
    later = path.parent.glob(f"{glob.escape(path.name)}.[0-9]*")
    return sorted([*([0] if path.exists() else []), *(int(p.name.rpartition(".")[2]) for p in later)])


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.new-{os.urandom(6).hex()}")


def log_path(context: SinkContext, directory: Path) -> Path:
    """The commit log of one sink in one run."""
    return directory / f"{file_stem(context)}.commits"


def file_stem(context: SinkContext) -> str:
    """What the files of one sink in one run begin with; whatever the operator is called, a file may be."""
    return f"{quote(context.operator, safe=' ()')}-{quote(context.run_id, safe='')}"
