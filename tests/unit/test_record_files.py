"""Which columns and types JSON lines, CSV and Parquet have, and what is said of a record that has others."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elastic.batch import rows
from elastic.connectors import sources
from elastic.connectors.base import Chunk, Rate, Reader, Source
from elastic.connectors.lines import LinePartition, Segment
from elastic.errors import QueryError, SourceError
from elastic.functions import field


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def open_one(source: Source) -> Reader:
    return source.partitions(1)[0].open()


def chunks(source: Source) -> list[Chunk]:
    found = []
    for partition in source.partitions(2):
        reader = partition.open()
        while (chunk := reader.read(1 << 20)) is not None:
            found.append(chunk)
    return found


def read(source: Source) -> list[Any]:
    return [row for chunk in chunks(source) for row in rows(chunk.rows)]


# -- JSON lines --------------------------------------------------------------------------------------------------------


def test_objects_become_one_struct_column_and_fields_of_it_need_no_rows(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"user": "ann", "n": 1}\n{"n": 2, "user": "b"}\n\n  {"n": 3}  \r\n')

    (chunk,) = chunks(sources.json_lines(file))

    assert isinstance(chunk.rows, pa.StructArray)
    assert rows(chunk.rows) == [{"user": "ann", "n": 1}, {"user": "b", "n": 2}, {"user": None, "n": 3}]
    column = field("n").column(chunk.rows)
    assert isinstance(column, pa.Array)
    assert (column.type, chunk.records, chunk.skipped) == (pa.int64(), 3, 0)


def test_types_are_told_from_all_first_lines_and_text_stays_text(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", '{"x": 1, "at": "2024-05-01 10:00:00", "in": {"day": "2024-05-01"}}\n')
    write(tmp_path / "b.jsonl", b'\xef\xbb\xbf{"x": 1.5, "tags": ["a"]}\n')

    assert read(sources.json_lines(f"{tmp_path}/*.jsonl")) == [
        {"x": 1.0, "at": "2024-05-01 10:00:00", "in": {"day": "2024-05-01"}, "tags": None},
        {"x": 1.5, "at": None, "in": None, "tags": ["a"]},
    ]


def test_types_that_are_given_hold_and_columns_that_are_named_come_in_that_order(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", '{"n": 1, "at": "2024-05-01T10:00:00", "more": true}\n{"odd": {}, "n": 2}\n')

    found = chunks(sources.json_lines(file, columns=["at", "n"], types={"at": "timestamp[ms]", "n": float}))

    assert isinstance(found[0].rows, pa.Array)
    assert found[0].rows.type == pa.struct([("at", pa.timestamp("ms")), ("n", pa.float64())])
    assert [row["n"] for row in read(sources.json_lines(file, columns=["n"]))] == [1, 2]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            '{"n": "x"}',
            r"line 3 \(at byte 18\): the field 'n' holds a string; expected int64: \{\"n\": \"x\"\}; mend it",
        ),
        ('{"n": 1.5}', "the field 'n' holds 1.5; expected int64"),
        ('{"m": 1}', "the field 'm' was not in the first lines of the input, which have n: int64"),
        ("[1]", "this is a JSON array; expected a JSON object with the fields n: int64"),
        ("{'n': 1}", "this is no JSON object .* expected one with the fields n: int64"),
        ('{"n": 1}{"n": 2}', "this is no JSON object"),
        ('{"n": \xff}', "the line is not UTF-8|this is no JSON object"),
    ],
)
def test_a_malformed_line_fails_the_job_with_its_place_and_what_was_expected(
    tmp_path: Path, line: str, said: str
) -> None:
    good = b'{"n": 1}\n{"n": 2}\n'
    file = write(tmp_path / "a.jsonl", good)
    (partition,) = sources.json_lines(file).partitions(1)
    assert isinstance(partition, LinePartition)
    write(file, good + line.encode("latin-1") + b"\n")
    longer = replace(partition, segments=(Segment(str(file), 0, file.stat().st_size),))

    with pytest.raises(SourceError, match=said):
        longer.open().read(1 << 20)


def test_malformed_lines_are_skipped_counted_and_the_first_is_told(tmp_path: Path) -> None:
    lines = [json.dumps({"n": n}) if n % 10 else "no json" for n in range(1000)]
    file = write(tmp_path / "a.jsonl", "\n".join(lines))
    reader = open_one(sources.json_lines(file, errors="skip"))

    chunk = reader.read(1 << 20)

    assert chunk is not None
    assert [row["n"] for row in rows(chunk.rows)] == [n for n in range(1000) if n % 10]
    assert (chunk.records, chunk.skipped) == (1000, 100)
    (first,) = chunk.malformed
    assert first.record == "no json"
    assert first.place == f"{file}:1"
    assert first.cause.startswith("this is no JSON object")
    again = reader.reread(0, chunk.position)
    assert isinstance(again, Chunk)
    assert (rows(again.rows), again.skipped, again.malformed) == (rows(chunk.rows), 100, chunk.malformed)


def test_every_malformed_line_is_told_with_its_place_where_it_is_diverted(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", "n,s\n1,x\n2\n3,y\nz,z\n")
    second = write(tmp_path / "b.csv", "n,s\n4,4,4\n")

    found = chunks(sources.csv(f"{tmp_path}/*.csv", types={"n": int}, errors="divert"))

    assert [row["n"] for chunk in found for row in rows(chunk.rows)] == [1, 3]
    told = [malformed for chunk in found for malformed in chunk.malformed]
    assert [(t.record, t.place) for t in told] == [("2", f"{first}:3"), ("z,z", f"{first}:5"), ("4,4,4", f"{second}:2")]
    assert told[1].cause == "the column 'n' holds 'z'; expected int64"
    assert sum(chunk.skipped for chunk in found) == 0


def test_lines_from_which_no_types_follow_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot be told .* changed from number to string; say them with types"):
        read(sources.json_lines(write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "x"}\n')))
    with pytest.raises(SourceError, match="there are no objects"):
        read(sources.json_lines(write(tmp_path / "b.jsonl", "\n\n")))
    assert read(sources.json_lines(tmp_path / "a.jsonl", types={"a": str}, errors="skip")) == [{"a": "x"}]


# -- CSV ---------------------------------------------------------------------------------------------------------------


def test_csv_has_the_columns_of_its_first_line_and_the_types_of_its_values(tmp_path: Path) -> None:
    text = 'n,x,ok,at,word\n1,1.5,true,2024-05-01,a\n,2,false,,"b, ""c"""\n\n3,,true,x,\n'
    file = write(tmp_path / "a.csv", text.replace("\n", "\r\n"))

    assert read(sources.csv(file)) == [
        {"n": 1, "x": 1.5, "ok": True, "at": "2024-05-01", "word": "a"},
        {"n": None, "x": 2.0, "ok": False, "at": "", "word": 'b, "c"'},
        {"n": 3, "x": None, "ok": True, "at": "x", "word": ""},
    ]


