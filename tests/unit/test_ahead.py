"""Files that a partition has yet to begin hold its watermark back, as far as their first records are earlier."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elastic import Query, Stream, sinks, sources, windows
from elastic.batch import rows
from elastic.connectors.base import Reader, Source
from elastic.functions import field
from elastic.instance.ahead import Ahead
from elastic.operators.timestamps import BEGINNING
from elastic.plan import Plan


def write(directory: Path, files: dict[str, Iterable[int]]) -> str:
    for name, times in files.items():
        (directory / name).write_text("".join(f'{{"at": {at}}}\n' for at in times))
    return f"{directory}/*.jsonl"


def opened(source: Source) -> Reader:
    return source.partitions(1)[0].open()


def plan_of(source: Any, **timed: Any) -> Plan:
    query = Query("ahead")
    return windowed(query, query.source(source, name="files").event_time(**({"time": field("at")} | timed)))


def windowed(query: Query, timed: Stream) -> Plan:
    timed.key_by(lambda _: 0).window(windows.tumbling("1s")).count().sink(sinks.discard())
    return query.plan(workers=1)


def held(source: Any, position: int, **timed: Any) -> list[int]:
    """What the mark of the only partition is held to at a position, in each edge; seconds."""
    ahead = Ahead(plan_of(source, **timed), "files", [(0, opened(source))])
    return [time_us // 1_000_000 for marks in ahead.held([(0, position)]).values() for _, time_us in marks]


LINE = len('{"at": 0}\n')


def test_a_reader_of_lines_tells_where_each_further_file_begins_and_with_what(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1, 2], "b.jsonl": [3], "c.jsonl": [4, 5]})

    found = opened(sources.json_lines(paths)).ahead()

    assert [(at, rows(first)[0]) for at, first in found] == [(2 * LINE, {"at": 3}), (3 * LINE, {"at": 4})]


def test_what_is_repeated_is_ahead_until_its_last_time(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1, 2], "b.jsonl": [3]})

    found = opened(sources.json_lines(paths, repeat=3)).ahead()

    assert [(at, rows(first)[0]["at"]) for at, first in found] == [(6 * LINE, 1), (8 * LINE, 3)]


@pytest.mark.parametrize("repeat", [1, 2])
def test_a_reader_of_parquet_tells_the_same(tmp_path: Path, repeat: int) -> None:
    for name, times in {"a": [1, 2, 3], "b": [7, 8]}.items():
        pq.write_table(pa.table({"at": times}), tmp_path / f"{name}.parquet", row_group_size=2)

    found = opened(sources.parquet(f"{tmp_path}/*.parquet", repeat=repeat)).ahead()

    told = [(at, rows(first)) for at, first in found]
    assert told == ([(3, [{"at": 7}])] if repeat == 1 else [(5, [{"at": 1}]), (8, [{"at": 7}])])


def test_a_mark_is_held_to_the_earliest_file_that_a_tick_does_not_begin_behind(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1, 9], "b.jsonl": [5, 9], "c.jsonl": [3, 4]})

    found = [held(sources.json_lines(paths), n * LINE) for n in range(6)]

    assert found == [[3], [3], [3], [3], [3], []]


def test_files_that_follow_one_another_in_time_hold_nothing_back(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1, 2], "b.jsonl": [3, 4], "c.jsonl": [5, 6]})

    assert [held(sources.json_lines(paths), n * LINE) for n in range(6)] == [[3], [3], [3], [5], [5], []]


def test_a_first_record_without_a_time_is_passed_over_and_a_file_without_any_holds_all_back(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1], "b.jsonl": [7, 8]})
    late = {"time": lambda row: row["at"] if row["at"] != 7 else None}
    never = {"time": lambda row: row["at"] if row["at"] < 7 else None}

    assert held(sources.json_lines(paths), 0, **late) == [8]
    assert held(sources.json_lines(paths), 0, **never) == [BEGINNING // 1_000_000]


def test_steps_before_the_event_time_are_gone_through(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1], "b.jsonl": [7]})
    source = sources.text_files(paths)
    query = Query("ahead")
    parsed = query.source(source, name="files").map(json.loads).event_time(field("at"))

    ahead = Ahead(windowed(query, parsed.filter(lambda _: False)), "files", [(0, opened(source))])

    assert list(ahead.held([(0, 0)]).values()) == [((0, 7_000_000),)]


def test_without_event_time_no_file_is_looked_into(tmp_path: Path) -> None:
    paths = write(tmp_path, {"a.jsonl": [1], "b.jsonl": [7]})
    source = sources.json_lines(paths)
    query = Query("ahead")
    query.source(source, name="files").sink(sinks.discard())
    reader = opened(source)
    (tmp_path / "b.jsonl").unlink()

    assert Ahead(query.plan(workers=1), "files", [(0, reader)]).held([(0, 0)]) == {}
