"""Every sink keeps the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from elastic.connectors import sinks
from elastic.connectors.base import Sink
from elastic.testing import check_sink


def sqlite_append(directory: Path) -> Sink:
    return sinks.sqlite(directory / "results.db", table="results")


def sqlite_upsert(directory: Path) -> Sink:
    return sinks.sqlite(directory / "results.db", table="results", columns=["word", "count"], upsert="word")


def sqlite_into_the_users_table(directory: Path) -> Sink:
    with sqlite3.connect(directory / "results.db") as db:
        db.execute("CREATE TABLE results (value INTEGER, key TEXT)")
        db.execute("INSERT INTO results VALUES (1, 'of an earlier run')")
    db.close()
    return sinks.sqlite(directory / "results.db", table="results")


def json_lines(directory: Path) -> Sink:
    return sinks.json_lines(directory / "results")


def json_lines_in_small_parts(directory: Path) -> Sink:
    return sinks.json_lines(directory / "results", columns=["word", "count"], commit="50ms")


def stdout(directory: Path) -> Sink:
    return sinks.stdout()


def discard(directory: Path) -> Sink:
    return sinks.discard()


SINKS = [
    sqlite_append, sqlite_upsert, sqlite_into_the_users_table, json_lines, json_lines_in_small_parts, stdout, discard,
]  # fmt: skip


@pytest.mark.parametrize("make", SINKS)
def test_a_sink_keeps_the_contract(make: Callable[[Path], Sink]) -> None:
    check_sink(make, kills=0)


@pytest.mark.slow
@pytest.mark.parametrize("make", SINKS)
def test_a_sink_whose_writers_are_killed_keeps_the_contract(make: Callable[[Path], Sink]) -> None:
    check_sink(make, kills=48)
