"""Text files as a source: found by name, and cut into parts of equal size that begin and end where a line does."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import get_args

from elastic.connectors.base import Rate, Source
from elastic.connectors.rate import RateLike, as_rate
from elastic.connectors.text_reader import InvalidText, Segment, TextPartition
from elastic.errors import QueryError, SourceError

SPLIT_FROM_BYTES = 64 << 10
"""Smaller files are read whole by one instance: cutting them evens out nothing that anyone could measure."""


def text_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    rate: RateLike = None,
    repeat: int = 1,
    errors: InvalidText = "replace",
    exclude: str | Iterable[str] = (),
) -> TextFiles:
    r"""A source whose rows are the lines of UTF-8 text files, as ``str`` without the line's end.

    Lines end with ``\n`` or ``\r\n`` and nothing else; the last one needs no end. Files are read in order of name, each
    once however many patterns match it.

    Args:
        paths: A file or a glob, or several; ``**`` matches any number of directories.
        rate: Such as ``"4MiB/s"`` or ``"200k/s"`` (lines), over all files together; as fast as it goes if None.
        repeat: How often all of it is read.
        errors: What happens to a line that is not UTF-8: ``replace`` its bad bytes with U+FFFD, ``skip`` it, ``fail``
            the job. Replaced and skipped lines are counted.
        exclude: Leave out paths that contain one of these texts or, where it has ``*``, ``?`` or ``[``, match it.

    Raises:
        QueryError: An argument is none of the above. Files are looked for when the job starts, not here.
        UnitError: ``rate`` is no rate.
    """
    listed = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    excluded = [exclude] if isinstance(exclude, str) else list(exclude)
    if not listed:
        raise QueryError("text_files needs at least one path or glob, such as 'logs/*.txt'")
    if errors not in get_args(InvalidText):
        raise QueryError(f"text_files(errors={errors!r}): expected 'replace', 'skip' or 'fail'")
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise QueryError(f"text_files(repeat={repeat!r}): expected a whole number from 1 up")
    patterns = tuple(str(Path(p).expanduser()) for p in listed)
    return TextFiles(patterns, tuple(excluded), repeat, errors, as_rate(rate))


class TextFiles(Source):
    """Lines of files; made by ``text_files``."""

    name = "text_files"

    def __init__(
        self, patterns: Sequence[str], exclude: Sequence[str], repeat: int, errors: InvalidText, rate: Rate | None
    ) -> None:
        self.patterns, self.exclude, self.repeat, self.errors = patterns, exclude, repeat, errors
        self.rate = rate

    def partitions(self, count: int) -> Sequence[TextPartition]:
        """Cut the files into ``count`` runs of about equal size, by name; what is appended later is not read."""
        files = [(path, _readable_size(path)) for path in find_files(self.patterns, self.exclude)]
        parts = _cut([f for f in files if f[1]], count)
        return [TextPartition(f"{self.name}[{i}]", part, self.repeat, self.errors) for i, part in enumerate(parts)]


def find_files(patterns: Iterable[str], exclude: Iterable[str] = ()) -> list[str]:
    """Absolute paths of all files that match, sorted, each once.

    Raises:
        SourceError: A pattern matches nothing, or what it names is a directory.
    """
    found: set[str] = set()
    for pattern in patterns:
        literal = os.path.lexists(pattern)  # a name may contain what looks like a pattern
        matches = [pattern] if literal else glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path has no `**/x` alike)
        if not matches:
            what = "no file matches" if glob.has_magic(pattern) else "there is no file"
            raise SourceError(f"text_files: {what} {pattern!r} (looked in {Path.cwd()}); check the path")
        kept = [match for match in matches if not _excluded(match, exclude)]
        files = [match for match in kept if not Path(match).is_dir()]
        if kept and not files and literal:
            inside = str(Path(pattern, "*"))
            raise SourceError(f"text_files: {pattern!r} is a directory; name the files in it, such as {inside!r}")
        if kept and not files:
            raise SourceError(f"text_files: {pattern!r} matches only directories; '**/*' looks inside them too")
        found.update(map(os.path.abspath, files))  # Path.absolute would keep "..", and so read a file twice
    if not found:
        raise SourceError(f"text_files: exclude={list(exclude)} leaves out every file that {list(patterns)} match")
    return sorted(found)


def _excluded(path: str, exclude: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, e) if glob.has_magic(e) else e in path for e in exclude)


def _readable_size(path: str) -> int:
    try:
        status = Path(path).stat()
    except OSError as error:
        hint = "fix it, or leave it out with exclude="
        raise SourceError(f"text_files: cannot read {path!r}: {error.strerror}; {hint}") from None
    if not stat.S_ISREG(status.st_mode):
        raise SourceError(f"text_files: {path!r} is a pipe, socket or device; only regular files can be read again")
    if not os.access(path, os.R_OK):
        raise SourceError(f"text_files: no permission to read {path!r}; grant it, or leave it out with exclude=")
    return status.st_size


def _cut(files: Sequence[tuple[str, int]], count: int) -> list[tuple[Segment, ...]]:
    """``count`` runs of segments; a cut falls between two lines of a large file, or between two files."""
    starts = list(accumulate((size for _, size in files), initial=0))
    total = starts[-1]

    def cut(target: int) -> int:
        f = bisect_right(starts, target) - 1
        if f == len(files):  # there is nothing to read at all
            return total
        path, size = files[f]
        if size < SPLIT_FROM_BYTES:
            return min(starts[f], starts[f + 1], key=lambda border: abs(border - target))
        return starts[f] + _next_line(path, target - starts[f], size)

    def run(low: int, high: int) -> Iterator[Segment]:
        for f in range(max(0, bisect_right(starts, low) - 1), bisect_left(starts, high)):
            start, end = max(low, starts[f]), min(high, starts[f + 1])
            if start < end:
                yield Segment(files[f][0], start - starts[f], end - starts[f])

    cuts = [cut(total * i // count) for i in range(1, count)]  # ascending, as every step above keeps order
    return [tuple(run(low, high)) for low, high in pairwise([0, *cuts, total])]


def _next_line(path: str, offset: int, size: int) -> int:
    """Where the first line begins that does not begin before ``offset``; ``size`` if none does."""
    if offset == 0:
        return 0
    with Path(path).open("rb") as file:
        file.seek(offset - 1)  # a line begins at the offset itself if the byte before it ends one
        file.readline()
        return min(file.tell(), size)
