"""Every sink keeps the contract."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from elastic.connectors import sinks
from elastic.connectors.base import Sink
from tests.unit.sink_contract import SinkContract


class TestSqliteAppend(SinkContract):
    def make(self, directory: Path) -> Sink:
        return sinks.sqlite(directory / "results.db", table="results")


class TestSqliteUpsert(SinkContract):
    def make(self, directory: Path) -> Sink:
        return sinks.sqlite(directory / "results.db", table="results", columns=["word", "count"], upsert="word")


class TestSqliteIntoTheUsersTable(SinkContract):
    def make(self, directory: Path) -> Sink:
        with sqlite3.connect(directory / "results.db") as db:
            db.execute("CREATE TABLE results (value INTEGER, key TEXT)")
            db.execute("INSERT INTO results VALUES (1, 'of an earlier run')")
        db.close()
        return sinks.sqlite(directory / "results.db", table="results")


class TestJsonLines(SinkContract):
    def make(self, directory: Path) -> Sink:
        return sinks.json_lines(directory / "results")


class TestJsonLinesInSmallParts(SinkContract):
    def make(self, directory: Path) -> Sink:
        return sinks.json_lines(directory / "results", columns=["word", "count"], commit="50ms")


class TestStdout(SinkContract):
    def make(self, directory: Path) -> Sink:
        return sinks.stdout()


class TestDiscard(SinkContract):
    def make(self, directory: Path) -> Sink:
        return sinks.discard()
