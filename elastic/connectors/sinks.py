"""Where results go: ``from elastic import sinks``, then ``.sink(sinks.sqlite("counts.db", table="counts"))``.

Every sink here but ``call`` is exactly once: a commit's rows and its tick become visible together or not at all, also
when a worker is killed in the middle, and a worker that was replaced can write no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from elastic.callables import check_function
from elastic.connectors.base import Rate, Sink, SinkContext, Writer
from elastic.connectors.call import CallSink, Delivery
from elastic.connectors.column_types import TypeLike, as_wanted
from elastic.connectors.csv_parts import CsvSink
from elastic.connectors.discard import DiscardSink
from elastic.connectors.json_lines import JsonLinesSink
from elastic.connectors.parquet_parts import ParquetSink
from elastic.connectors.rate import as_rate
from elastic.connectors.sqlite import SqliteSink
from elastic.connectors.sqlite_table import SqliteTable
from elastic.connectors.stdout import StdoutSink
from elastic.errors import QueryError
from elastic.surface import surface
from elastic.units import parse_duration_ms, parse_duration_s

__all__ = [
    "Delivery", "Sink", "SinkContext", "Writer", "call", "csv", "discard", "json_lines", "parquet", "sqlite", "stdout",
]  # fmt: skip

Compression: TypeAlias = Literal["zstd", "snappy", "gzip", "lz4", "none"]


@surface
def sqlite(
    path: str | os.PathLike[str],
    *,
    table: str,
    columns: Iterable[str] | None = None,
    upsert: bool | str = False,
    lock_timeout: str = "30s",
) -> SqliteSink:
    """A sink that writes rows into a table of a SQLite file, and creates both if they are missing.

    Rows are tuples, dicts or single values of None, bool, int (64 bits), float, str and bytes; NaN becomes NULL. A
    table that the sink creates has columns without a declared type, so that every value stays what it is. Beside it
    stand ``_elastic_commits`` and ``_elastic_runs``, the sink's own record. One instance writes, since SQLite has one
    writer at a time; the file must be on a local disk.

    When a run is verified, its rows are those appended since it began, or with ``upsert`` the table; if that had rows
    before, keys that the run was not expected to write are left out.

    Args:
        path: The database file; a relative path is taken from where the query is built.
        table: An existing table must have exactly the columns of the rows.
        columns: Names of a row's fields, in order. Left out: ``key`` and ``value`` for pairs, as keyed aggregates emit
            them, a dict's own keys for dicts, ``value`` for single values.
        upsert: True replaces the row that has the same first column, a name that which has the same value there; an
            existing table needs that column as its primary key. False appends.
        lock_timeout: How long a commit waits for other programs that write to the file; then the job fails.

    Raises:
        QueryError: An argument is none of the above.
        UnitError: ``lock_timeout`` is no duration.
    """
    names = _columns("sqlite", columns)
    if not table or table.startswith(("sqlite_", "_elastic_")):
        raise QueryError(f"sqlite(table={table!r}): expected a name, and none of SQLite's or the sink's own")
    if os.fspath(path) in ("", ":memory:"):
        raise QueryError("sqlite(path): a database in memory would be gone with its worker; name a file")
    if not isinstance(upsert, bool | str):
        raise QueryError(
            f"sqlite(upsert={upsert!r}): expected True, False or the name of one column; for a key of several columns, "
            "make one of them in a step before"
        )
    if isinstance(upsert, str) and names and upsert not in names:
        raise QueryError(f"sqlite(upsert={upsert!r}): expected one of the columns {', '.join(names)}")
    return SqliteSink(SqliteTable(_absolute(path), table, upsert, parse_duration_s(lock_timeout)), names)


@surface
def json_lines(
    directory: str | os.PathLike[str], *, columns: Iterable[str] | None = None, commit: str = "1s"
) -> JsonLinesSink:
    """A sink that writes files of JSON lines into a directory, which is created if it is missing.

    A part appears under its final name when it is complete, and is never changed: its name has the operator, the run,
    the key groups and the last tick, such as ``sink-RUN-00000-00256-000000000100.jsonl``. Every instance writes its own
    parts. The sub-directory ``.elastic`` holds the record of commits. The directory must be on a local disk.

    Rows are what JSON holds: dicts, lists and tuples, text, finite numbers, True, False, None.

    Args:
        directory: A relative path is taken from where the query is built.
        columns: Names of the fields of tuples, or which fields of dicts there must be; rows become objects. Left out:
            rows are written as they are, a pair as a list of two.
        commit: A part holds the rows of so long, or fewer at the end; what a reader sees is at most that old.

    Raises:
        QueryError: An argument is none of the above.
        UnitError: ``commit`` is no duration.
    """
    return JsonLinesSink(_absolute(directory), _columns("json_lines", columns), _period_ms("json_lines", commit))


@surface
def csv(
    directory: str | os.PathLike[str],
    *,
    columns: Iterable[str] | None = None,
    delimiter: str = ",",
    commit: str = "1s",
) -> CsvSink:
    """A sink that writes CSV files into a directory, in parts as ``json_lines`` does; each begins with a line of names.

    Rows are tuples, dicts or single values of None, bool, int, float, str, dates and times. None is written as nothing,
    text that is empty as ``""``.

    Args:
        directory: A relative path is taken from where the query is built.
        columns: Names of a row's fields, in order. Left out: ``key`` and ``value`` for pairs, as keyed aggregates emit
            them, a dict's own keys for dicts, ``value`` for single values.
        delimiter: One ASCII character.
        commit: A part holds the rows of so long, or fewer at the end, or where it grows past 32 MiB.

    Raises:
        QueryError: An argument is none of the above.
        UnitError: ``commit`` is no duration.
    """
    if not isinstance(delimiter, str) or len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise QueryError(f"csv(delimiter={delimiter!r}): expected one ASCII character, such as ',' or '\\t'")
    return CsvSink(_absolute(directory), _columns("csv", columns), _period_ms("csv", commit), delimiter)


@surface
def parquet(
    directory: str | os.PathLike[str],
    *,
    columns: Iterable[str] | None = None,
    types: Mapping[str, TypeLike] | None = None,
    compression: Compression = "zstd",
    commit: str = "10s",
) -> ParquetSink:
    """A sink that writes Parquet files into a directory, in parts as ``json_lines`` does.

    Rows are tuples, dicts or single values of anything that Arrow has a type for. Without ``types``, a column of a part
    has the type of its values there: two parts may differ, where one has 1 and the other 1.5.

    Args:
        directory: A relative path is taken from where the query is built.
        columns: Names of a row's fields, in order; left out as for ``csv``.
        types: Of some or all columns: str, int, float, bool, bytes, a name of Arrow's such as ``"timestamp[ms]"``, or a
            pyarrow type.
        compression: zstd, snappy, gzip, lz4 or none.
        commit: A part holds the rows of so long, or fewer at the end, or where it grows past 32 MiB in memory.

    Raises:
        QueryError: An argument is none of the above.
        UnitError: ``commit`` is no duration.
    """
    if compression not in get_args(Compression):
        raise QueryError(f"parquet(compression={compression!r}): expected one of {', '.join(get_args(Compression))}")
    names, given = _columns("parquet", columns), as_wanted("parquet", columns, types).types
    return ParquetSink(_absolute(directory), names, _period_ms("parquet", commit), given, compression)


@surface
def call(
    function: Callable[[Delivery], Any],
    *,
    every: str | None = None,
    parallel: bool = True,
    accepts: Callable[[Any], Any] | None = None,
) -> CallSink:
    """A sink that hands rows to a function: **at least once**, since nobody can know of a call that was cut short.

    The function gets a ``Delivery``: its rows, their tick, and a token. After a failure it may be called again with the
    same rows; then the token is the same too, so that a target can tell that it has seen them. A call that returned
    before the worker noted it is repeated, and no other: rows come in the order of their ticks, and the next call comes
    when the one before it has returned. What it returns is not looked at; if it raises, the job fails.

    Args:
        function: Takes a ``Delivery``. It runs on the workers, in a thread of its own.
        every: Such as ``"1s"``: one call for the rows of so long; None makes one for each tick that has rows.
        parallel: Several instances call at once, each for its own key groups; False has only one.
        accepts: Takes a row, and raises if the function could not take it: what becomes of the row then is said by
            ``on_error`` of ``Stream.sink``. It runs before, maybe in another process, and must look at the row alone.

    Raises:
        QueryError: An argument is none of the above.
        UnitError: ``every`` is no duration.
    """
    check_function("sinks.call", function, called="a Delivery")
    if accepts is not None:
        check_function("sinks.call: accepts", accepts)
    return CallSink(function, 0 if every is None else _period_ms("call", every, "every"), parallel, accepts)


def stdout() -> StdoutSink:
    """A sink that prints each row on a line: a tuple's fields with tabs between them, anything else as ``str`` of it.

    Workers record the lines in the job directory, and the command prints them once they are committed.
    """
    return StdoutSink()


@surface
def discard(*, rate: Rate | str | None = None) -> DiscardSink:
    """A sink that keeps no row, only how many there were and a checksum, by which the run can still be verified.

    Args:
        rate: Such as ``"10k/s"``: each instance takes no more rows than that, for trying out backpressure.

    Raises:
        QueryError: The rate is not one of records.
        UnitError: ``rate`` is no rate.
    """
    limit = as_rate(rate)
    if limit and (limit.unit != "records" or limit.phases):
        raise QueryError(f"discard(rate={rate!r}): expected rows a second, such as 10k/s")
    return DiscardSink(limit)


def _period_ms(sink: str, written: str, argument: str = "commit") -> int:
    """The duration that was written."""
    period_ms = parse_duration_ms(written)
    if period_ms == 0:
        raise QueryError(f"{sink}({argument}={written!r}): expected a duration above zero, such as 1s")
    return period_ms


def _absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root: workers have a working directory of their own."""
    return Path(path).expanduser().absolute()


def _columns(sink: str, columns: Iterable[str] | None) -> tuple[str, ...] | None:
    """The names as a tuple."""
    if columns is None:
        return None
    names = tuple([columns] if isinstance(columns, str) else columns)
    if not names or not all(isinstance(n, str) and n for n in names) or len({n.lower() for n in names}) < len(names):
        raise QueryError(f"{sink}(columns={columns!r}): expected at least one name, and none twice")
    return names
