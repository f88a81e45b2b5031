"""Files of records against Arrow's own readers: JSON lines and CSV, parsed into columns, of which one is filtered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from benchmarks import data
from benchmarks.limit import Input, run_filter
from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.runtime import check, repeats, run, scratch
from elastic import Query, sinks, sources
from elastic.functions import equals, field

RECORDS = 2_000_000
WANTED = 77
"""One value of ``n`` in a thousand."""

Kind = Literal["json_lines", "csv"]
TYPES = {"user": pa.string(), "amount": pa.float64(), "ok": pa.bool_(), "n": pa.int64()}


@dataclass(frozen=True)
class _Case:
    kind: Kind

    @property
    def file(self) -> Path:
        """The input, made once."""
        return data.record_file(RECORDS, self.kind)

    def limit(self, repeat: int) -> float:
        """Records a second of Arrow's reader in plain processes."""
        make = _json_matches if self.kind == "json_lines" else _csv_matches
        outcome = run_filter(make, Input(self.file, repeat))
        check(_difference(sum(outcome.results), repeat))
        return RECORDS * repeat / outcome.seconds

    def runtime(self, repeat: int) -> float:
        """Records a second of the same as a job."""
        with scratch() as directory:
            query = Query(self.kind.replace("_", "-"))
            query.source(self._source(repeat)).map(field("n")).filter(equals(WANTED)).sink(sinks.json_lines(directory))
            report = run(query)
            written = sum(path.read_bytes().count(b"\n") for path in directory.glob("*.jsonl"))
            check(_difference(written, repeat))
        return RECORDS * repeat / report.wall_s

    def _source(self, repeat: int) -> Any:
        if self.kind == "json_lines":
            return sources.json_lines(self.file, repeat=repeat)
        return sources.csv(self.file, names=list(TYPES), repeat=repeat)


def _json_matches() -> Callable[[bytes], list[Any]]:
    options = pyarrow.json.ParseOptions(explicit_schema=pa.schema(list(TYPES.items())))

    def matching(block: bytes) -> list[Any]:
        reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(block) + 1)
        return _wanted(pyarrow.json.read_json(pa.BufferReader(block), reading, options))

    return matching


def _csv_matches() -> Callable[[bytes], list[Any]]:
    types = pyarrow.csv.ConvertOptions(column_types=TYPES)

    def matching(block: bytes) -> list[Any]:
        reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(TYPES))
        return _wanted(pyarrow.csv.read_csv(pa.BufferReader(block), reading, convert_options=types))

    return matching


def _wanted(table: pa.Table) -> list[Any]:
    column = table.column("n")
    found: list[Any] = column.filter(pc.equal(column, WANTED)).to_pylist()
    return found


def _difference(found: int, repeat: int) -> str | None:
    wanted = len(range(WANTED, RECORDS, 1000)) * repeat
    return None if found == wanted else f"{found} records were found, expected {wanted}"


def _measure(effort: Effort) -> Sequence[Row]:
    measured = []
    for case in (_Case("json_lines"), _Case("csv")):
        repeat = repeats(effort.timed_s, lambda case=case: RECORDS * 2 / case.limit(2) / 2)  # type: ignore[misc]
        value, limit = in_turns(
            effort.rounds,
            lambda case=case, repeat=repeat: case.runtime(repeat),  # type: ignore[misc]
            lambda case=case, repeat=repeat: case.limit(repeat),  # type: ignore[misc]
        )
        measured.append(ratio_row(f"read_{case.kind}", value / 1e6, "M records/s", limit / 1e6, at_least=0.7))
    return measured


MEASUREMENT = Measurement("record_files", "JSON lines and CSV into columns, by Arrow's own readers", _measure)
