"""Files that grow: what is appended is read, and so are files that come later and match the patterns.

A file is known by what it is and not by its name: one that is renamed is read on, and one that takes its name is
another. The records between two positions are runs of whole lines in files that can be found again, and a file that has
changed behind its reader is noticed instead of being read as something else.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elastic.batch import Column
from elastic.connectors.base import Chunk, Partition, Position, Reader
from elastic.connectors.file_identity import (
    HEAD_BYTES,
    FileId,
    Mark,
    Places,
    checksum,
    identity,
    inode_of,
    marks_of,
    position_of,
)
from elastic.connectors.files import FilePatterns
from elastic.connectors.lines import (
    READ_AT_MOST_BYTES,
    LineFormat,
    Piece,
    chunk_of,
    first_lines,
    lines_of,
    pread,
    told,
    told_of,
)
from elastic.errors import SourceError
from elastic.keys import key_hash
from elastic.units import counted

SCAN_S, SCAN_SHARE = 0.5, 20
"""New files are looked for so often; where there are very many, for a twentieth of the time at most."""

QUIET_S = 2.0
"""A file that has lost its name and did not grow for so long has ended; its last line then needs no end."""


@dataclass(frozen=True, slots=True)
class FollowPartition(Partition):
    """The files of one share: those of the start as they were dealt out, others by inode.

    Attributes:
        share: Which share this is, and of how many.
        dealt: Device and inode of each file of the start, and its share.
    """

    name: str
    files: FilePatterns
    format: LineFormat
    share: tuple[int, int]
    dealt: tuple[tuple[int, int, int], ...]

    def open(self) -> FollowReader:
        """A reader before the first line of every file."""
        return FollowReader(self)


def follow(name: str, files: FilePatterns, form: LineFormat, count: int) -> list[FollowPartition]:
    """The files of now dealt out in order of name; whoever owns an inode keeps it, whatever it is called later."""
    files = files.absolute()
    dealt = tuple((*inode_of(status), n % count) for n, status in enumerate(files.look().values()))
    return [FollowPartition(f"{name}[{i}]", files, form, (i, count), dealt) for i in range(count)]


class _Tail:
    """A file that is being read; open until it has no name any more and nothing to read."""

    def __init__(self, path: str, file: int, mark: Mark | None) -> None:
        self.path, self.file, self.inode = path, file, inode_of(os.fstat(file))
        self.mark = mark
        self.truncated = mark.file.truncated if mark else 0
        self.size_bytes, self.grew_at = -1, 0.0
        self._counted = (0, 1)  # offset and line number of the line that was asked for last

    @property
    def offset(self) -> int:
        """Bytes read."""
        return 0 if self.mark is None else self.mark.offset

    def line_at(self, offset: int) -> int:
        """Number of the line that begins there, from 1; reads what was not counted yet."""
        at, line = self._counted if self._counted[0] <= offset else (0, 1)
        while at < offset:
            block = pread(self.file, min(1 << 20, offset - at), at)
            if not block:
                break
            line, at = line + block.count(b"\n"), at + len(block)
        self._counted = offset, line
        return line


class FollowReader(Reader):
    """Reads what is there of every file, in the order in which they were found; never finished."""

    start: Position = []  # noqa: RUF012 (a position is a value: nobody changes one)

    def __init__(self, partition: FollowPartition, clock: Callable[[], float] = time.monotonic) -> None:
        self._partition, self._files, self._format = partition, partition.files, partition.format
        self._clock, self._places = clock, Places(self._files)
        self._dealt = {(device, inode): share for device, inode, share in partition.dealt}
        self._tails: list[_Tail] = []
        self._next_scan = 0.0
        self._line_bytes = 64.0
        self._notices: list[str] = []
        self._has_scanned = False

    # -- the contract --------------------------------------------------------------------------------------------------

    def seek(self, position: Position) -> None:
        """Go on behind what was read of each file; of one that is gone, the rest is lost."""
        self.close()
        self._tails, self._next_scan = [], 0.0
        marks = marks_of(position)
        found = self._find([mark.file for mark in marks])
        for mark in marks:
            if mark.file in found:
                self._tails.append(_Tail(*found[mark.file], mark))
            else:
                self._notices.append(
                    f"{self._format.source}: a file that was read up to byte {mark.offset} is gone (inode "
                    f"{mark.file.inode}); if it had more, that is lost"
                )

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """Whole lines that are there now, of about ``limit_bytes`` in all; a line without its end is left for later."""
        self._scan()
        limit = max(1, min(limit_bytes, READ_AT_MOST_BYTES))
        if limit_records is not None:
            limit = min(limit, int(1.25 * self._line_bytes * limit_records) + 1)
        read: list[tuple[_Tail, Piece]] = []
        size_bytes, left_records = 0, limit_records
        unread = deque(self._tails)
        while unread and size_bytes < limit and (left_records is None or left_records > 0):
            tail = unread.popleft()
            if self._is_another(tail):
                self._start_over(tail)
                unread.append(tail)
                continue
            if (piece := self._new_lines(tail, limit - size_bytes)) is None:
                continue
            if left_records is not None:
                (piece,) = first_lines([piece], left_records)
                left_records -= piece.text.count(b"\n")
            read.append((tail, piece))
            size_bytes += piece.end - piece.start
        if not read:
            return None
        chunk = self._parsed(read, size_bytes)
        for tail, piece in read:
            file = tail.mark.file if tail.mark else identity(tail.file, min(HEAD_BYTES, piece.end), tail.truncated)
            tail.mark = Mark(file, piece.end, checksum(piece, tail.mark))
        self._line_bytes += 0.2 * (size_bytes / max(1, chunk.records) - self._line_bytes)
        return replace(chunk, position=position_of([tail.mark for tail in self._tails if tail.mark]))

    def reread(self, start: Position, end: Position) -> Column | Chunk:
        """The lines by which the files were read on between two positions."""
        before = {mark.file: mark for mark in marks_of(start)}
        grown = [
            mark for mark in marks_of(end) if mark.offset > (known.offset if (known := before.get(mark.file)) else 0)
        ]
        tails = {tail.mark.file: tail for tail in self._tails if tail.mark}
        found = self._find([mark.file for mark in grown if mark.file not in tails])
        try:
            tails |= {file: _Tail(*place, None) for file, place in found.items()}
            read = [self._read_again(mark, before.get(mark.file), tails.get(mark.file)) for mark in grown]
            chunk = self._parsed(read, 0)
        finally:
            for _, file in found.values():
                os.close(file)
        return chunk if chunk.malformed else chunk.rows

    def notices(self) -> Sequence[str]:
        """Files that were truncated, replaced or are gone; folders that are not there yet."""
        told, self._notices = self._notices, []
        return told

    def close(self) -> None:
        """Close all files."""
        for tail in self._tails:
            os.close(tail.file)
        self._tails = []

    # -- which files there are -----------------------------------------------------------------------------------------

    def _scan(self) -> None:
        """Find new files; forget those that have no name any more, once they are read to their end."""
        now = self._clock()
        if now < self._next_scan:
            return
        if not self._has_scanned and not self._partition.share[0]:  # one of the partitions says it for all
            self._notices += [
                f"{self._format.source}: there is no folder {folder!r} yet; files are read once there is"
                for folder in self._files.missing_folders()
            ]
        self._has_scanned = True
        self._forget(now)
        known = {tail.inode for tail in self._tails}
        for path, status in self._files.look().items():
            if status.st_size and inode_of(status) not in known and self._is_mine(status):
                known.add(inode_of(status))
                try:
                    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise self._refused(error, len(self._tails)) from None
                self._tails.append(_Tail(path, file, None))
        now, took_s = self._clock(), self._clock() - now
        self._next_scan = now + max(SCAN_S, SCAN_SHARE * took_s)

    def _forget(self, now: float) -> None:
        """Close what was deleted and read to its end; a file that only has another name may still grow."""
        for tail in list(self._tails):
            status = os.fstat(tail.file)
            ended = status.st_nlink == 0 and tail.offset >= status.st_size
            if ended and now - tail.grew_at >= QUIET_S:
                os.close(tail.file)
                self._tails.remove(tail)

    def _find(self, files: Sequence[FileId]) -> dict[FileId, tuple[str, int]]:
        """Path and open file of those that are there, wherever they were renamed to within their directories."""
        try:
            return self._places.opened(files)
        except OSError as error:
            raise self._refused(error, len(files)) from None

    def _is_mine(self, status: os.stat_result) -> bool:
        share, of = self._partition.share
        return self._dealt.get(inode_of(status), key_hash(status.st_ino) % of) == share

    def _refused(self, error: OSError, followed: int) -> SourceError:
        """What to say of a file that cannot be opened, where so many are followed."""
        advice = "fix it, or leave it out with exclude="
        if error.errno == errno.EMFILE:
            are = "is" if followed == 1 else "are"
            here = f"{counted(followed, 'file')} {are} followed here"
            advice = f"{here}; raise ulimit -n, or move away those that have ended"
        return SourceError(f"{self._format.source}: cannot read {error.filename!r}: {error.strerror}; {advice}")

    # -- what is in them -----------------------------------------------------------------------------------------------

    def _new_lines(self, tail: _Tail, limit_bytes: int) -> Piece | None:
        """Whole lines behind what was read of a file; None if there are none yet."""
        if tail.size_bytes <= tail.offset:
            return None
        start = tail.offset or self._header_bytes(tail)
        while True:
            text = pread(tail.file, min(limit_bytes, tail.size_bytes - start), start)
            if whole := text.rfind(b"\n") + 1:
                return Piece(text[:whole], start, start + whole)
            if start + len(text) >= tail.size_bytes or limit_bytes >= READ_AT_MOST_BYTES:
                break
            limit_bytes = min(max(2 * limit_bytes, 4096), READ_AT_MOST_BYTES)
        if limit_bytes >= READ_AT_MOST_BYTES:
            raise SourceError(
                f"{self._format.source}: {tail.path!r}: a line at byte {start} is longer than 1 GiB; is this text?"
            )
        ended = text and self._has_lost_its_name(tail) and self._clock() - tail.grew_at >= QUIET_S
        return Piece(text + b"\n", start, start + len(text)) if ended else None

    def _header_bytes(self, tail: _Tail) -> int:
        """Where the first record begins; 0 as long as the first line has no end."""
        head = pread(tail.file, 1 << 20, 0)
        line = head[: head.find(b"\n") + 1]
        return self._format.header_bytes(tail.path, line) if line else 0

    def _is_another(self, tail: _Tail) -> bool:
        """Whether what was read of a file is not what it begins with any more; looks how large it is by now."""
        size_bytes = os.lseek(tail.file, 0, os.SEEK_END)  # in a fifth of the time that fstat takes
        if size_bytes != tail.size_bytes:
            tail.size_bytes, tail.grew_at = size_bytes, self._clock()
        if tail.mark is None or size_bytes == tail.offset:
            return False
        known = tail.mark.file
        return size_bytes < tail.offset or identity(tail.file, known.head_bytes, known.truncated) != known

    def _start_over(self, tail: _Tail) -> None:
        self._notices.append(
            f"{self._format.source}: {tail.path!r} was truncated after {tail.offset} bytes of it were read (it has "
            f"{tail.size_bytes} now); it is read from its start, and what was appended before and not yet read is lost"
        )
        tail.mark, tail.truncated = None, tail.truncated + 1
        self._tails.remove(tail)
        self._tails.append(tail)  # a file of its own from now on, found after the others

    def _has_lost_its_name(self, tail: _Tail) -> bool:
        """Whether the path is gone, or another file's."""
        try:
            return inode_of(Path(tail.path).stat()) != tail.inode
        except OSError:
            return True

    def _read_again(self, mark: Mark, before: Mark | None, tail: _Tail | None) -> tuple[_Tail, Piece]:
        """The lines of a file between two marks."""
        start = before.offset if before else 0
        if tail is not None:
            start = start or self._header_bytes(tail)
            text = pread(tail.file, mark.offset - start, start)
            piece = Piece(text if text.endswith(b"\n") else text + b"\n", start, mark.offset)
            if len(text) == mark.offset - start and checksum(piece, before) == mark.checksum:
                return tail, piece
        raise SourceError(
            f"{self._format.source}: bytes {start} to {mark.offset} of a followed file are needed again, but it is "
            f"gone, or they have changed ({tail.path if tail else f'inode {mark.file.inode}'}); leave rotated files "
            "beside the others, as they are, until a checkpoint has covered them"
        )

    def _parsed(self, read: Sequence[tuple[_Tail, Piece]], size_bytes: int) -> Chunk:
        """What was read of some files; its position is not told."""
        pieces = [piece for _, piece in read]
        parsed = self._format.parse(b"".join([piece.text for piece in pieces]))
        bad = lines_of(pieces, told_of(self._format, parsed))
        placed = [(line, self._name(read[n][0]), read[n][0].line_at(at), at) for n, at, line in bad]
        return chunk_of(self._format, parsed, [], size_bytes, told(self._format, placed))

    def _name(self, tail: _Tail) -> str:
        """What a file is called where a bad line is told of; a diverted one is the same however the file is renamed."""
        return f"inode {tail.inode[1]}" if self._format.errors == "divert" else tail.path
