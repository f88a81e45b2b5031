"""What stands in the parts of CSV and Parquet, and which rows they refuse; what a function is called with."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from elastic.batch import Batch, Column, Pairs
from elastic.connectors import parts as room
from elastic.connectors import sinks
from elastic.connectors.base import Sink, SinkContext
from elastic.connectors.call import Delivery
from elastic.errors import FencedError, QueryError, SinkError, UserCodeError
from elastic.keys import KeyInterval

ALL = KeyInterval(0, 16)


def batch(values: Column) -> Batch:
    return Batch(np.zeros(len(values), np.uint16), None, values)


@pytest.fixture
def context(tmp_path: Path) -> SinkContext:
    return SinkContext("run", "job", "sink", 16, 10, tmp_path / "job")


def write(sink: Sink, context: SinkContext, *columns: Column) -> None:
    """One commit, a tick for each column."""
    sink.prepare(context)
    with closing(sink.open(context, ALL, 1)) as writer:
        writer.commit([(n, batch(column)) for n, column in enumerate(columns, 1)], len(columns), final=True)


def text_of(directory: Path) -> list[str]:
    return [part.read_bytes().decode() for part in sorted(directory.glob("*.csv"))]


def test_csv_has_a_line_of_names_and_quotes_only_what_needs_it(tmp_path: Path, context: SinkContext) -> None:
    rows: list[Any] = [
        {"word": "plain", "n": 1}, {"word": 'a "b", c', "n": 2.5}, {"word": "two\nlines", "n": None},
        {"word": "", "n": True}, {"word": None, "n": 2**80},
    ]  # fmt: skip

    write(sinks.csv(tmp_path / "out"), context, rows)

    assert text_of(tmp_path / "out") == [
        'word,n\nplain,1\n"a ""b"", c",2.5\n"two\nlines",\n"",true\n,1208925819614629174706176\n'
    ]


def test_csv_is_the_same_for_rows_and_for_columns(tmp_path: Path, context: SinkContext) -> None:
    words, numbers = ["a", "b,", 'c"', "ä", ""], [1.0, 2.5, -0.0, 1e20, math.inf]
    column = pa.StructArray.from_arrays([pa.array(words), pa.array(numbers)], ["w", "x"])

    write(sinks.csv(tmp_path / "columns"), context, column)
    write(sinks.csv(tmp_path / "rows"), context, column.to_pylist())
    mixed = [*column.to_pylist(), {"w": 7, "x": "text"}]
    write(sinks.csv(tmp_path / "mixed"), context, mixed)

    assert text_of(tmp_path / "columns") == text_of(tmp_path / "rows")
    assert text_of(tmp_path / "mixed")[0].startswith(text_of(tmp_path / "rows")[0])


def test_csv_is_read_back_by_others_as_what_was_written(tmp_path: Path, context: SinkContext) -> None:
    awkward = ["a", "b\tc", 'd"e"', "f\ng", "h\r", " i ", "", ";"]
    write(sinks.csv(tmp_path, delimiter=";"), context, Pairs(pa.array(awkward), pa.array(range(8))))

    (part,) = tmp_path.glob("*.csv")
    with part.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, delimiter=";")) == [
            ["key", "value"],
            *([w, str(n)] for n, w in enumerate(awkward)),
        ]
    options = pyarrow.csv.ParseOptions(delimiter=";", newlines_in_values=True)
    assert pyarrow.csv.read_csv(part, parse_options=options).column("key").to_pylist() == awkward


def test_a_single_column_without_a_value_is_no_empty_line(tmp_path: Path, context: SinkContext) -> None:
    write(sinks.csv(tmp_path, columns=["word"]), context, ["a", None, "b"])

    assert text_of(tmp_path) == ['word\na\n""\nb\n']


@pytest.mark.parametrize("value", [b"bytes", [1, 2], {"deep": 1}, "\ud800", object()])
def test_csv_refuses_what_it_cannot_hold_and_names_the_column(tmp_path: Path, context: SinkContext, value: Any) -> None:
    with pytest.raises(SinkError, match=r"the column 'value' holds .* which cannot be written"):
        write(sinks.csv(tmp_path), context, [("a", 1), ("b", value)])


def test_parquet_keeps_types_and_nested_values(tmp_path: Path, context: SinkContext) -> None:
    now = datetime(2024, 5, 1, tzinfo=UTC)
    rows = [{"user": "ann", "tags": ["a", "b"], "at": now, "n": None}, {"user": "bob", "tags": [], "at": now, "n": 3}]

    write(sinks.parquet(tmp_path), context, rows)

    (part,) = tmp_path.glob("*.parquet")
    assert pq.read_table(part).to_pylist() == rows


def test_a_part_of_parquet_brings_types_together_that_differ_a_little(tmp_path: Path, context: SinkContext) -> None:
    write(
        sinks.parquet(tmp_path, columns=["k", "v"]), context, [("a", 1)], Pairs(["b"], pa.array([2.5])), [("c", None)]
    )

    (part,) = tmp_path.glob("*.parquet")
    table = pq.read_table(part)
    assert table.column("v").to_pylist() == [1.0, 2.5, None]
    assert table.schema.field("v").type == pa.float64()


def test_types_of_parquet_are_those_that_are_given(tmp_path: Path, context: SinkContext) -> None:
    sink = sinks.parquet(tmp_path, types={"value": "int16", "key": str})
    write(sink, context, [("a", 1)], Pairs(pa.array(["b"]), pa.array([2])))

    (part,) = tmp_path.glob("*.parquet")
    assert pq.read_schema(part).field("value").type == pa.int16()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([[("a", 1), ("b", "text")]], r"the column 'value' .* its value 'text' does not go with the others"),
        ([[("a", 1)], Pairs(pa.array(["b"]), pa.array(["text"]))], r"columns of different types"),
        ([[{"a": 1}], [{"b": 1}]], r"the row \{'b': 1\} has the fields b, expected a"),
    ],
)
def test_parquet_refuses_rows_that_have_no_type_in_common(
    tmp_path: Path, context: SinkContext, columns: Sequence[Column], said: str
) -> None:
    with pytest.raises(SinkError, match=said):
        write(sinks.parquet(tmp_path), context, *columns)


def test_a_value_that_is_not_of_the_given_type_is_named(tmp_path: Path, context: SinkContext) -> None:
    with pytest.raises(SinkError, match=r"its value 70000 does not go with int16"):
        write(sinks.parquet(tmp_path, types={"value": "int16"}), context, [("a", 1), ("b", 70_000)])


def test_a_part_that_has_grown_large_ends_early(
    tmp_path: Path, context: SinkContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a long period does not hold what producers keep until it is acknowledged."""
    monkeypatch.setattr(room, "LARGE_BYTES", 20)
    sink = sinks.csv(tmp_path, commit="10s")
    sink.prepare(context)
    with closing(sink.open(context, ALL, 1)) as writer:
        assert writer.commit([(1, batch([("a" * 30, 1)]))], 1, final=False) == 0
        assert writer.commit([(2, batch([("b", 2)]))], 2, final=False) == 2
        assert writer.commit([(3, batch([("c", 3)]))], 3, final=False) == 2

    assert [text.count("\n") for text in text_of(tmp_path)] == [3]


