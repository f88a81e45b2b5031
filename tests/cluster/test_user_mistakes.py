"""What users do wrong ends the job with a text that says where; what was committed before stays."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elastic import Operator, Query, Stream, sinks, sources
from elastic.connectors.base import Sink
from elastic.connectors.discard import DiscardSink
from elastic.report import JobOutcome
from tests.cluster.driving import drive, kill_owner, kinds

pytestmark = pytest.mark.cluster


def inverse(number: int) -> float:
    """Fails on 3."""
    return 1 / (number - 3)


def dice() -> float:
    """Not ``random.random`` itself, which is a method and shipped with its state."""
    return random.random()


class Inverse(Operator):
    """Fails on 3."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield inverse(value)


class Locks(Operator):
    """Emits what no process can send to another."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield threading.Lock()


class KeepsLocks(Operator):
    """Keeps what no checkpoint can hold."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        state.set(threading.Lock())
        yield key


class Restless(Operator):
    """Not deterministic: each run gives another result."""

    def __init__(self, guess: Callable[[], float]) -> None:
        self.guess = guess

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        yield key, self.guess()


def failing(tmp_path: Path, build: Callable[[Stream], Stream], sink: Sink | None = None) -> str:
    """The text with which a job over the numbers from 0 to 19 fails."""
    query = Query("mistaken")
    build(query.source(sources.from_list(list(range(20))))).sink(sink or sinks.discard())

    outcome = drive(query, tmp_path, workers=2, spares=0)

    assert outcome.status == "failed"
    assert outcome.error is not None
    return outcome.error


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda s: s.map(inverse), r"operator 'map\(inverse\)' failed on record 3, tick \d+"),
        (lambda s: s.filter(inverse), r"operator 'filter\(inverse\)' failed on record 3, tick \d+"),
        (lambda s: s.key_by(inverse).count(), r"operator 'key_by\(inverse\)' failed on record 3, tick \d+"),
        (lambda s: s.key_by().sum(inverse), r"operator 'sum' failed on record 3, tick \d+"),
        (lambda s: s.key_by().apply(Inverse()), r"operator 'Inverse' failed on record 3, key 3, tick \d+"),
    ],
    ids=["map", "filter", "key_by", "value", "operator"],
)
def test_an_exception_of_user_code_is_told_with_its_place_and_the_users_own_lines(
    tmp_path: Path, build: Callable[[Stream], Stream], where: str
) -> None:
    error = failing(tmp_path, build)

    first, *_, call, code, _, last = error.splitlines()
    assert re.fullmatch(where, first)
    assert call.endswith("in inverse")
    assert code.strip() == "return 1 / (number - 3)"
    assert last == "ZeroDivisionError: division by zero"
    assert "elastic/" not in error


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda s: s.map(lambda n: (n, threading.Lock())).key_by(lambda p: p[0]).apply(Locks()), "'from_list'"),
        (lambda s: s.key_by().apply(Locks()), "'Locks'"),
        (lambda s: s.key_by().apply(KeepsLocks()), r"'KeepsLocks' has a value for key \d+"),
    ],
    ids=["a row between operators", "an output row", "state"],
)
def test_a_value_that_cannot_be_serialised_is_told_with_its_operator_and_type(
    tmp_path: Path, build: Callable[[Stream], Stream], where: str
) -> None:
    error = failing(tmp_path, build)

    assert re.match(f"operator {where}", error)
    assert "cannot pickle '_thread.lock' object" in error
    assert "Traceback" not in error


@dataclass(frozen=True)
class Numbers(sources.Source, sources.Partition):
    """Fails where it is told to: when it is opened, or after three numbers."""

    fails_in: str
    name: str = "numbers"

    def partitions(self, count: int) -> Sequence[sources.Partition]:
        return [self]

    def open(self) -> sources.Reader:
        return Counting(inverse(3) if self.fails_in == "open" else 0)


class Counting(sources.Reader):
    """Fails on 3."""

    def __init__(self, at: float) -> None:
        self.seek(int(at))

    def seek(self, position: Any) -> None:
        assert isinstance(position, int)
        self.at = position

    def read(self, limit_bytes: int, limit_records: int | None = None) -> sources.Chunk:
        inverse(self.at)
        self.at += 1
        return sources.Chunk([self.at], self.at, 8, 1)

    def reread(self, start: Any, end: Any) -> list[int]:
        return list(range(start + 1, end + 1))


@dataclass(frozen=True)
class Target(DiscardSink):
    """Fails when it is opened."""

    def open(self, context: sinks.SinkContext, interval: Any, generation: int) -> sinks.Writer:
        inverse(3)
        return super().open(context, interval, generation)


@pytest.mark.parametrize(
    ("source", "sink", "connector"),
    [
        (Numbers("open"), DiscardSink(), "source 'numbers'"),
        (Numbers("read"), DiscardSink(), "source 'numbers'"),
        (sources.from_list([1]), Target(), "sink 'discard'"),
    ],
    ids=["a source when it is opened", "a source when it is read", "a sink"],
)
def test_what_code_of_a_users_source_or_sink_raises_is_no_bug_of_ours(
    tmp_path: Path, source: sources.Source, sink: Sink, connector: str
) -> None:
    query = Query("mistaken")
    query.source(source).sink(sink)

    error = drive(query, tmp_path, workers=2, spares=0).error or ""

    assert error.splitlines()[0] == f"the code of {connector} raised"
    assert error.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "elastic/" not in error


