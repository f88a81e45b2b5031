"""A result is held against a clean run, or against the job's own count."""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from elastic.batch import Batch, rows
from elastic.connectors.base import SinkContext
from elastic.plan import Plan
from elastic.query import Query
from elastic.report import JobOutcome, Verdict
from elastic.scenario.job import load_function
from elastic.scenario.load import load_scenario
from elastic.scenario.verify import JobResult, verdict_of_clean_run
from tests.unit.scenario_fakes import Nothing, Nowhere

SCENARIOS = Path(__file__).parents[2] / "scenarios"


class Rows(Nowhere):
    """Holds the rows that it was made with."""

    name = "rows"

    def __init__(self, held: Sequence[Any] | None) -> None:
        self._held = held

    def contents(self, context: SinkContext) -> Any:
        return None if self._held is None else Counter(self._held)

    def expected(self, batches: Sequence[Batch]) -> Any:
        return Counter(row for batch in batches if batch.values is not None for row in rows(batch.values))

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        return (expected - contents).total(), (contents - expected).total()


@pytest.fixture(autouse=True)
def clean_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean run gives the rows a and b to the sink."""
    batch = Batch(np.zeros(2, np.uint16), None, ["a", "b"])
    fake = SimpleNamespace(reference_run=lambda plan, log: {"rows": [batch]})
    monkeypatch.setitem(sys.modules, "elastic.testing.reference", fake)


def plan(held: Sequence[Any] | None) -> Plan:
    query = Query("held")
    query.source(Nothing()).sink(Rows(held))
    return query.plan(workers=1)


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        (["b", "a"], Verdict(True, 0, 0, "equal to a clean run over the same input log")),
        (["a"], Verdict(False, 1, 0, "1 rows lost, 0 duplicated against a clean run over the same input log")),
        (
            ["a", "b", "b"],
            Verdict(False, 0, 1, "0 rows lost, 1 duplicated against a clean run over the same input log"),
        ),
    ],
)
def test_the_sink_is_held_against_a_clean_run(held: Sequence[Any], verdict: Verdict) -> None:
    assert verdict_of_clean_run(plan(held), Path(), Path()) == verdict


def test_a_sink_that_cannot_be_read_back_is_not_verified() -> None:
    verdict = verdict_of_clean_run(plan(None), Path(), Path())

    assert verdict.verified is None
    assert verdict.detail == "sink rows cannot be read back; use another, or give the job a check of its own"


def counted(tmp_path: Path, counts: dict[str, int]) -> JobResult:
    """What the word count left behind, if it had counted so."""
    (tmp_path / "a.txt").write_bytes(b"one two\ntwo \xff\r\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "b.txt").write_text("three")
    with closing(sqlite3.connect(tmp_path / "c.db")) as db, db:
        db.execute("CREATE TABLE counts (key PRIMARY KEY, value)")
        db.executemany("INSERT INTO counts VALUES (?, ?)", counts.items())
    return JobResult(
        {"paths": [f"{tmp_path}/**/*.txt"], "database": f"{tmp_path}/c.db"}, {}, tmp_path, JobOutcome("done")
    )


@pytest.mark.parametrize(
    ("counts", "answer"),
    [
        ({"one": 1, "two": 2, "\ufffd": 1}, (0, 0)),
        ({"one": 1, "two": 1}, (2, 0)),
        ({"one": 2, "two": 2, "\ufffd": 1, "three": 1}, (0, 2)),
    ],
)
def test_the_word_counts_own_check_counts_what_is_too_low_and_too_high(
    tmp_path: Path, counts: dict[str, int], answer: tuple[int, int]
) -> None:
    check = load_function("jobs/word_count.py:check", SCENARIOS, "check")

    assert check(counted(tmp_path, counts)) == answer


def test_the_word_counts_summary_begins_with_the_most_frequent_word(tmp_path: Path) -> None:
    show = load_function("jobs/word_count.py:most_frequent", SCENARIOS, "show")

    lines = list(show(counted(tmp_path, {"one": 1, "two": 2000})))

    assert lines == ["the ten most frequent words:", "      2,000  two", "          1  one"]


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda p: p.name)
def test_a_shipped_scenario_is_valid_and_explained_in_its_first_line(path: Path) -> None:
    loaded = load_scenario(path)

    assert path.read_text().startswith("# ")
    assert loaded.scenario.name == path.stem.replace("_", "-")