def test_every_file_of_csv_has_its_own_first_line_also_where_it_is_cut(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.csv", "n,word\n" + "".join(f"{n},{name}{n}\n" for n in range(20_000)))

    found = read(sources.csv(f"{tmp_path}/*.csv"))

    assert [row["word"] for row in found] == [f"{name}{n}" for name in "ab" for n in range(20_000)]


def test_csv_without_a_first_line_of_names_is_given_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", b"\xef\xbb\xbf1\ta\n2\tb\n")

    source = sources.csv(file, names=["n", "word"], delimiter="\t", columns=["word", "n"], types={"n": float})

    assert read(source) == [{"word": "a", "n": 1.0}, {"word": "b", "n": 2.0}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x,a", r"line 4 \(at byte 15\): the column 'n' holds 'x'; expected int64: x,a; mend it"),
        ("1", "1 value; expected 2 values, n, word"),
        ("1,a,b", "3 values; expected 2 values, n, word"),
        ('1,"open', "a quoted value goes on in the next line"),
    ],
)
def test_a_malformed_record_fails_the_job_with_its_place_and_what_was_expected(
    tmp_path: Path, line: str, said: str
) -> None:
    file = write(tmp_path / "a.csv", f"n,word\n1,a\n2,b\n{line}\n3,c\n")

    with pytest.raises(SourceError, match=said):
        read(sources.csv(file, types={"n": int, "word": str}))
    kept = read(sources.csv(file, types={"n": int, "word": str}, errors="skip"))
    assert kept == [{"n": 1, "word": "a"}, {"n": 2, "word": "b"}, {"n": 3, "word": "c"}]


