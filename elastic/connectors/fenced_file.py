"""An append-only local file that one writer at a time owns: a newer generation takes it over, and a zombie learns so.

No lock is held that a hung process could keep. The order of the records in the file decides: whoever opens the file
appends a *start*, admitted unless a higher generation started before, and an *entry* counts if its writer is the latest
one admitted. A writer looks where its record landed; if anything lies between that and its previous record, it reads
that, and if another writer was admitted there, it knows that its own record does not count, as every reader does.
So an append returns if and only if the entry counts.

A record is ``magic (4 bytes) | length (4, big-endian) | crc32 (4) | body | newline``; length and checksum are those of
the body, which is msgpack: ``[START, writer, generation]`` or ``[ENTRY, writer, entry]``. The magic's last byte is the
version of this format. A record that was cut short (a full disk, a kill in the middle of a write) is skipped: readers
go on where magic, checksum and newline fit again. The newline is there so that a record which lacks its last bytes is
never completed by the magic of the next.
"""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import msgpack

from elastic.connectors.durability import sync_path
from elastic.errors import FencedError, SinkError

VERSION = 1

_MAGIC = b"\xe1FF" + bytes([VERSION])
_HEADER = struct.Struct(">4sII")
_END = b"\n"
_START, _ENTRY = 0, 1


class FencedFile:
    """The file, opened for appending by one generation; used from one thread.

    Attributes:
        recovered: The entries that counted when it was opened, in order.
    """

    def __init__(self, path: Path, generation: int, *, sync: bool = False) -> None:
        """Take the file over from every lower generation; create it where there is none.

        The same generation may open it again, and so fences its former self.

        Args:
            path: The file; its directory must exist.
            generation: Of the writer, from 0.
            sync: Have every append on the disk before it returns: it then survives the machine, not only the process.

        Raises:
            FencedError: A higher generation has started before.
            SinkError: The file cannot be created or written, or it is another kind of file.
        """
        self.path, self.generation = path, generation
        self._sync = sync
        self._writer = secrets.randbits(63)
        self._end = 0  # of this writer's newest record
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SinkError(f"cannot open {str(path)!r} for writing: {error.strerror}") from None
        try:
            self.recovered = self._take_over()
        except BaseException:
            os.close(self._file)
            raise

    def append(self, entry: Any) -> None:
        """Add ``entry`` (of msgpack's types) after everything that counts so far.

        Raises:
            FencedError: A newer writer has taken over. The entry does not count, and no later one will.
            SinkError: It could not be written whole, and does not count; or, with ``sync``, it may not survive the
                machine: open the file again to see whether it counts.
        """
        start, end = self._write(_ENTRY, entry)
        if start != self._end:
            self._look_back(start)
        self._end = end

    @property
    def size_bytes(self) -> int:
        """Size of the file as of this writer's newest record."""
        return self._end

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)

    def _take_over(self) -> list[Any]:
        """Append the start; the entries before it that count."""
        _check_format(self.path, os.pread(self._file, len(_MAGIC), 0))
        started, self._end = self._write(_START, self.generation)
        history = _History()
        entries = list(history.entries(self._between(0, started)))
        if history.generation > self.generation:
            raise self._fenced(history.generation)
        if self._sync:
            sync_path(self.path.parent)
        return entries

    def _write(self, kind: int, value: Any) -> tuple[int, int]:
        """Append one record; where it begins and ends in the file."""
        body = msgpack.packb((kind, self._writer, value))
        record = b"".join((_HEADER.pack(_MAGIC, len(body), crc32(body)), body, _END))
        try:
            written = os.write(self._file, record)  # the kernel appends what one call writes in one piece
            if self._sync:
                os.fsync(self._file)
        except OSError as error:
            raise SinkError(f"cannot write {str(self.path)!r}: {error.strerror}; see to that and run again") from None
        if written < len(record):  # the rest could land behind another writer's record
            problem = f"only {written} of {len(record)} bytes could be written"
            raise SinkError(f"cannot write {str(self.path)!r}: {problem}; free space on its disk and run again")
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        return end - len(record), end

    def _look_back(self, until: int) -> None:
        """Read what others wrote between the previous record of this writer and its newest."""
        for kind, _, value in _bodies(self._between(self._end, until)):
            if kind == _START and value >= self.generation:
                raise self._fenced(value)

    def _between(self, start: int, end: int) -> bytes:
        content = bytearray()
        while start < end and (block := os.pread(self._file, end - start, start)):
            content += block
            start += len(block)
        return bytes(content)

    def _fenced(self, generation: int) -> FencedError:
        return FencedError(
            f"{str(self.path)!r} was opened by generation {generation}: generation {self.generation} must stop writing"
        )


def read_entries(path: Path) -> list[Any]:
    """The entries that count, in order; of a file that is being written, those so far.

    Raises:
        SinkError: It cannot be read, or it is another kind of file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SinkError(f"cannot read {str(path)!r}: {error.strerror}") from None
    _check_format(path, content)
    return list(_History().entries(content))


class _History:
    """Who the latest admitted writer is, reading from the start of a file."""

    def __init__(self) -> None:
        self.generation = self.writer = -1

    def entries(self, content: bytes) -> Iterator[Any]:
        for kind, writer, value in _bodies(content):
            if kind == _ENTRY and writer == self.writer:
                yield value
            elif kind == _START and value >= self.generation:
                self.generation, self.writer = value, writer


def _bodies(content: bytes) -> Iterator[tuple[int, int, Any]]:
    """The bodies of all whole records, whatever lies between them."""
    view = memoryview(content)
    at = content.find(_MAGIC)
    while 0 <= at <= len(content) - _HEADER.size:
        _, length, checksum = _HEADER.unpack_from(content, at)
        body, end = at + _HEADER.size, at + _HEADER.size + length
        if content[end : end + 1] == _END and crc32(view[body:end]) == checksum:
            yield msgpack.unpackb(view[body:end], strict_map_key=False)
            at = content.find(_MAGIC, end + 1)
        else:
            at = content.find(_MAGIC, at + 1)


def _check_format(path: Path, head: bytes) -> None:
    """Refuse what no writer of this version began; a file may still be empty, or its first record cut short."""
    head = head[: len(_MAGIC)]
    if _MAGIC.startswith(head):
        return
    if head[:-1] == _MAGIC[:-1]:
        raise SinkError(f"{str(path)!r} has format {head[-1]}, this release reads {VERSION}: use the one that wrote it")
    raise SinkError(f"{str(path)!r} is another kind of file; move it away or choose another directory")
