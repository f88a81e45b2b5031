from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch, Column, Pairs
from elastic.connectors import sinks
from elastic.connectors.base import SinkContext, Writer
from elastic.connectors.json_lines import JsonLinesSink
from elastic.errors import FencedError, QueryError, SinkError
from elastic.keys import KeyInterval

ALL = KeyInterval(0, 16)


def batch(values: Column) -> Batch:
    return Batch(np.zeros(len(values), np.uint16), None, values)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "results" / "today"


@pytest.fixture
def context(tmp_path: Path) -> SinkContext:
    return SinkContext("run", "job", "sink", 16, 10, tmp_path)


@pytest.fixture
def sink(directory: Path, context: SinkContext) -> JsonLinesSink:
    """Parts of a hundred ticks."""
    made = sinks.json_lines(directory, commit="1s")
    made.prepare(context)
    return made


@pytest.fixture
def writer(sink: JsonLinesSink, context: SinkContext) -> Iterator[Writer]:
    with closing(sink.open(context, ALL, 1)) as opened:
        yield opened


def parts(directory: Path) -> dict[str, list[Any]]:
    """The rows of each part, by its name's last word."""
    return {
        p.stem.rsplit("-", 1)[1].lstrip("0"): [json.loads(line) for line in p.read_text().splitlines()]
        for p in sorted(directory.glob("*"))
        if p.suffix == ".jsonl"
    }


def test_a_part_appears_when_its_period_is_over(directory: Path, writer: Writer) -> None:
    assert writer.commit([(5, batch(["a"])), (99, batch(["b"]))], 99, final=False) == 0
    assert parts(directory) == {}

    assert writer.commit([(100, batch(["c"])), (101, batch(["d"]))], 101, final=False) == 100
    assert parts(directory) == {"100": ["a", "b", "c"]}

    assert writer.commit([(130, batch(["e"]))], 450, final=False) == 400
    assert parts(directory) == {"100": ["a", "b", "c"], "400": ["d", "e"]}


def test_a_part_that_begins_past_the_end_of_a_period_without_rows_does_not_end_there(
    directory: Path, context: SinkContext
) -> None:
    sink = sinks.json_lines(directory, commit="200ms")
    sink.prepare(context)
    with closing(sink.open(context, ALL, 1)) as writer:
        assert writer.commit([(23, batch(["a"]))], 23, final=False) == 0
        assert writer.commit([(24, batch(["b"]))], 24, final=False) == 0
        assert parts(directory) == {}

        assert writer.commit([], 40, final=False) == 40
        assert parts(directory) == {"40": ["a", "b"]}


def test_the_last_part_ends_with_the_last_tick(directory: Path, writer: Writer) -> None:
    assert writer.commit([(105, batch(["a"]))], 107, final=True) == 107

    assert parts(directory) == {"107": ["a"]}


def test_a_period_without_rows_has_no_part(directory: Path, writer: Writer) -> None:
    assert writer.commit([], 230, final=False) == 200

    assert parts(directory) == {}


def test_rows_are_written_as_what_they_are(directory: Path, writer: Writer) -> None:
    rows = [{"a": [1, None]}, ("x", 2), "zwei\nZeilen, größer", True, 1.5, "\ud800"]
    structs = pa.array([{"user": "u", "n": 1}])

    writer.commit([(1, batch(rows)), (2, batch(Pairs(pa.array(["k"]), [3]))), (3, batch(structs))], 3, final=True)

    assert parts(directory) == {"3": [{"a": [1, None]}, ["x", 2], *rows[2:], ["k", 3], {"user": "u", "n": 1}]}
    assert "größer" in next(directory.glob("*.jsonl")).read_text()


def test_named_columns_make_objects(directory: Path, context: SinkContext) -> None:
    sink = sinks.json_lines(directory, columns=["word", "count"])
    sink.prepare(context)
    with closing(sink.open(context, ALL, 1)) as writer:
        writer.commit([(1, batch(Pairs(["a"], [1]))), (2, batch([{"count": 2, "word": "b"}]))], 2, final=True)

    assert parts(directory) == {"2": [{"word": "a", "count": 1}, {"word": "b", "count": 2}]}


