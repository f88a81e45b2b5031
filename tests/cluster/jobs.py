"""Jobs that tests break, and what their sinks must hold in the end, computed in plain Python."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zlib import crc32

from elastic import Operator, Query, sinks, sources
from elastic.connectors.base import Chunk, Partition, Reader, Source
from elastic.functions import split

LINES = [f"w{n % 97} w{n % 13} common {n % 7}" for n in range(24_000)]

CHAIN_KEYS, CHAIN_ROWS = 60, 100


class Chain(Operator):
    """Hashes a key's values into each other: order, loss and repetition all show."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        count, folded = state.get() or (0, 0)
        folded = crc32(f"{folded} {value[1]}".encode())
        state.set((count + 1, folded))
        yield key, count, folded


STRUCK = "struck"
"""A file in a test's directory: what was to happen to its job has happened. Until then its input does not end."""


class Held(Source):
    """A source that does not end before a file is there: till then there is nothing more for now.

    So a job lasts long enough for what is to happen to it, on however busy a machine, and no longer.
    """

    def __init__(self, source: Source, file: Path) -> None:
        self.name, self.rate, self.source, self.file = source.name, source.rate, source, file

    def partitions(self, count: int) -> Sequence[Partition]:
        return [HeldPartition(partition.name, partition, self.file) for partition in self.source.partitions(count)]


@dataclass(frozen=True, slots=True)
class HeldPartition(Partition):
    """One of another source's."""

    name: str
    partition: Partition
    file: Path

    @property
    def input_bytes(self) -> int | None:
        return self.partition.input_bytes

    def open(self) -> Reader:
        return cast("Reader", HeldReader(self.partition.open(), self.file))


class HeldReader:
    """A reader that is finished once the file is there."""

    def __init__(self, reader: Reader, file: Path) -> None:
        self._reader, self._file = reader, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    @property
    def finished(self) -> bool:
        """Whether nothing more comes."""
        return self._reader.finished and self._file.exists()

    @finished.setter
    def finished(self, value: bool) -> None:
        self._reader.finished = value

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """What there is."""
        return None if self._reader.finished else self._reader.read(limit_bytes, limit_records)


def word_count(directory: Path, rate: str = "10k/s") -> Query:
    """Text files, words, counts upserted into SQLite: 24,000 lines."""
    text = directory / "input.txt"
    text.write_text("\n".join(LINES))
    query = Query("words")
    lines = query.source(Held(sources.text_files(str(text), rate=rate), directory / STRUCK))
    words = lines.flat_map(split()).key_by()
    words.count(emit="100ms", name="count").sink(sinks.sqlite(directory / "counts.db", table="counts", upsert=True))
    return query


def expected_counts() -> dict[str, int]:
    """What ``word_count`` must end with."""
    return dict(Counter(word for line in LINES for word in line.split()))


def counts(directory: Path) -> dict[str, int]:
    """What ``word_count`` has committed."""
    with closing(sqlite3.connect(directory / "counts.db")) as connection:
        return dict(connection.execute("SELECT key, value FROM counts"))


def chain(directory: Path, rate: str = "3k/s") -> Query:
    """An operator that depends on order, its every output in JSON lines: 6,000 rows.

    A key's rows lie together, so that one partition has them all and their order is that of the list.
    """
    query = Query("chain")
    rows = [(key, n) for key in range(CHAIN_KEYS) for n in range(CHAIN_ROWS)]
    keyed = query.source(Held(sources.from_list(rows, rate=rate), directory / STRUCK)).key_by(lambda row: row[0])
    keyed.apply(Chain(), name="chain").sink(sinks.json_lines(directory / "out", commit="200ms"))
    return query


def expected_chain() -> Counter[str]:
    """What ``chain`` must end with, each row as JSON."""
    folded = 0
    expected: Counter[str] = Counter()
    for key in range(CHAIN_KEYS):
        folded = 0
        for n in range(CHAIN_ROWS):
            folded = crc32(f"{folded} {n}".encode())
            expected[json.dumps([key, n, folded])] += 1
    return expected


def chain_rows(directory: Path) -> Counter[str]:
    """What ``chain`` has committed."""
    parts = [p for p in (directory / "out").rglob("*.jsonl") if not p.name.startswith(".")]
    return Counter(json.dumps(json.loads(line)) for part in parts for line in part.read_text().splitlines())
