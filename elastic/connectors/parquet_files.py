"""Parquet files as a source: columns as they are, row group by row group."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from elastic.batch import Column
from elastic.connectors.base import Chunk, Partition, Position, Rate, Reader, Source
from elastic.connectors.column_types import as_wanted, described
from elastic.connectors.files import FilePatterns, PathLike, as_patterns
from elastic.connectors.rate import RateLike, as_rate
from elastic.connectors.text_files import check_repeat
from elastic.errors import SourceError
from elastic.surface import surface

DECODED_ROWS = 1 << 16
"""Rows that are decoded at once; a row group, which may be much larger, is never in memory whole."""


@surface
def parquet(
    paths: PathLike | Iterable[PathLike],
    *,
    columns: Iterable[str] | None = None,
    rate: RateLike = None,
    repeat: int = 1,
    exclude: str | Iterable[str] = (),
) -> ParquetFiles:
    """A source whose rows are the rows of Parquet files, as one Arrow struct column; to a function of one row as dicts.

    All files must have the same columns. They are read in order of name, and cut between row groups.

    Args:
        paths: A file or a glob, or several; ``**`` matches any number of directories.
        columns: Only these columns, in this order; the others are not even decoded. All if None.
        rate: Such as ``"200k/s"`` (rows) or ``"4MiB/s"`` (of memory, once decoded), over all files together; as fast as
            it goes if None.
        repeat: How often all of it is read.
        exclude: Leave out paths that contain one of these texts or, where it has ``*``, ``?`` or ``[``, match it.

    Raises:
        QueryError: An argument is none of the above. Files are looked for when the job starts, not here.
        UnitError: ``rate`` is no rate.
    """
    files = as_patterns("parquet", paths, exclude)
    check_repeat("parquet", repeat, follow=False)
    return ParquetFiles(files, as_wanted("parquet", columns, None).columns, repeat, as_rate(rate))


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Some rows of a file that can be decoded by themselves."""

    path: str
    number: int
    rows: int


class ParquetFiles(Source):
    """Rows of Parquet files; made by ``parquet``."""

    name = "parquet"

    def __init__(self, files: FilePatterns, columns: tuple[str, ...] | None, repeat: int, rate: Rate | None) -> None:
        self.files, self.columns, self.repeat, self.rate = files, columns, repeat, rate

    def partitions(self, count: int) -> Sequence[ParquetPartition]:
        """Deal the row groups out in ``count`` runs of about as many rows."""
        groups: list[RowGroup] = []
        schema: pa.Schema | None = None
        for path in self.files.find():
            self.files.size_bytes(path)
            with _opened(path) as file:
                found = file.schema_arrow.remove_metadata()
                schema = schema or found
                if not found.equals(schema):
                    raise SourceError(
                        f"parquet: {path!r} has the columns {described(found)}; the first file has "
                        f"{described(schema)}: read files of other columns as a source of their own"
                    )
                of = file.metadata
                groups += [RowGroup(path, n, of.row_group(n).num_rows) for n in range(of.num_row_groups)]
        assert schema is not None, "find() gives at least one file"
        names = self.columns or tuple(schema.names)
        if missing := [name for name in names if name not in schema.names]:
            raise SourceError(f"parquet: there is no column {missing[0]!r}; the files have {', '.join(schema.names)}")
        runs = _dealt([group for group in groups if group.rows], count)
        return [ParquetPartition(f"parquet[{n}]", run, names, self.repeat) for n, run in enumerate(runs)]


@dataclass(frozen=True, slots=True)
class ParquetPartition(Partition):
    """Row groups that are read one after the other; a position is the number of rows before it."""

    name: str
    groups: tuple[RowGroup, ...]
    columns: tuple[str, ...]
    repeat: int

    def open(self) -> ParquetReader:
        return ParquetReader(self)


class ParquetReader(Reader):
    """Reads one partition; what is read again has a place in the files of its own."""

    def __init__(self, partition: ParquetPartition) -> None:
        self._groups = partition.groups
        self._rows = partition.repeat * sum(group.rows for group in partition.groups)
        self._live, self._again = _Cursor(partition), _Cursor(partition)
        self._row_bytes = 64.0  # running mean
        self.seek(0)

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._position = position
        self.finished = position >= self._rows

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """Rows of about so many bytes once they are decoded."""
        if self.finished:
            return None
        count = max(1, int(limit_bytes / self._row_bytes))
        count = min(count, self._rows - self._position, count if limit_records is None else max(1, limit_records))
        rows = self._live.rows(self._position, self._position + count)
        size_bytes = max(1, rows.nbytes)
        self._row_bytes += 0.2 * (size_bytes / count - self._row_bytes)
        self.seek(self._position + count)
        return Chunk(rows, self._position, size_bytes, count)

    def reread(self, start: Position, end: Position) -> Column:
        assert isinstance(start, int)
        assert isinstance(end, int)
        return self._again.rows(start, end)

    def ahead(self) -> list[tuple[Position, Column]]:
        """Where the files after the first begin; of what is repeated, where it does so for the last time."""
        groups = self._groups
        before = list(accumulate((group.rows for group in groups), initial=0))
        begins = [n for n, group in enumerate(groups) if not n or groups[n - 1].path != group.path]
        starts = [self._rows - before[-1] + before[n] for n in begins]
        return [(start, self._again.rows(start, start + 1)) for start in starts if start]

    def close(self) -> None:
        self._live.close()
        self._again.close()


class _Cursor:
    """A place in the rows of a partition; going on is cheap, going back decodes a row group from its start."""

    def __init__(self, partition: ParquetPartition) -> None:
        self._groups, self._columns = partition.groups, list(partition.columns)
        self._starts = list(accumulate((group.rows for group in self._groups), initial=0))
        self._file: pq.ParquetFile | None = None
        self._path = ""
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.StructArray | None = None
        self._start = self._group_end = -1  # of the batch, and of the row group that it is from

    def rows(self, start: int, end: int) -> pa.StructArray:
        """Rows ``[start, end)``, at least one."""
        parts = []
        while start < end:
            self._go_to(start)
            assert self._batch is not None
            part = self._batch[start - self._start : end - self._start]
            parts.append(part)
            start += len(part)
        return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def close(self) -> None:
        """Close the file that is open, if any."""
        self._batches, self._batch, self._start, self._group_end = iter(()), None, -1, -1
        if self._file is not None:
            self._file.close()
            self._file, self._path = None, ""

    def _go_to(self, row: int) -> None:
        """Have the batch with a row."""
        if not self._start <= row < self._group_end:
            self._open_group(row)
        while self._batch is None or row >= self._start + len(self._batch):
            self._start += len(self._batch) if self._batch is not None else 0
            try:
                batch = next(self._batches)
            except (OSError, StopIteration, pa.ArrowInvalid) as error:
                raise SourceError(f"parquet: {self._path!r} cannot be read any more: {_reason(error)}") from None
            self._batch = batch.select(self._columns).to_struct_array()

    def _open_group(self, row: int) -> None:
        """Begin to decode the row group with a row."""
        times, within = divmod(row, self._starts[-1])
        index = bisect_right(self._starts, within) - 1
        group = self._groups[index]
        if group.path != self._path:
            self.close()
            self._file, self._path = _opened(group.path), group.path
        assert self._file is not None
        if self._file.metadata.num_row_groups <= group.number or (
            self._file.metadata.row_group(group.number).num_rows != group.rows
        ):
            raise SourceError(f"parquet: {group.path!r} has changed since the job started; input must stay as it is")
        self._batches = self._file.iter_batches(DECODED_ROWS, [group.number], self._columns, use_threads=False)
        self._batch, self._start = None, times * self._starts[-1] + self._starts[index]
        self._group_end = self._start + group.rows


def _opened(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(
            f"parquet: {path!r} cannot be read: {_reason(error)}; fix it, or leave it out with exclude="
        ) from None


def _reason(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0].rstrip(". ") or type(error).__name__


def _dealt(groups: Sequence[RowGroup], count: int) -> list[tuple[RowGroup, ...]]:
    """The groups in ``count`` runs whose numbers of rows are as even as whole groups allow."""
    starts = list(accumulate((group.rows for group in groups), initial=0))
    targets = [starts[-1] * n // count for n in range(1, count)]
    borders = [min(range(len(starts)), key=lambda i: abs(starts[i] - target)) for target in targets]
    return [tuple(groups[low:high]) for low, high in pairwise([0, *borders, len(groups)])]
