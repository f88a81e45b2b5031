"""Files as input: found by name, and cut into parts of equal size that begin and end where a line does."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TypeAlias

from elastic.connectors.globbing import matches
from elastic.connectors.lines import LineFormat, Segment
from elastic.errors import QueryError, SourceError

SPLIT_FROM_BYTES = 64 << 10
"""Smaller files are read whole by one instance: cutting them evens out nothing that anyone could measure."""

SNAP = 16
"""A cut that would fall within a sixteenth of a share from where a file begins falls there: parts may then differ by an
eighth, and none has a few lines of one file after all of another, whose times would be out of order."""

PathLike: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True)
class FilePatterns:
    """Which files a source reads.

    Attributes:
        source: Its name, for errors.
        patterns: Paths and globs.
        exclude: Paths that contain one of these texts, or match one that has ``*``, ``?`` or ``[``, are left out.
    """

    source: str
    patterns: tuple[str, ...]
    exclude: tuple[str, ...]

    def find(self) -> list[str]:
        """Absolute paths of all files that match, sorted, each once.

        Raises:
            SourceError: A pattern matches nothing, or what it names is a directory.
        """
        found: set[str] = set()
        for pattern in self.patterns:
            named, literal = self._matches(pattern)
            if not named:
                what = "no file matches" if glob.has_magic(pattern) else "there is no file"
                but = f" outside of exclude={list(self.exclude)}" if self.exclude else ""
                raise SourceError(f"{self.source}: {what} {pattern!r}{but} (looked in {Path.cwd()}); check the path")
            kept = [match for match in named if not self._excluded(match)]
            files = [match for match in kept if not Path(match).is_dir()]
            if kept and not files and literal:
                inside = str(Path(pattern, "*"))
                raise SourceError(
                    f"{self.source}: {pattern!r} is a directory; name the files in it, such as {inside!r}"
                )
            if kept and not files:
                raise SourceError(f"{self.source}: {pattern!r} matches only directories; '**/*' looks inside them too")
            found.update(map(os.path.abspath, files))  # Path.absolute would keep "..", and so read a file twice
        if not found:
            raise SourceError(
                f"{self.source}: exclude={list(self.exclude)} leaves out every file that {list(self.patterns)} match"
            )
        return sorted(found)

    def missing_folders(self) -> list[str]:
        """Folders without which a pattern cannot match, and that are not there."""
        folders = []
        for pattern in self.patterns:
            folder = Path(pattern).parent
            while glob.has_magic(str(folder)):
                folder = folder.parent
            folders += [] if folder.is_dir() else [str(folder)]
        return folders

    def look(self) -> dict[str, os.stat_result]:
        """The same of the files that are there now, which may be none, each with what the system says of it.

        Cost: about 7 µs for each.
        """
        named = [match for pattern in self.patterns for match in self._matches(pattern)[0] if not self._excluded(match)]
        found = {match if os.path.isabs(match) else os.path.abspath(match) for match in named}  # noqa: PTH100, PTH117 (as above)
        return dict(regular_files(sorted(found)))

    def absolute(self) -> FilePatterns:
        """The same files, wherever the working directory is."""
        return FilePatterns(self.source, tuple(os.path.abspath(p) for p in self.patterns), self.exclude)  # noqa: PTH100

    def segments(self) -> list[Segment]:
        """Each of the files that has something in it, whole.

        Raises:
            SourceError: There is nothing to read, or a file cannot be.
        """
        return [Segment(path, 0, size) for path in self.find() if (size := self.size_bytes(path))]

    def size_bytes(self, path: str) -> int:
        """Size of a file that can be read.

        Raises:
            SourceError: It cannot.
        """
        try:
            status = Path(path).stat()
        except OSError as error:
            hint = "fix it, or leave it out with exclude="
            raise SourceError(f"{self.source}: cannot read {path!r}: {error.strerror}; {hint}") from None
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(
                f"{self.source}: {path!r} is a pipe, socket or device; only regular files can be read again"
            )
        if not os.access(path, os.R_OK):
            raise SourceError(f"{self.source}: no permission to read {path!r}; grant it, or leave it out with exclude=")
        return status.st_size

    def _matches(self, pattern: str) -> tuple[list[str], bool]:
        """What a pattern matches, and whether it is a name: a name may contain what looks like a pattern."""
        literal = os.path.lexists(pattern)
        return ([pattern] if literal else list(matches(pattern, self._excludes_all_in))), literal

    def _excludes_all_in(self, folder: str) -> bool:
        """Whether whatever the folder holds is left out."""
        inside = folder + os.sep
        return any(
            e.endswith("*") and fnmatch.fnmatchcase(inside, e) if glob.has_magic(e) else e in inside
            for e in self.exclude
        )

    def _excluded(self, path: str) -> bool:
        return any(fnmatch.fnmatchcase(path, e) if glob.has_magic(e) else e in path for e in self.exclude)


def regular_files(paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Those of some paths that are files, each with what the system says of it; one may have gone meanwhile."""
    for path in paths:
        with suppress(OSError):
            status = os.stat(path)  # noqa: PTH116 (a Path would take three times as long, and there may be many)
            if stat.S_ISREG(status.st_mode):
                yield path, status


def as_patterns(source: str, paths: PathLike | Iterable[PathLike], exclude: str | Iterable[str]) -> FilePatterns:
    """What a user has written as the files of a source.

    Raises:
        QueryError: There is no path among it.
    """
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths or ())
    if not listed:
        raise QueryError(f"{source} needs at least one path or glob, such as 'logs/*.txt'")
    excluded = [exclude] if isinstance(exclude, str) else list(exclude)
    return FilePatterns(source, tuple(str(Path(p).expanduser()) for p in listed), tuple(excluded))


