"""Rows in memory: the same rows, in order, as columns where they can be."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa
import pytest

from elastic.batch import rows
from elastic.connectors.base import Rate
from elastic.connectors.from_list import from_list
from elastic.units import UnitError


@pytest.mark.parametrize("given", [[], [1], list(range(10)), ["a", None, 1.5, {"k": 1}, ("t",), True, b"x"]])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_all_rows_are_read_once_in_order_and_can_be_read_again(given: list[Any], count: int) -> None:
    read: list[Any] = []
    for partition in from_list(iter(given)).partitions(count):
        reader = pickle.loads(pickle.dumps(partition)).open()
        start = 0
        while (chunk := reader.read(100, limit_records=2)) is not None:
            assert 0 < chunk.records == len(chunk.rows) <= 2
            assert rows(reader.reread(start, chunk.position)) == rows(chunk.rows)
            read += rows(chunk.rows)
            start = chunk.position
        assert reader.finished

    assert read == given
    assert list(map(type, read)) == list(map(type, given))


def test_rows_of_one_type_are_a_column() -> None:
    chunk = from_list(["a", "b", "c", "d"]).partitions(2)[1].open().read(1 << 20)

    assert chunk is not None
    assert chunk.rows == pa.array(["c", "d"])


def test_reading_goes_on_from_where_it_is_told() -> None:
    reader = from_list([1, 2, 3]).partitions(1)[0].open()
    reader.seek(2)

    chunk = reader.read(1)

    assert chunk is not None
    assert (rows(chunk.rows), chunk.position, reader.finished) == ([3], 3, True)


def test_a_rate_is_written_with_its_unit() -> None:
    assert from_list([1], rate="10/s").rate == Rate(10, "records")
    assert from_list([1], rate=Rate(5, "bytes")).rate == Rate(5, "bytes")
    for wrong in (10, "10", "0/s"):
        with pytest.raises(UnitError):
            from_list([1], rate=wrong)  # type: ignore[arg-type]
