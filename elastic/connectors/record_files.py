"""Files of records with named columns as a source: JSON lines and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from elastic.connectors.column_types import TypeLike, as_wanted
from elastic.connectors.csv_format import CsvFormat
from elastic.connectors.files import PathLike, as_patterns
from elastic.connectors.json_format import JsonFormat
from elastic.connectors.lines import InvalidRecord
from elastic.connectors.rate import RateLike, as_rate
from elastic.connectors.text_files import LineFiles, check_repeat
from elastic.errors import QueryError
from elastic.surface import surface


@surface
def json_lines(
    paths: PathLike | Iterable[PathLike],
    *,
    columns: Iterable[str] | None = None,
    types: Mapping[str, TypeLike] | None = None,
    errors: InvalidRecord = "fail",
    rate: RateLike = None,
    repeat: int = 1,
    follow: bool = False,
    exclude: str | Iterable[str] = (),
) -> LineFiles:
    """A source whose rows are the JSON objects of files with one in each line, as dicts, or as one Arrow struct column.

    The columns and their types are told from the start of the first files when the job starts, and stay what they are.
    A field that an object lacks is None. Text that looks like a time stays text. Blank lines are left out.

    Args:
        paths: A file or a glob, or several; ``**`` matches any number of directories.
        columns: Only these fields of the objects; others are then passed over. All if None, and a field that is not in
            the first lines is then an error of its line.
        types: Of some or all columns: str, int, float, bool, a name of Arrow's such as ``"timestamp[ms]"``, or a
            pyarrow type. If all ``columns`` have one, the files are not looked at.
        errors: What happens to a line that is no such object: ``fail`` the job with file, line and what was expected,
            ``skip`` it, or ``divert`` it to the output ``errors``; skipped and diverted lines are counted.
        rate: Such as ``"4MiB/s"`` or ``"200k/s"`` (lines), over all files together; as fast as it goes if None.
        repeat: How often all of it is read.
        follow: Go on reading what is appended, and new files that match; the input then has no end.
        exclude: Leave out paths that contain one of these texts or, where it has ``*``, ``?`` or ``[``, match it.

    Raises:
        QueryError: An argument is none of the above. Files are looked for when the job starts, not here.
        UnitError: ``rate`` is no rate.
    """
    files = as_patterns("json_lines", paths, exclude)
    _check("json_lines", errors, repeat, follow=follow)
    form = JsonFormat(as_wanted("json_lines", columns, types), errors)
    return LineFiles(files, form, repeat, as_rate(rate), follow=follow)


@surface
def csv(
    paths: PathLike | Iterable[PathLike],
    *,
    columns: Iterable[str] | None = None,
    types: Mapping[str, TypeLike] | None = None,
    names: Sequence[str] | None = None,
    delimiter: str = ",",
    errors: InvalidRecord = "fail",
    rate: RateLike = None,
    repeat: int = 1,
    follow: bool = False,
    exclude: str | Iterable[str] = (),
) -> LineFiles:
    """A source whose rows are the records of CSV files, as dicts, or as one Arrow struct column.

    Each record is one line. The types of the columns are told from the start of the first file when the job starts, and
    stay what they are: int64, double, bool or string; dates and times are text unless ``types`` says otherwise. A value
    that is missing is None, or empty where the column is text.

    Args:
        paths: A file or a glob, or several; ``**`` matches any number of directories.
        columns: Only these columns, in this order; all if None.
        types: Of some or all columns, as for ``json_lines``.
        names: The columns of files without a line of names; None takes them from the first line, which must be the same
            in every file.
        delimiter: One character. Values that hold one, or a quote, are quoted with ``"``.
        errors: What happens to a line with another number of values, or one that does not fit its column: ``fail`` the
            job with file, line and what was expected, ``skip`` it, or ``divert`` it to the output ``errors``; skipped
            and diverted lines are counted.
        rate: Such as ``"4MiB/s"`` or ``"200k/s"`` (lines), over all files together; as fast as it goes if None.
        repeat: How often all of it is read.
        follow: Go on reading what is appended, and new files that match; the input then has no end.
        exclude: Leave out paths that contain one of these texts or, where it has ``*``, ``?`` or ``[``, match it.

    Raises:
        QueryError: An argument is none of the above. Files are looked for when the job starts, not here.
        UnitError: ``rate`` is no rate.
    """
    files = as_patterns("csv", paths, exclude)
    _check("csv", errors, repeat, follow=follow)
    given = as_wanted("csv", names, None).columns
    if not isinstance(delimiter, str) or len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise QueryError(f"csv(delimiter={delimiter!r}): expected one ASCII character, such as ',' or '\\t'")
    wanted = as_wanted("csv", columns, types)
    if given is not None and (odd := [name for name in wanted.columns or () if name not in given]):
        raise QueryError(f"csv(columns=…): {odd[0]!r} is not among names={list(given)}")
    form = CsvFormat(wanted, errors, delimiter, header=given is None, names=given)
    return LineFiles(files, form, repeat, as_rate(rate), follow=follow)


def _check(source: str, errors: str, repeat: int, *, follow: bool) -> None:
    if errors not in get_args(InvalidRecord):
        raise QueryError(f"{source}(errors={errors!r}): expected 'fail', 'skip' or 'divert'")
    check_repeat(source, repeat, follow=follow)