def test_a_quote_in_the_middle_of_a_value_is_just_a_character(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", 'n,what\n1,5" pipe\n2,6" pipe\n')

    assert [row["what"] for row in read(sources.csv(file))] == ['5" pipe', '6" pipe']


def test_files_of_other_columns_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "n,word\n1,a\n")
    write(tmp_path / "b.csv", "word,n\na,1\n")
    write(tmp_path / "c.csv", "n,n\n1,1\n")

    with pytest.raises(SourceError, match=r"b.csv' has the columns word, n; the first file has n, word"):
        read(sources.csv(f"{tmp_path}/[ab].csv"))
    with pytest.raises(SourceError, match=r"c.csv', line 1: the columns 'n', 'n' are not one name each"):
        read(sources.csv(tmp_path / "c.csv"))
    with pytest.raises(SourceError, match=r"there is no column 'x' in the input; it has n, word"):
        read(sources.csv(tmp_path / "a.csv", columns=["x"]))


# -- Parquet -----------------------------------------------------------------------------------------------------------


def test_parquet_is_dealt_out_by_row_groups_and_a_position_is_a_row(tmp_path: Path) -> None:
    table = pa.table({"n": range(1000), "word": [f"w{n}" for n in range(1000)]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    parts = sources.parquet(tmp_path / "a.parquet", columns=["n"]).partitions(3)

    assert [sum(g.rows for g in part.groups) for part in parts] == [300, 400, 300]
    again = parts[1].open().reread(95, 205)
    assert isinstance(again, pa.Array)
    assert again.type == pa.struct([("n", pa.int64())])
    assert [row["n"] for row in rows(again)] == list(range(395, 505))


def test_parquet_files_must_have_the_same_columns_and_be_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": ["x"]}), tmp_path / "b.parquet")
    write(tmp_path / "c.parquet", "no parquet")

    with pytest.raises(SourceError, match=r"b.parquet' has the columns n: string; the first file has n: int64"):
        sources.parquet(f"{tmp_path}/[ab].parquet").partitions(1)
    with pytest.raises(SourceError, match=r"c.parquet' cannot be read: .*; fix it, or leave it out"):
        sources.parquet(tmp_path / "c.parquet").partitions(1)
    with pytest.raises(SourceError, match="there is no column 'm'; the files have n"):
        sources.parquet(tmp_path / "a.parquet", columns=["m"]).partitions(1)


def test_a_parquet_file_that_is_another_one_by_now_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "a.parquet")
    (part,) = sources.parquet(tmp_path / "a.parquet").partitions(1)
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")

    with pytest.raises(SourceError, match="has changed since the job started"):
        part.open().read(100)


# -- all of them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sources.json_lines, sources.csv, sources.parquet])
def test_a_source_keeps_its_rate_and_survives_pickling(kind: Any) -> None:
    ramp = [("1s", "10/s"), ("2s", "10/s to 30/s")]

    source = pickle.loads(pickle.dumps(kind("a", rate=ramp)))

    assert isinstance(source.rate, Rate)
    assert source.rate.due(3.0) == pytest.approx(50)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sources.json_lines([]), "at least one path"),
        (lambda: sources.json_lines("a", errors="replace"), "expected 'fail', 'skip' or 'divert'"),  # type: ignore[arg-type]
        (lambda: sources.json_lines("a", types={"n": "number"}), "this is no type"),
        (lambda: sources.json_lines("a", columns=["n", "n"]), "none twice"),
        (lambda: sources.json_lines("a", columns=["n"], types={"m": int}), "'m' is not among columns"),
        (lambda: sources.csv("a", delimiter="--"), "one ASCII character"),
        (lambda: sources.csv("a", names=["n"], columns=["m"]), "'m' is not among names"),
        (lambda: sources.csv("a", repeat=0), "whole number from 1 up"),
        (lambda: sources.parquet("a", columns=[]), "at least one name"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_query_is_built(make: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        make()