@pytest.mark.parametrize("make", [sinks.csv, sinks.parquet])
def test_a_part_that_was_removed_counts_as_lost(tmp_path: Path, context: SinkContext, make: Any) -> None:
    sink = make(tmp_path / "out")
    column = Pairs(pa.array(["a", "b"]), pa.array([1, 2]))
    write(sink, context, column)
    next(path for path in (tmp_path / "out").iterdir() if path.is_file()).unlink()

    assert sink.compare(sink.expected([batch(column)]), sink.contents(context)) == (2, 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sinks.csv("out", delimiter="ab"), "one ASCII character"),
        (lambda: sinks.csv("out", commit="0s"), "above zero"),
        (lambda: sinks.parquet("out", compression="best"), "one of zstd"),  # type: ignore[arg-type]
        (lambda: sinks.parquet("out", types={"a": "integer"}), "this is no type"),
        (lambda: sinks.parquet("out", columns=["a"], types={"b": int}), "'b' is not among"),
        (lambda: sinks.call("print"), "takes a function"),  # type: ignore[arg-type]
        (lambda: sinks.call(lambda: None), "takes others"),  # type: ignore[arg-type, misc]
        (lambda: sinks.call(print, every="0s"), "above zero"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_query_is_built(make: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        make()


# -- calls -------------------------------------------------------------------------------------------------------------


def test_a_function_is_called_with_rows_tick_and_token(context: SinkContext) -> None:
    made: list[Delivery] = []
    with closing(sinks.call(made.append).open(context, ALL, 1)) as writer:
        writer.commit([(3, batch(["a", "b"])), (5, batch(pa.array([1])))], 9, final=False)

    assert [(d.rows, d.tick, d.token) for d in made] == [
        (["a", "b"], 3, "run/sink/0-16/3"), ([1], 5, "run/sink/0-16/5"),
    ]  # fmt: skip
    assert [len(d) for d in made] == [2, 1]


def test_rows_of_a_period_are_handed_over_at_once(context: SinkContext) -> None:
    made: list[Delivery] = []
    with closing(sinks.call(made.append, every="50ms").open(context, ALL, 1)) as writer:
        assert writer.commit([(3, batch(["a"])), (5, batch(["b"])), (6, batch(["c"]))], 7, final=False) == 5
        assert writer.commit([(10, batch(["d"]))], 10, final=False) == 10
        assert writer.commit([(11, batch(["e"]))], 12, final=True) == 12

    assert [(d.rows, d.tick) for d in made] == [(["a", "b"], 5), (["c", "d"], 10), (["e"], 12)]


def test_a_call_that_was_not_noted_is_made_again_with_the_same_token(context: SinkContext) -> None:
    made: list[Delivery] = []

    def fails_once(delivery: Delivery) -> None:
        made.append(delivery)
        if len(made) == 2:
            raise KeyboardInterrupt  # what a worker that dies looks like from here

    sink, ticks = sinks.call(fails_once), [(1, batch(["a"])), (2, batch(["b"])), (3, batch(["c"]))]
    with closing(sink.open(context, ALL, 1)) as writer, pytest.raises(KeyboardInterrupt):
        writer.commit(ticks, 3, final=True)
    with closing(sink.open(context, ALL, 2)) as writer:
        ((_, done),) = writer.committed()
        assert done == 1
        writer.commit([part for part in ticks if part[0] > done], 3, final=True)

    assert [(d.rows, d.token[-1]) for d in made] == [(["a"], "1"), (["b"], "2"), (["b"], "2"), (["c"], "3")]


def test_a_zombie_does_not_call(context: SinkContext) -> None:
    made: list[Delivery] = []
    zombie = sinks.call(made.append).open(context, ALL, 1)
    sinks.call(made.append).open(context, ALL, 2).close()

    with pytest.raises(FencedError):
        zombie.commit([(1, batch(["a"]))], 1, final=False)
    zombie.close()
    assert made == []


def test_a_function_that_raises_is_shown_with_its_own_line(context: SinkContext) -> None:
    def post(delivery: Delivery) -> None:
        raise ValueError("no such host")

    with closing(sinks.call(post).open(context, ALL, 1)) as writer, pytest.raises(UserCodeError) as caught:
        writer.commit([(4, batch(["a"]))], 4, final=False)

    assert "operator 'sink' failed on record ['a'], tick 4" in str(caught.value)
    assert 'raise ValueError("no such host")' in str(caught.value)