@pytest.mark.parametrize("row", [b"bytes", {1, 2}, math.nan, {"deep": [math.inf]}, {("a", "b"): 1}])
def test_a_row_that_json_cannot_hold_is_named(writer: Writer, row: Any) -> None:
    with pytest.raises(SinkError, match="as JSON") as caught:
        writer.commit([(1, batch(["good", row]))], 1, final=False)

    assert f"the row {row!r}" in str(caught.value)


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path, context: SinkContext) -> None:
    (tmp_path / "results").write_text("")

    for directory in (tmp_path / "results", tmp_path / "results" / "below"):
        with pytest.raises(SinkError, match=r"results.* is a file"):
            sinks.json_lines(directory).prepare(context)


def test_a_full_disk_is_an_error_that_keeps_what_was_committed(
    directory: Path, sink: JsonLinesSink, writer: Writer, context: SinkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer.commit([(1, batch(["kept"]))], 100, final=False)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(SinkError, match="No space left on device"):
            writer.commit([(101, batch(["refused"]))], 200, final=False)

    with pytest.raises(SinkError):  # and it does not go on without the rows that it was given
        writer.commit([(201, batch(["later"]))], 300, final=False)
    with closing(sink.open(context, ALL, 2)) as successor:
        assert successor.committed() == [(ALL, 100)]
    assert parts(directory) == {"100": ["kept"]}


def test_a_part_committed_by_a_writer_that_died_at_once_is_put_in_place(
    directory: Path, sink: JsonLinesSink, writer: Writer, context: SinkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_path: Path, _place: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            writer.commit([(1, batch(["a"]))], 100, final=False)
    assert parts(directory) == {}

    with closing(sink.open(context, ALL, 2)) as successor:
        assert successor.committed() == [(ALL, 100)]
    assert parts(directory) == {"100": ["a"]}


def test_a_writer_stopped_before_its_commit_finds_that_it_was_replaced(
    directory: Path, sink: JsonLinesSink, writer: Writer, context: SinkContext
) -> None:
    """Its part under way is removed under its hands, and what it then commits does not count."""
    writer.commit([(1, batch(["a"]))], 50, final=False)

    with closing(sink.open(context, ALL, 2)) as successor:
        assert list(directory.rglob("*.tmp")) == []
        with pytest.raises(FencedError):
            writer.commit([(60, batch(["b"]))], 100, final=False)
        successor.commit([(1, batch(["a"])), (60, batch(["b"]))], 100, final=False)

    assert parts(directory) == {"100": ["a", "b"]}


def test_parts_under_way_of_others_are_left_alone(directory: Path, sink: JsonLinesSink, context: SinkContext) -> None:
    low, high = KeyInterval(0, 8), KeyInterval(8, 16)
    with closing(sink.open(context, low, 1)) as writer:
        writer.commit([(1, batch(["a"]))], 50, final=False)

        sink.open(context, high, 2).close()

        assert writer.commit([], 100, final=False) == 100
    assert parts(directory) == {"100": ["a"]}


def test_a_part_that_was_removed_counts_as_lost(
    directory: Path, sink: JsonLinesSink, writer: Writer, context: SinkContext
) -> None:
    writer.commit([(1, batch(["a", "b"]))], 100, final=False)
    next(directory.glob("*.jsonl")).unlink()

    assert sink.compare(sink.expected([batch(["a", "b"])]), sink.contents(context)) == (2, 0)


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(QueryError, match="above zero"):
        sinks.json_lines("results", commit="0s")


@pytest.mark.parametrize("below", ["", "parts"])
def test_a_file_where_a_directory_is_needed_is_named(tmp_path: Path, context: SinkContext, below: str) -> None:
    file = tmp_path / "out"
    file.touch()

    with pytest.raises(SinkError, match=f"^{file} is a file; json_lines needs a directory"):
        sinks.json_lines(file / below).prepare(context)
