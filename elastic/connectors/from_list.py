"""Rows that are in memory already, as a source: for examples, tests and small tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from elastic.batch import Column, columnar, cut, size_bytes
from elastic.connectors.base import Chunk, Partition, Position, Rate, Reader, Source
from elastic.connectors.rate import RateLike, as_rate
from elastic.surface import surface


@surface
def from_list(rows: Iterable[Any], *, rate: RateLike = None) -> FromList:
    """A source of the given rows, in their order within each partition; they are shipped to the workers.

    Args:
        rows: Anything that can be pickled. An iterator is read to its end here.
        rate: Such as ``"100/s"``; as fast as it goes if None.

    Raises:
        UnitError: ``rate`` is no rate.
    """
    return FromList(list(rows), as_rate(rate))


class FromList(Source):
    """Rows in memory; made by ``from_list``."""

    name = "from_list"

    def __init__(self, rows: list[Any], rate: Rate | None) -> None:
        self.rows, self.rate = rows, rate

    def partitions(self, count: int) -> Sequence[ListPartition]:
        """Cut the rows into ``count`` runs of equal length; each becomes a typed column where its rows allow it."""
        cuts = [len(self.rows) * i // count for i in range(count + 1)]
        return [ListPartition(f"{self.name}[{i}]", columnar(self.rows[cuts[i] : cuts[i + 1]])) for i in range(count)]


@dataclass(frozen=True, slots=True)
class ListPartition(Partition):
    """A run of the rows; a position is the number of rows before it."""

    name: str
    rows: Column

    @property
    def row_bytes(self) -> int:
        """About what a row takes."""
        return max(1, size_bytes(self.rows) // max(1, len(self.rows)))

    @property
    def input_bytes(self) -> int:
        return len(self.rows) * self.row_bytes

    def open(self) -> ListReader:
        return ListReader(self)


class ListReader(Reader):
    """Hands out slices of one partition."""

    def __init__(self, partition: ListPartition) -> None:
        self._rows, self._row_bytes = partition.rows, partition.row_bytes
        self.seek(0)

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._position = position
        self.finished = position >= len(self._rows)

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        if self.finished:
            return None
        limit = limit_bytes // self._row_bytes
        if limit_records is not None:
            limit = min(limit, limit_records)
        start, end = self._position, min(self._position + max(1, limit), len(self._rows))
        self.seek(end)
        return Chunk(cut(self._rows, start, end), end, (end - start) * self._row_bytes, end - start)

    def reread(self, start: Position, end: Position) -> Column:
        assert isinstance(start, int)
        assert isinstance(end, int)
        return cut(self._rows, start, end)
