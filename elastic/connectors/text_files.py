"""Text files as a source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from elastic.connectors.base import Partition, Rate, Source
from elastic.connectors.files import FilePatterns, PathLike, as_patterns, cut, without_headers
from elastic.connectors.follow import follow
from elastic.connectors.lines import LineFormat, LinePartition
from elastic.connectors.rate import RateLike, as_rate
from elastic.connectors.text_format import InvalidText, TextFormat
from elastic.errors import QueryError
from elastic.surface import surface


@surface
def text_files(
    paths: PathLike | Iterable[PathLike],
    *,
    rate: RateLike = None,
    repeat: int = 1,
    errors: InvalidText = "replace",
    follow: bool = False,
    exclude: str | Iterable[str] = (),
) -> LineFiles:
    r"""A source whose rows are the lines of UTF-8 text files, as ``str`` without the line's end.

    Lines end with ``\n`` or ``\r\n`` and nothing else; the last one needs no end. Files are read in order of name, each
    once however many patterns match it.

    Args:
        paths: A file or a glob, or several; ``**`` matches any number of directories.
        rate: Such as ``"4MiB/s"`` or ``"200k/s"`` (lines), over all files together; as fast as it goes if None.
        repeat: How often all of it is read.
        errors: What happens to a line that is not UTF-8: ``replace`` its bad bytes with U+FFFD, ``skip`` it, ``fail``
            the job, or ``divert`` it to the output ``errors``. All but the first of these are counted as failures.
        follow: Go on reading what is appended, and new files that match; the input then has no end.
        exclude: Leave out paths that contain one of these texts or, where it has ``*``, ``?`` or ``[``, match it.

    Raises:
        QueryError: An argument is none of the above. Files are looked for when the job starts, not here.
        UnitError: ``rate`` is no rate.
    """
    files = as_patterns("text_files", paths, exclude)
    if errors not in get_args(InvalidText):
        raise QueryError(f"text_files(errors={errors!r}): expected 'replace', 'skip', 'fail' or 'divert'")
    check_repeat("text_files", repeat, follow=follow)
    return LineFiles(files, TextFormat(errors), repeat, as_rate(rate), follow=follow)


def check_repeat(source: str, repeat: int, *, follow: bool) -> None:
    """Return if input can be read so often.

    Raises:
        QueryError: It is no number, or below 1; or the input has no end after which it could be read again.
    """
    if follow and repeat != 1:
        raise QueryError(f"{source}(repeat={repeat!r}, follow=True): what has no end is read once; leave one out")
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
        raise QueryError(f"{source}(repeat={repeat!r}): expected a whole number from 1 up")


class LineFiles(Source):
    """Lines of files in one format."""

    def __init__(
        self, files: FilePatterns, form: LineFormat, repeat: int, rate: Rate | None, *, follow: bool = False
    ) -> None:
        self.name = files.source
        self.files, self.form, self.repeat, self.rate, self.follow = files, form, repeat, rate, follow
        self.errors = form.errors

    def with_errors(self, errors: str) -> LineFiles:
        """The same lines, where bad ones are another matter."""
        return LineFiles(self.files, self.form.with_errors(errors), self.repeat, self.rate, follow=self.follow)

    def history(self) -> LineFiles:
        """The files that are there, without what will be appended to them."""
        return LineFiles(self.files, self.form, self.repeat, self.rate)

    def partitions(self, count: int) -> Sequence[Partition]:
        """Cut the files into ``count`` runs of about equal size, by name; or deal them out, if they are followed."""
        if self.follow:
            return follow(self.name, self.files, self.form.fitted(list(self.files.look())), count)
        files = self.files.segments()
        form = self.form.fitted([file.path for file in files])
        parts = cut(without_headers(files, form), count)
        return [LinePartition(f"{self.name}[{i}]", part, form, self.repeat) for i, part in enumerate(parts)]