def without_headers(segments: Sequence[Segment], form: LineFormat) -> list[Segment]:
    """The records of each file that has any.

    Raises:
        SourceError: A file begins in another way than the others.
    """
    cut_off = [s._replace(start=form.header_bytes(s.path, first_line(s.path))) for s in segments]
    return [s for s in cut_off if s.start < s.end]


def first_line(path: str) -> bytes:
    """The first line of a file, at most a megabyte of it."""
    with Path(path).open("rb") as file:
        return file.readline(1 << 20)


def cut(files: Sequence[Segment], count: int) -> list[tuple[Segment, ...]]:
    """``count`` runs of segments; a cut falls between two lines of a large file, or between two files."""
    starts = list(accumulate((file.end - file.start for file in files), initial=0))
    total = starts[-1]

    def border(target: int) -> int:
        f = bisect_right(starts, target) - 1
        if f == len(files):  # there is nothing to read at all
            return total
        file = files[f]
        near = min(starts[f], starts[f + 1], key=lambda border: abs(border - target))
        if file.end - file.start < SPLIT_FROM_BYTES or abs(near - target) * count * SNAP <= total:
            return near
        return starts[f] + _next_line(file, target - starts[f])

    def run(low: int, high: int) -> Iterator[Segment]:
        for f in range(max(0, bisect_right(starts, low) - 1), bisect_left(starts, high)):
            start, end = max(low, starts[f]), min(high, starts[f + 1])
            if start < end:
                within = files[f].start - starts[f]
                yield Segment(files[f].path, start + within, end + within)

    borders = list(accumulate((border(total * i // count) for i in range(1, count)), max))  # a line may span many
    return [tuple(run(low, high)) for low, high in pairwise([0, *borders, total])]


def _next_line(file: Segment, offset: int) -> int:
    """Where, from the segment's start, the first line begins that does not begin before ``offset``; or its end."""
    if offset == 0:
        return 0
    with Path(file.path).open("rb") as opened:
        opened.seek(file.start + offset - 1)  # a line begins at the offset itself if the byte before it ends one
        opened.readline()
        return min(opened.tell(), file.end) - file.start
