from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch, Column, Pairs
from elastic.connectors import sinks
from elastic.connectors.base import SinkContext
from elastic.connectors.sqlite import SqliteSink, SqliteWriter
from elastic.errors import QueryError, SinkError
from elastic.keys import KeyInterval

ALL = KeyInterval(0, 16)


def batch(values: Column) -> Batch:
    return Batch(np.zeros(len(values), np.uint16), None, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def context(tmp_path: Path) -> SinkContext:
    return SinkContext("run", "job", "results", 16, 10, tmp_path)


@pytest.fixture
def query(path: Path) -> Callable[[str], list[Any]]:
    def run(sql: str) -> list[Any]:
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute(sql).fetchall()
            db.commit()
            return rows

    return run


@pytest.fixture
def written(context: SinkContext) -> Callable[..., SqliteSink]:
    """Commits each column as a tick of its own, all at once, and checks what the sink says of it."""

    def write(sink: SqliteSink, *columns: Column) -> SqliteSink:
        sink.prepare(context)
        with closing(sink.open(context, ALL, 1)) as writer:
            writer.commit([(i + 1, batch(column)) for i, column in enumerate(columns)], len(columns), final=True)
        expected = sink.expected([batch(column) for column in columns])
        assert sink.compare(expected, sink.contents(context)) == (0, 0)
        return sink

    return write


def test_pairs_are_stored_as_key_and_value(path: Path, query: Any, written: Any) -> None:
    written(sinks.sqlite(path, table="t"), Pairs(pa.array(["a", "b"]), pa.array([1, 2])), [("c", 3)])

    assert query("SELECT key, value FROM t ORDER BY key") == [("a", 1), ("b", 2), ("c", 3)]


def test_dicts_are_stored_by_name_and_single_values_as_value(path: Path, query: Any, written: Any) -> None:
    structs = pa.array([{"user": "b", "score": 0.5}])

    written(sinks.sqlite(path, table="scores"), [{"user": "a", "score": None}], structs)
    written(sinks.sqlite(path, table="lines"), ["one", "two"], pa.array(["three"]))

    assert query("SELECT user, score FROM scores") == [("a", None), ("b", 0.5)]
    assert query("SELECT value FROM lines") == [("one",), ("two",), ("three",)]


def test_upsert_keeps_the_last_row_of_a_key(path: Path, query: Any, written: Any) -> None:
    sink = sinks.sqlite(path, table="t", upsert=True)

    written(sink, [("a", 1), ("b", 1)], [("a", 2), ("a", 3)])

    assert query("SELECT key, value FROM t ORDER BY key") == [("a", 3), ("b", 1)]


def test_upsert_by_a_named_column_replaces_the_others(path: Path, query: Any, written: Any) -> None:
    sink = sinks.sqlite(path, table="t", columns=["count", "word"], upsert="word")

    written(sink, [(1, "a")], [(2, "a")])

    assert query("SELECT word, count FROM t") == [("a", 2)]


def test_a_set_of_values_is_an_upsert_of_one_column(path: Path, query: Any, written: Any) -> None:
    written(sinks.sqlite(path, table="seen", upsert=True), ["a", "b"], ["a"])

    assert query("SELECT value FROM seen ORDER BY value") == [("a",), ("b",)]


def test_values_keep_their_type_and_nan_becomes_null(path: Path, query: Any, written: Any) -> None:
    written(sinks.sqlite(path, table="t"), [1, 1.5, "1", b"1", None, True, math.nan, -(2**63)])

    assert [row[0] for row in query("SELECT value FROM t")] == [1, 1.5, "1", b"1", None, 1, None, -(2**63)]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("key", {"a": 1}), "column 'value' holds a dict"),
        (("key", [1]), "column 'value' holds a list"),
        ((("a", "b"), 1), "column 'key' holds a tuple"),
        (("key", 2**63), "column 'value' holds an integer of more than 64 bits"),
        (("key", "\ud800"), "column 'value' holds text that is not Unicode"),
        ((None, 1), "column 'key' holds None, which cannot be a key"),
        ((math.nan, 1), "column 'key' holds nan, which cannot be a key"),
        (("a", "b", "c"), "has 3 fields"),
        ({"key": "a"}, "is a dict"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_nothing_of_its_commit_is_kept(
    path: Path, query: Any, context: SinkContext, row: Any, complaint: str
) -> None:
    sink = sinks.sqlite(path, table="t", upsert=True)
    sink.prepare(context)
    with closing(sink.open(context, ALL, 1)) as writer:
        writer.commit([(1, batch([("before", 1)]))], 1, final=False)

        with pytest.raises(SinkError, match=complaint) as caught:
            writer.commit([(2, batch([("good", 1)])), (3, batch([("good", 2), row]))], 3, final=False)

        assert repr(row) in str(caught.value)
    with closing(sink.open(context, ALL, 2)) as writer:
        assert writer.committed() == [(ALL, 1)]
    assert query("SELECT key, value FROM t") == [("before", 1)]


@pytest.mark.parametrize(
    ("existing", "complaint"),
    [
        ("CREATE TABLE t (word TEXT PRIMARY KEY, n)", "has the columns word, n, expected key, value"),
        ("CREATE TABLE t (key, value)", "may hold a key twice"),
        ("CREATE TABLE t (key, value, PRIMARY KEY (key, value))", "may hold a key twice"),
    ],
)
def test_a_table_of_another_shape_is_refused(
    path: Path, query: Any, context: SinkContext, existing: str, complaint: str
) -> None:
    query(existing)

    with pytest.raises(SinkError, match=complaint):
        sinks.sqlite(path, table="t", columns=["key", "value"], upsert=True).prepare(context)

    guessing = sinks.sqlite(path, table="t", upsert=True)
    guessing.prepare(context)  # the rows will tell
    with closing(guessing.open(context, ALL, 1)) as writer, pytest.raises(SinkError, match=complaint):
        writer.commit([(1, batch([("a", 1)]))], 1, final=False)


def test_a_unique_index_is_as_good_as_a_primary_key(path: Path, query: Any, written: Any) -> None:
    query("CREATE TABLE t (value, key)")
    query("CREATE UNIQUE INDEX by_key ON t (key)")

    written(sinks.sqlite(path, table="t", upsert=True), [("a", 1)], [("a", 2)])

    assert query("SELECT key, value FROM t") == [("a", 2)]


def test_rows_from_before_the_run_are_neither_lost_nor_duplicates(path: Path, query: Any, written: Any) -> None:
    query("CREATE TABLE appended (key, value)")
    query("INSERT INTO appended VALUES ('old', 1), ('a', 1)")
    query("CREATE TABLE upserted (key PRIMARY KEY, value)")
    query("INSERT INTO upserted VALUES ('old', 1), ('a', 1)")

    written(sinks.sqlite(path, table="appended"), [("a", 1)])  # each compares itself with what is expected
    query("DELETE FROM _elastic_runs")
    query("DELETE FROM _elastic_commits")
    written(sinks.sqlite(path, table="upserted", upsert=True), [("a", 2)])

    assert query("SELECT * FROM appended") == [("old", 1), ("a", 1), ("a", 1)]
    assert query("SELECT * FROM upserted") == [("old", 1), ("a", 2)]


def test_what_others_did_to_the_table_is_counted_as_lost_and_duplicated(
    path: Path, query: Any, written: Any, context: SinkContext
) -> None:
    rows: list[Any] = [("a", 1), ("b", 2), ("c", 3)]
    sink = written(sinks.sqlite(path, table="t", upsert=True), rows)

    query("DELETE FROM t WHERE key = 'a'")
    query("UPDATE t SET value = 0 WHERE key = 'b'")

    assert sink.compare(sink.expected([batch(rows)]), sink.contents(context)) == (2, 1)


def test_a_full_disk_is_an_error_that_keeps_what_was_committed(path: Path, query: Any, context: SinkContext) -> None:
    sink = sinks.sqlite(path, table="t")
    sink.prepare(context)
    writer = sink.open(context, ALL, 1)
    assert isinstance(writer, SqliteWriter)
    writer.commit([(1, batch([("kept", 1)]))], 1, final=False)
    writer._db.execute("PRAGMA max_page_count = 12")

    with pytest.raises(SinkError, match="no space is left") as caught:
        writer.commit([(2, batch([("x" * 1000, i) for i in range(1000)]))], 2, final=False)

    assert str(path) in str(caught.value)
    writer.close()
    with closing(sink.open(context, ALL, 2)) as successor:
        assert successor.committed() == [(ALL, 1)]
    assert query("SELECT key FROM t") == [("kept",)]


def test_a_file_that_another_program_keeps_locked_is_named(path: Path, context: SinkContext) -> None:
    sink = sinks.sqlite(path, table="t", lock_timeout="20ms")
    sink.prepare(context)
    with closing(sink.open(context, ALL, 1)) as writer, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(SinkError, match=r"results\.db.*locked for 0\.02 s"):
            writer.commit([(1, batch(["row"]))], 1, final=False)

        other.rollback()
        assert writer.commit([(1, batch(["row"]))], 1, final=False) == 1


def test_a_file_that_is_no_database_or_cannot_be_made_is_refused(tmp_path: Path, context: SinkContext) -> None:
    (tmp_path / "text.db").write_text("a file of another kind, long enough to have a header" * 10)

    with pytest.raises(SinkError, match="not a SQLite database"):
        sinks.sqlite(tmp_path / "text.db", table="t").prepare(context)
    with pytest.raises(SinkError, match=r"is .*missing a directory"):
        sinks.sqlite(tmp_path / "missing" / "new.db", table="t").prepare(context)


def test_names_may_contain_anything(path: Path, query: Any, written: Any) -> None:
    written(sinks.sqlite(path, table='my "table"', columns=["select", 'a"b'], upsert=True), [("x", 1)], [("x", 2)])

    assert query('SELECT * FROM "my ""table"""') == [("x", 2)]


@pytest.mark.parametrize(
    "arguments",
    [
        {"table": ""},
        {"table": "_elastic_commits"},
        {"table": "t", "columns": []},
        {"table": "t", "columns": ["a", "A"]},
        {"table": "t", "columns": ["a"], "upsert": "b"},
        {"table": "t", "columns": ["a", "b"], "upsert": ["a", "b"]},
    ],
)
def test_arguments_that_cannot_be_meant_are_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match="sqlite"):
        sinks.sqlite("results.db", **arguments)


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(QueryError, match="in memory"):
        sinks.sqlite(":memory:", table="t")
