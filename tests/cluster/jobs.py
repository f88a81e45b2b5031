"""Jobs that tests break, and what their sinks must hold in the end, computed in plain Python."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from math import ceil, log2
from pathlib import Path
from typing import Any
from zlib import crc32

from elastic import Operator, Query, sinks, sources
from elastic.functions import split

LINES = [f"w{n % 97} w{n % 13} common {n % 7}" for n in range(24_000)]

HARD = re.compile(r"(a+)+$")
"""Takes twice as long with every further letter that in the end does not match, and lets nobody else do anything."""

CHAIN_KEYS, CHAIN_ROWS = 60, 100


class Chain(Operator):
    """Hashes a key's values into each other: order, loss and repetition all show."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        count, folded = state.get() or (0, 0)
        folded = crc32(f"{folded} {value[1]}".encode())
        state.set((count + 1, folded))
        yield key, count, folded


def hard_to_match(seconds: float) -> str:
    """A text with which ``HARD`` takes so much processor time on this machine, and no more than twice that."""
    letters, took_s = 16, 0.0
    while took_s < 0.02:
        letters += 1
        began_s = time.thread_time()
        HARD.match("a" * letters + "b")
        took_s = time.thread_time() - began_s
    return "a" * (letters + ceil(log2(seconds / took_s))) + "b"


def word_count(directory: Path, rate: str = "10k/s") -> Query:
    """Text files, words, counts upserted into SQLite: 24,000 lines."""
    text = directory / "input.txt"
    text.write_text("\n".join(LINES))
    query = Query("words")
    lines = query.source(sources.text_files(str(text), rate=rate))
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
    keyed = query.source(sources.from_list(rows, rate=rate)).key_by(lambda row: row[0])
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