def test_a_function_that_a_sink_calls_cannot_end_the_process(tmp_path: Path) -> None:
    error = failing(tmp_path, lambda s: s, sinks.call(lambda delivery: sys.exit(3)))

    assert "operator 'call' failed after tick" in error
    assert "code of yours ends the process" in error
    assert error.splitlines()[-1] == "SystemExit: 3"


def test_code_that_ends_its_process_again_and_again_ends_the_job(tmp_path: Path) -> None:
    error = failing(tmp_path, lambda s: s.map(lambda n: os._exit(7) if n == 3 else n))

    assert re.search(r"from_list#0 was lost \d times without getting past tick \d+.*exited with code 7", error)


@pytest.mark.parametrize("guess", [dice, time.time])
def test_code_that_is_not_deterministic_is_named_with_tick_and_key(tmp_path: Path, guess: Callable[[], float]) -> None:
    outcome = restless(tmp_path, guess)

    assert outcome.status == "failed"
    assert re.search(r"operator 'restless'.* is not deterministic: tick \d+, key \d+ gave \(\d+", str(outcome.error))
    assert outcome.failure == "nondeterminism"
    assert "nondeterminism" in kinds(outcome)


def test_code_that_is_not_deterministic_is_only_reported_if_the_job_says_so(tmp_path: Path) -> None:
    outcome = restless(tmp_path, time.time, nondeterminism="warn")

    assert outcome.status == "done", outcome.error
    assert "nondeterminism" in kinds(outcome)
    assert sum(len(part.read_text().splitlines()) for part in (tmp_path / "out").glob("*.jsonl")) == 4_000


def restless(tmp_path: Path, guess: Callable[[], float], **settings: Any) -> JobOutcome:
    query = Query("restless")
    keyed = query.source(sources.from_list(list(range(4_000)), rate="2k/s")).key_by(lambda n: n % 20)
    keyed.apply(Restless(guess), name="restless").sink(sinks.json_lines(tmp_path / "out", commit="100ms"))
    return drive(query, tmp_path, kill_owner("restless", 0, after_records=2_000), checkpoint_ms=5_000, **settings)


def test_a_table_of_another_shape_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "results.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript("CREATE TABLE counts (name TEXT, colour TEXT); INSERT INTO counts VALUES ('a', 'b')")

    error = failing(tmp_path, lambda s: s.key_by().count(), sinks.sqlite(database, table="counts", upsert=True))

    assert "has the columns name, colour, expected key, value" in error
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT * FROM counts").fetchall() == [("a", "b")]


def test_a_row_that_json_cannot_hold_is_shown(tmp_path: Path) -> None:
    error = failing(tmp_path, lambda s: s.map(lambda n: {1, 2}), sinks.json_lines(tmp_path / "out"))

    assert "the row {1, 2} cannot be written" in error


def allow_files_of(size_bytes: int) -> Callable[[int], int]:
    """A function that lets its process write no larger files from number 500 of a thousand on: like a full disk."""

    def limit(number: int) -> int:
        if number % 1_000 == 500:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
        return number

    return limit


@pytest.mark.parametrize(
    ("sink", "size_bytes", "place"),
    [
        (lambda at: sinks.json_lines(at / "out", commit="100ms"), 8_000, "parts that were committed are kept"),
        (lambda at: sinks.sqlite(at / "rows.db", table="rows", columns=["number", "text"]), 100_000, "rows.db"),
    ],
    ids=["json_lines", "sqlite"],
)
def test_a_full_disk_ends_the_job_and_what_was_committed_stays(
    tmp_path: Path, sink: Callable[[Path], Sink], size_bytes: int, place: str
) -> None:
    query = Query("full")
    numbers = query.source(sources.from_list(list(range(10_000)), rate="8k/s")).map(allow_files_of(size_bytes))
    numbers.map(lambda n: (n, "x" * 200)).sink(sink(tmp_path))

    outcome = drive(query, tmp_path, workers=2, spares=0)

    assert outcome.status == "failed"
    assert place in str(outcome.error)
    assert "Traceback" not in str(outcome.error)
    parts = (tmp_path / "out").glob("*.jsonl")
    committed = [json.loads(line)[0] for part in parts for line in part.read_text().splitlines()]
    assert len(set(committed)) == len(committed)


def test_an_input_log_that_cannot_be_written_ends_the_job(tmp_path: Path) -> None:
    query = Query("full")
    numbers = query.source(sources.from_list(list(range(10_000)), rate="8k/s")).map(allow_files_of(4_000))
    numbers.filter(lambda n: False).sink(sinks.discard())

    outcome = drive(query, tmp_path, workers=2, spares=0)

    assert outcome.status == "failed"
    assert "/log/" in str(outcome.error)
    assert "Traceback" not in str(outcome.error)
