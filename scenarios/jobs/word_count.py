"""Count the words of text files.

The job is ``query``. ``check`` counts the same files once more, in one pass and without the runtime; ``most_frequent``
is what the summary shows of the result.
"""

from __future__ import annotations

import glob
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from elastic import Query, sinks, sources
from elastic.functions import split

NOT_OURS = ("site-packages", "dist-packages", "__pycache__")
"""Below the standard library lies also what was installed later, and what Python compiled."""


def query(
    paths: str | Sequence[str], rate: Any = None, database: str = ".elastic/word-counts.db", repeat: int = 1
) -> Query:
    """The job: each word with the number of its occurrences so far, once a second while it changes."""
    words = Query("word-count")
    (
        words.source(sources.text_files(paths, rate=rate, repeat=repeat, errors="replace", exclude=NOT_OURS))
        .flat_map(split())
        .key_by()
        .count(emit="1s")
        .sink(sinks.sqlite(database, table="counts", upsert=True))
    )
    return words


def check(result: Any) -> tuple[int, int]:
    """How many words were counted too low, and how many too high."""
    right = Counter[str]()
    for path in _files(result.parameters["paths"]):
        right.update(path.read_bytes().decode("utf-8", "replace").split())
    repeat = result.parameters.get("repeat", 1)
    right = Counter({word: count * repeat for word, count in right.items()})
    found = dict(_counts(result, "SELECT key, value FROM counts"))
    lost = sum(found.get(word, 0) < count for word, count in right.items())
    duplicated = sum(count > right[word] for word, count in found.items())
    return lost, duplicated


def most_frequent(result: Any) -> Iterator[str]:
    """The ten words that occur most often."""
    yield "the ten most frequent words:"
    for word, count in _counts(result, "SELECT key, value FROM counts ORDER BY value DESC, key LIMIT 10"):
        yield f"  {count:>9,}  {word}"


def _files(patterns: str | Sequence[str]) -> list[Path]:
    """The files that the patterns match, each once."""
    several = [patterns] if isinstance(patterns, str) else patterns
    found = {Path(name) for pattern in several for name in glob.glob(pattern, recursive=True)}  # noqa: PTH207 (**/)
    return [path for path in found if path.is_file() and not any(part in str(path) for part in NOT_OURS)]


def _counts(result: Any, select: str) -> list[tuple[str, int]]:
    database = result.parameters.get("database", ".elastic/word-counts.db")
    with closing(sqlite3.connect(database)) as db:
        return db.execute(select).fetchall()
