"""Two-level rankings through SIGKILL: the sink ends with the list that sorting once would give."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from elastic import Query, sinks, sources
from elastic.functions import split
from tests.cluster.driving import drive, kill_owner, scale, see

pytestmark = pytest.mark.cluster

PLACES = 7
LINES = [f"w{n * n % 61} w{n % 17} common {n % 7}" for n in range(12_000)]


def top_words(directory: Path) -> Query:
    """Words, counted and ranked, each place upserted into SQLite."""
    text = directory / "input.txt"
    text.write_text("\n".join(LINES))
    query = Query("top")
    lines = query.source(sources.text_files(str(text), rate="6k/s"))
    words = lines.rebalance().flat_map(split()).key_by()
    top = words.count(emit="50ms").top_k(PLACES, emit="100ms")
    top.sink(sinks.sqlite(directory / "top.db", table="top", columns=("place", "word", "count"), upsert=True))
    return query


def expected() -> list[tuple[int, str, int]]:
    """The first places, by sorting all counts."""
    counts = Counter(word for line in LINES for word in line.split())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))[:PLACES]
    return [(place, *row) for place, row in enumerate(ranked, 1)]


def ranking_in(directory: Path) -> list[tuple[int, str, int]]:
    """The places that were committed."""
    with closing(sqlite3.connect(directory / "top.db")) as connection:
        return connection.execute("SELECT place, word, count FROM top ORDER BY place").fetchall()


@pytest.mark.parametrize(("operator", "instance"), [("top_k", 0), ("top_k-leaders", 1), ("rebalance", 2)])
def test_a_ranking_is_right_after_a_kill_at_a_random_moment(tmp_path: Path, operator: str, instance: int) -> None:
    moment = random.Random(operator).randrange(9_000)

    outcome = drive(
        top_words(tmp_path), tmp_path, kill_owner(operator, instance, after_records=moment), checkpoint_ms=300
    )

    assert outcome.status == "done", outcome.error
    assert ranking_in(tmp_path) == expected()
    assert len(outcome.recoveries) == 1


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["top_k-leaders", "rebalance"])
def test_a_ranking_is_right_when_instances_are_added(tmp_path: Path, operator: str) -> None:
    outcome = drive(
        top_words(tmp_path), tmp_path, scale(operator, 5, after_records=3_000), see("scaled_out"), spares=2,
        checkpoint_ms=300,
    )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert [(s.operator, s.before, s.after) for s in outcome.scale_outs] == [(operator, 3, 5)]
    assert ranking_in(tmp_path) == expected()
