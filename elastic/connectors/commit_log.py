"""A file in which the writers of one sink record their commits, and by whose order an older generation is refused.

Every writer appends; nobody locks, so a writer that is stopped in the middle of anything blocks nobody. An append lands
at one place in the file's order, and what a record means follows from the records before it alone: a commit counts
unless a higher generation opened some of its key groups earlier in the file. A writer appends, reads up to the end of
its own record, and knows. Whoever opens sees every commit that counts, since a later one of an older writer does not.

Needs a file system whose appends land whole, one after the other (POSIX says so; NFS does not keep it). A record that a
killed process or a full disk left unfinished fails its checksum, and counts as never written.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from elastic.connectors.base import SinkContext
from elastic.connectors.claims import Claim, advanced, committed, opened
from elastic.errors import FencedError, SinkError
from elastic.keys import KeyInterval

VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the log: a writer has opened its interval, or has committed through a tick.

    Attributes:
        kind: ``open`` or ``commit``.
        tick: Through which it commits; 0 for ``open``.
        payload: What the sink keeps beside the tick; JSON's types only.
    """

    kind: Literal["open", "commit"]
    interval: KeyInterval
    generation: int
    tick: int
    payload: Any

    def encode(self) -> bytes:
        """The record's line, after a line break that ends whatever a killed writer left unfinished."""
        body = json.dumps(
            [VERSION, self.kind, *self.interval, self.generation, self.tick, self.payload], separators=(",", ":")
        ).encode()
        return b"\n%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Entry | None:
    """The record in a line; None if the line is none, or not whole."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    version, kind, low, high, generation, tick, payload = json.loads(body)
    if version != VERSION:
        raise SinkError(f"a commit log of version {version} cannot be read: this release reads version {VERSION}")
    return Entry(kind, KeyInterval(low, high), generation, tick, payload)


class CommitLogReader:
    """What a commit log says so far; reads on from where it stopped.

    Attributes:
        claims: Which generation owns which key groups, and their committed ticks, as of the last record read.
        offset: Of the first byte not yet read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claims: list[Claim] = []
        self.offset = 0

    def read(self, end: int | None = None) -> Iterator[Entry]:
        """The commits that count among the whole records before byte ``end`` (the file's end if None) not yet read."""
        for entry in self._entries(end):
            try:
                self.apply(entry)
            except FencedError:
                continue  # what an older generation has tried
            if entry.kind == "commit":
                yield entry

    def apply(self, entry: Entry) -> None:
        """Take over the next record's effect on the claims.

        Raises:
            FencedError: It has none, since a higher generation stands before it.
        """
        change = opened if entry.kind == "open" else partial(advanced, through=entry.tick)
        self.claims = change(self.claims, entry.interval, entry.generation)

    def _entries(self, end: int | None) -> Iterator[Entry]:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(-1 if end is None else end - self.offset)
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1  # what follows may still be under way
        self.offset += whole
        for line in data[:whole].split(b"\n"):
            if line and (entry := decode(line)) is not None:
                yield entry


class CommitLog:
    """A commit log, opened to write one key interval under one generation.

    Attributes:
        commits: Every commit that counted when the log was opened, of all writers, in order.
    """

    def __init__(self, path: Path, interval: KeyInterval, generation: int) -> None:
        """Raise the interval's generation and read what is committed, in one append.

        Raises:
            FencedError: A higher generation has opened some of the interval.
            SinkError: The file cannot be written.
        """
        self._interval, self._generation = interval, generation
        self._reader = CommitLogReader(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise SinkError(f"the commit record {path} cannot be opened: {error.strerror}") from error
        try:
            self.commits = self._append(Entry("open", interval, generation, 0, None))
        except BaseException:
            self.close()
            raise

    def committed(self) -> list[tuple[KeyInterval, int]]:
        """The committed tick of each piece of the writer's interval, as of its last call."""
        return committed(self._reader.claims, self._interval)

    def commit(self, through: int, payload: Any, *, sync: bool = False) -> None:
        """Commit through a tick, with what the sink keeps beside it; on disk afterwards if ``sync``.

        Raises:
            FencedError: A higher generation has opened some of the interval. The commit does not count.
            SinkError: No space, or the file is gone. The commit does not count.
        """
        self._append(Entry("commit", self._interval, self._generation, through, payload))
        if sync:
            os.fsync(self._fd)

    def close(self) -> None:
        """Release the file."""
        os.close(self._fd)

    def _append(self, entry: Entry) -> list[Entry]:
        """Append one record and read up to it: the commits between the last call and it."""
        line = entry.encode()
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise SinkError(f"the commit record {self._reader.path} cannot be written: {error.strerror}") from error
        if written < len(line):
            raise SinkError(f"the commit record {self._reader.path} cannot be written: no space left on the disk")
        end = os.lseek(self._fd, 0, os.SEEK_CUR)  # an append leaves the position behind what it wrote
        between = list(self._reader.read(end - len(line)))
        self._reader.offset = end
        self._reader.apply(entry)
        return between


def log_path(context: SinkContext, directory: Path) -> Path:
    """The commit log of one sink in one run."""
    return directory / f"{file_stem(context)}.commits"


def file_stem(context: SinkContext) -> str:
    """What the files of one sink in one run begin with; whatever the operator is called, a file may be."""
    return f"{quote(context.operator, safe=' ()')}-{quote(context.run_id, safe='')}"
