"""A source that is read anew in every interval, from its beginning to its end: data that changes from time to time.

What was read is in the input log before it is used, as with every input that cannot be read again. So an interval that
is computed once more gets the data as it was in that interval, whatever has become of it since.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from dstream.queued import ONE_READ, OncePerInterval
from elastic import pickling
from elastic.batch import rows
from elastic.connectors.base import Chunk, Partition, Position, Reader, Source
from elastic.errors import SourceError

LIMIT_BYTES = 16 << 20
"""More than this is not read in every interval: whoever reads it does nothing else meanwhile."""

READ_BYTES = 4 << 20

_transforming: ContextVar[bool] = ContextVar("transforming", default=False)


@contextmanager
def transforming() -> Iterator[None]:
    """Meanwhile a function of ``transform`` is called: what it names as data is read anew in every interval."""
    token = _transforming.set(True)
    try:
        yield
    finally:
        _transforming.reset(token)


def is_transforming() -> bool:
    """Whether a function of ``transform`` is being called."""
    return _transforming.get()


class Refreshed(OncePerInterval):
    """All that another source has, in every interval; one record is the list of all of its rows.

    Nothing is given where it is what it was. It has no end, and does not keep a job from ending.

    Args:
        source: One that has an end.
        what: What it reads, in words that are the same whenever the source is made anew.
    """

    accompanies = True

    def __init__(self, source: Source, what: str) -> None:
        self.source, self.what = source, what
        self.name = source.name

    def history(self) -> Source:
        """It is read once."""
        return self.source.history()

    def partitions(self, count: int) -> Sequence[Partition]:
        """One: an interval has one state of the data."""
        return [RefreshedPartition(f"{self.name}[0]", self.source)]


@dataclass(frozen=True, slots=True)
class RefreshedPartition(Partition):
    """All of a source; a position is the number of times that it was read."""

    name: str
    source: Source

    def open(self) -> Reader:
        return RefreshedReader(self.source)


class RefreshedReader(Reader):
    """Reads all of it with each read; its receiver reads once in an interval."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0
        self._known: bytes | None = None

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._position = position

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk:
        kept = pickling.dumps(read_whole(self._source))
        self._position += 1
        if kept == self._known:
            return Chunk([], self._position, ONE_READ, 0, kept=b"")
        self._known = kept
        return Chunk(self.recall(kept), self._position, ONE_READ, 1, kept=kept)

    def reread(self, start: Position, end: Position) -> list[Any]:
        raise NotImplementedError("what is read anew cannot be read again")

    def recall(self, kept: bytes) -> list[Any]:
        return [pickling.loads(kept)] if kept else []


def read_whole(source: Source) -> list[Any]:
    """All rows of a source that has an end.

    Raises:
        SourceError: It cannot be read, or there is too much.
    """
    found: list[Any] = []
    size_bytes = 0
    for partition in source.partitions(1):
        reader = partition.open()
        try:
            while not reader.finished and (chunk := reader.read(READ_BYTES)) is not None:
                size_bytes += chunk.size_bytes
                if size_bytes > LIMIT_BYTES:
                    raise SourceError(
                        f"{partition.name} has more than {LIMIT_BYTES >> 20}MiB, which is too much to be read in every "
                        "interval; make it an RDD outside of transform(), which is read once, or a stream of its own"
                    )
                found += rows(chunk.rows)
        finally:
            reader.close()
    return found
