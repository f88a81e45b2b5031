"""However lines are put together, each has the row that Python's own readers give it alone, or none."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import rows
from elastic.connectors.csv_format import CsvFormat
from elastic.connectors.json_format import JsonFormat

words = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**63), 2**63 - 1)
objects = st.fixed_dictionaries({}, optional={"n": numbers, "s": words | st.none()}).map(json.dumps)
broken = st.sampled_from(
    [
        "{", "}", "{}{}", '{"n":', "1}", '{"n":1.5}', '{"s":3}', '{"x":1}', "[1]", "7", "nul", '{"n":1,"n":2}',
        '{"s":"\x01"}',
    ]
)  # fmt: skip
json_lines = st.lists(objects | broken | st.just("") | st.just("  "), max_size=12)

JSON = replace(JsonFormat(), schema=pa.schema([("n", pa.int64()), ("s", pa.string())]), errors="skip")


@given(json_lines, st.sampled_from(["\n", "\r\n"]))
def test_a_block_of_json_lines_is_its_lines_one_by_one(lines: list[str], end: str) -> None:
    text = "".join(line + end for line in lines).encode()

    parsed = JSON.parse(text)

    expected, bad = [], []
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        row = _json_row(line)
        if row is None:
            bad.append(number)
        else:
            expected.append(row)
    assert rows(parsed.rows) == expected
    assert list(parsed.bad) == bad
    assert parsed.records == len(expected) + len(bad)
    assert all(JSON.cause(lines[number].encode()) for number in bad)


def _json_row(line: str) -> dict[str, Any] | None:
    """The row of one line, by the standard library; None if it has none."""
    try:
        pairs = json.loads(line, object_pairs_hook=list)
    except ValueError:
        return None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return None
    value = dict(pairs)
    if len(value) < len(pairs) or value.keys() - {"n", "s"}:
        return None
    n, s = value.get("n"), value.get("s")
    fits = (n is None or type(n) is int) and (s is None or type(s) is str)
    return {"n": n, "s": s} if fits else None


cells = st.text(st.sampled_from('ab ,"é\t7'), max_size=5)
quoted = cells.map(lambda cell: '"' + cell.replace('"', '""') + '"')
plain = words.filter(lambda cell: not set(cell) & set('",\r\n'))
csv_rows = st.tuples(numbers.map(str) | st.just(""), quoted | plain)
csv_broken = st.sampled_from(["1", "1,2,3", "x,a", '1,"open', "1.5,a", ",,"])
csv_lines = st.lists(csv_rows.map(",".join) | csv_broken | st.just(""), max_size=12)

CSV = replace(CsvFormat(), names=("n", "s"), schema=pa.schema([("n", pa.int64()), ("s", pa.string())]), errors="skip")


@given(csv_lines, st.sampled_from(["\n", "\r\n"]))
def test_a_block_of_csv_is_its_lines_one_by_one(lines: list[str], end: str) -> None:
    text = "".join(line + end for line in lines).encode()

    parsed = CSV.parse(text)

    expected, bad = [], []
    for number, line in enumerate(lines):
        if not line:
            continue
        values = next(csv.reader([line]))
        if len(values) != 2 or line.endswith('"open') or values[0] in ("x", "1.5"):
            bad.append(number)
        else:
            expected.append({"n": int(values[0]) if values[0] else None, "s": values[1]})
    assert rows(parsed.rows) == expected
    assert list(parsed.bad) == bad
    assert all(CSV.cause(lines[number].encode()) for number in bad)


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_bytes_of_any_kind_are_rows_or_bad_lines_and_nothing_else(lines: list[bytes]) -> None:
    text = b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines)
    for form in (JSON, CSV):
        parsed = form.parse(text)

        assert len(parsed.rows) + len(parsed.bad) == parsed.records
        alone = [form.parse(line + b"\n") for line in text.split(b"\n")[:-1]]
        assert [row for one in alone for row in rows(one.rows)] == rows(parsed.rows)
        assert [n for n, one in enumerate(alone) if one.bad] == list(parsed.bad)
