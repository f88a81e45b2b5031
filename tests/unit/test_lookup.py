"""Rows looked up in a table: from a dict or a file, what is left out, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elastic import Query, sinks, sources
from elastic.errors import QueryError, SourceError
from elastic.functions import field
from elastic.plan import Settings
from elastic.streams import Stream
from elastic.testing.simulator import simulate

RATES = {"EUR": 2, "CHF": 3}
PAYMENTS = [("EUR", 10), ("USD", 5), ("CHF", 1), ("EUR", None)]


def rows_of(query: Query) -> dict[str, list[Any]]:
    """What each sink gets."""
    result = simulate(query, 1, workers=2, faults=1, settings=Settings(tick_ms=10, checkpoint_ms=60, key_groups=16))
    assert (result.status, result.wrong, result.error) == ("done", None, None)
    return {name: [row for tick in ticks.values() for row in tick] for name, ticks in result.sinks.items()}


def looked_up(**options: Any) -> tuple[Query, Stream]:
    query = Query("q")
    return query, query.source(sources.from_list(PAYMENTS, rate="100/s")).lookup(RATES, field(0), **options)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [(("EUR", 10), 2), (("CHF", 1), 3), (("EUR", None), 2)]),
        ("left", [(("EUR", 10), 2), (("USD", 5), None), (("CHF", 1), 3), (("EUR", None), 2)]),
    ],
)
def test_each_row_comes_with_what_the_table_has_for_it(how: Any, expected: list[Any]) -> None:
    query, found = looked_up(how=how)
    found.sink(sinks.discard(), name="K")

    assert sorted(rows_of(query)["K"], key=repr) == sorted(expected, key=repr)


def test_a_row_on_which_the_function_raises_is_diverted_as_it_came() -> None:
    query, found = looked_up(function=lambda row, rate: (row[0], row[1] * rate), on_error="divert")
    found.sink(sinks.discard(), name="K")
    found.output("errors").map(lambda bad: (bad["operator"], bad["record"])).sink(sinks.discard(), name="bad")

    told = rows_of(query)

    assert sorted(told["K"]) == [("CHF", 3), ("EUR", 20)]
    assert told["bad"] == [("lookup(field(0))", ("EUR", None))]


def test_a_change_of_the_dict_after_the_query_was_written_is_not_seen() -> None:
    table = dict(RATES)
    query = Query("q")
    found = query.source(sources.from_list(PAYMENTS[:2])).lookup(table, field(0), lambda row, rate: rate)
    table["USD"] = 9
    found.sink(sinks.discard(), name="K")

    assert rows_of(query)["K"] == [2]


def test_a_table_is_read_from_files_of_every_kind(tmp_path: Path) -> None:
    records = [{"code": "EUR", "rate": 2}, {"code": "CHF", "rate": 3}]
    (tmp_path / "a.csv").write_text("code,rate\nEUR,2\nCHF,3\n")
    (tmp_path / "a.jsonl").write_text('{"code": "EUR", "rate": 2}\n{"code": "CHF", "rate": 3}\n')
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")

    for name in ("a.csv", "a.jsonl", "a.parquet"):
        assert sources.table(tmp_path / name, key="code") == {record["code"]: record for record in records}


@pytest.mark.parametrize(
    ("name", "text", "error", "said"),
    [
        ("a.txt", "", QueryError, "expected a file that ends with .csv"),
        ("a.csv", "code,rate\nEUR,2\nEUR,3\n", SourceError, "two records have the code 'EUR'"),
        ("a.csv", "cod,rate\nEUR,2\n", SourceError, "there is no column 'code'; did you mean cod"),
        ("a.csv", "code,rate\nEUR,2\nCHF\n", SourceError, r"a.csv', line 3 .*1 value; expected 2"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, text: str, error: Any, said: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(error, match=said):
        sources.table(tmp_path / name, key="code")


def test_what_is_no_table_is_refused_where_it_is_written() -> None:
    rows = Query("q").source(sources.from_list([1]))

    with pytest.raises(QueryError, match=r"lookup\(\) takes a dict, .* not \[1\]"):
        rows.lookup([1], field(0))  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="write 'inner' or 'left'"):
        rows.lookup({}, field(0), how="outer")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="write it before key_by"):
        rows.key_by().lookup({}, field(0))  # type: ignore[attr-defined]
