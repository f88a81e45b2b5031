"""A source whose input comes an interval at a time: the first item in the first interval, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from elastic.batch import Column, columnar, concat
from elastic.connectors.base import Chunk, Partition, Position, Reader, Source

ONE_READ = 1
"""Bytes that an item is said to have: so few that a tick has no more than one."""


class OncePerInterval(Source):
    """A source of which a receiver reads once in an interval."""


class QueueSource(OncePerInterval):
    """Rows in memory, an item for each interval.

    Args:
        items: The rows of each interval.
        default: Those of every interval after the last item; the input ends with that if None.
    """

    name = "queue"

    def __init__(self, items: Iterable[Iterable[Any]], default: Iterable[Any] | None = None) -> None:
        self.items = [list(item) for item in items]
        self.default = None if default is None else list(default)

    def history(self) -> QueueSource:
        """The items alone."""
        return QueueSource(self.items)

    def partitions(self, count: int) -> Sequence[Partition]:
        """One: an item is in one interval as a whole."""
        default = None if self.default is None else columnar(self.default)
        return [QueuePartition(f"{self.name}[0]", [columnar(item) for item in self.items], default)]


@dataclass(frozen=True, slots=True)
class QueuePartition(Partition):
    """All items; a position is the number of items before it."""

    name: str
    items: list[Column]
    default: Column | None

    def open(self) -> Reader:
        return QueueReader(self.items, self.default)


class QueueReader(Reader):
    """Hands out an item with each read; its receiver reads once in an interval."""

    def __init__(self, items: list[Column], default: Column | None) -> None:
        self._items, self._default = items, default
        self.seek(0)

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._position = position
        self.finished = self._default is None and position >= len(self._items)

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        if self.finished:
            return None
        item = self._item(self._position)
        self.seek(self._position + 1)
        return Chunk(item, self._position, ONE_READ, len(item))

    def reread(self, start: Position, end: Position) -> Column:
        assert isinstance(start, int)
        assert isinstance(end, int)
        found = [item for n in range(start, end) if len(item := self._item(n))]
        return concat(found) if found else []

    def _item(self, number: int) -> Column:
        if number < len(self._items):
            return self._items[number]
        assert self._default is not None, "it would have ended before"
        return self._default
