"""The most frequent words of text files, as a list that is always up to date.

The job is ``query``: words are counted, and the counts are ranked. ``check`` counts and sorts the same files once more,
in one pass and without the runtime; ``ranking`` is what the summary shows of the result.
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


def query(paths: str | Sequence[str], k: int = 10, rate: Any = None, database: str = ".elastic/top-words.db") -> Query:
    """The job: the places that have another word or count than half a second ago."""
    top = Query("top-words")
    (
        top.source(sources.text_files(paths, rate=rate, errors="replace", exclude=NOT_OURS))
        .flat_map(split())
        .key_by()
        .count(emit="500ms")
        .top_k(k, emit="500ms")
        .sink(sinks.sqlite(database, table="top", columns=("place", "word", "count"), upsert=True))
    )
    return top


def check(result: Any) -> tuple[int, int]:
    """How many places lack their word, and how many hold another one."""
    counts = Counter[str]()
    for path in _files(result.parameters["paths"]):
        counts.update(path.read_bytes().decode("utf-8", "replace").split())
    right = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))[: result.parameters.get("k", 10)]
    wanted = dict(enumerate(right, 1))
    found = {place: (word, count) for place, word, count in _places(result)}
    lost = sum(place not in found for place in wanted)
    return lost, sum(wanted.get(place) != row for place, row in found.items())


def ranking(result: Any) -> Iterator[str]:
    """The words in their order."""
    for place, word, count in _places(result):
        yield f"{place:>4}. {count:>9,}  {word}"


def _files(patterns: str | Sequence[str]) -> list[Path]:
    """The files that the patterns match, each once."""
    several = [patterns] if isinstance(patterns, str) else patterns
    found = {Path(name) for pattern in several for name in glob.glob(pattern, recursive=True)}  # noqa: PTH207 (**/)
    return [path for path in found if path.is_file() and not any(part in str(path) for part in NOT_OURS)]


def _places(result: Any) -> list[tuple[int, str, int]]:
    database = result.parameters.get("database", ".elastic/top-words.db")
    with closing(sqlite3.connect(database)) as db:
        return db.execute("SELECT place, word, count FROM top ORDER BY place").fetchall()
