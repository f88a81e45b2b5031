"""Every sink keeps the contract."""

from __future__ import annotations

import json
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


def csv(directory: Path) -> Sink:
    return sinks.csv(directory / "results")


def csv_in_small_parts(directory: Path) -> Sink:
    return sinks.csv(directory / "results", columns=["word", "count"], delimiter=";", commit="50ms")


def parquet(directory: Path) -> Sink:
    return sinks.parquet(directory / "results", commit="1s")


def parquet_in_small_parts(directory: Path) -> Sink:
    return sinks.parquet(directory / "results", types={"value": float}, commit="50ms")


def stdout(directory: Path) -> Sink:
    return sinks.stdout()


def discard(directory: Path) -> Sink:
    return sinks.discard()


SINKS = [
    sqlite_append, sqlite_upsert, sqlite_into_the_users_table, json_lines, json_lines_in_small_parts, csv,
    csv_in_small_parts, parquet, parquet_in_small_parts, stdout, discard,
]  # fmt: skip


@pytest.mark.parametrize("make", SINKS)
def test_a_sink_keeps_the_contract(make: Callable[[Path], Sink]) -> None:
    check_sink(make, kills=0)


@pytest.mark.slow
@pytest.mark.parametrize("make", SINKS)
def test_a_sink_whose_writers_are_killed_keeps_the_contract(make: Callable[[Path], Sink]) -> None:
    check_sink(make, kills=24)


class Append:
    """A function that appends what it is called with to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, delivery: sinks.Delivery) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps([delivery.token, delivery.rows]).encode() + b"\n")


def calls(directory: Path) -> list[tuple[str, list[tuple[str, int]]]]:
    """What the function was called with in the run that is looked at; a line that was cut short is none."""
    lines = (directory / "calls").read_bytes().split(b"\n")[:-1] if (directory / "calls").exists() else []
    found = [json.loads(line) for line in lines if line.startswith(b'["run-1/results') and line.endswith(b"]")]
    return [(token, [(word, number) for word, number in rows]) for token, rows in found]


def called_rows(directory: Path) -> list[tuple[str, int]]:
    return [row for _, rows in calls(directory) for row in rows]


@pytest.mark.parametrize("every", [None, "200ms"])
def test_a_function_is_called_with_every_row_at_least_once(every: str | None) -> None:
    check_sink(
        lambda directory: sinks.call(Append(directory / "calls"), every=every),
        read=called_rows, guarantee="at least once", kills=0,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, "200ms"])
def test_a_function_whose_worker_is_killed_is_called_again_with_the_same_token(every: str | None) -> None:
    """A target that takes each token once has each row once."""
    check_sink(
        lambda directory: sinks.call(Append(directory / "calls"), every=every),
        read=rows_of_tokens, kills=24,
    )  # fmt: skip


def rows_of_tokens(directory: Path) -> list[tuple[str, int]]:
    by_token = dict[str, list[tuple[str, int]]]()
    for token, rows in calls(directory):
        assert by_token.setdefault(token, rows) == rows
    return [row for rows in by_token.values() for row in rows]
