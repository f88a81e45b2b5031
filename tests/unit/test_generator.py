"""Seeded records: the same again, of the distribution that was asked for."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import rows
from elastic.connectors.base import Rate
from elastic.connectors.generator import BLOCK_RECORDS, alias_table, generator
from elastic.errors import QueryError


def drawn(count: int, **arguments: Any) -> pa.StructArray:
    chunk = generator(count=count, **arguments).partitions(1)[0].open().read(1 << 40)
    assert chunk is not None
    return chunk.rows


def test_rows_are_records_of_a_key_and_a_value() -> None:
    first = rows(drawn(3, keys=10, values=(5, 6)))

    assert [record["value"] for record in first] == [5, 5, 5]
    assert all(0 <= record["key"] < 10 and list(record) == ["key", "value"] for record in first)


def test_the_records_of_a_seed_are_fixed_for_ever() -> None:
    """A resumed job, on another machine or release, must make what the log says it has read."""
    zipf, uniform = drawn(5, keys=1000, seed=7), drawn(5, keys=1000, seed=7, distribution="uniform")

    assert zipf.field("key").to_pylist() == [20, 0, 0, 0, 82]
    assert zipf.field("value").to_pylist() == [202, 923, 738, 772, 915]
    assert uniform.field("key").to_pylist() == [872, 295, 420, 405, 82]


def test_other_seeds_and_other_partitions_give_other_records() -> None:
    streams = [p.open().read(8000) for seed in (1, 2) for p in generator(seed=seed).partitions(2)]

    assert len({str(rows(chunk.rows)) for chunk in streams if chunk is not None}) == 4


def test_what_is_asked_for_is_shared_out_over_the_partitions() -> None:
    partitions = generator(count="10").partitions(4)

    records = []
    for partition in partitions:
        reader = partition.open()
        while (chunk := reader.read(32)) is not None:
            records.append(chunk.records)
        assert reader.finished

    assert sum(records) == 10
    assert max(records) == 2


def test_without_a_count_it_never_ends() -> None:
    reader = generator().partitions(1)[0].open()
    reader.seek(10**15)

    chunk = reader.read(1 << 20, limit_records=100)

    assert chunk is not None
    assert (chunk.records, chunk.position, chunk.size_bytes, reader.finished) == (100, 10**15 + 100, 1600, False)


def test_a_source_and_its_partitions_survive_pickling() -> None:
    source = pickle.loads(pickle.dumps(generator(rate="200k/s", count=5)))
    partition = pickle.loads(pickle.dumps(source.partitions(1)[0]))

    assert source.rate == Rate(200_000, "records")
    assert partition.open().reread(0, 5) == drawn(5)


@pytest.mark.parametrize(
    ("keys", "exponent"), [(1, 1.1), (2, 1.0), (10, 0.0), (1000, 1.1), (100_000, 1.1), (1000, 3.0)]
)
def test_the_alias_table_holds_exactly_the_zipf_distribution(keys: int, exponent: float) -> None:
    weights = np.arange(1, keys + 1, dtype=np.float64) ** -exponent
    threshold, alias = alias_table(keys, exponent)

    kept = (threshold.astype(np.float64) + (threshold == 2**32 - 1)) / 2**32
    probability = (kept + np.bincount(alias, 1 - kept, keys)) / keys

    assert np.allclose(probability, weights / weights.sum(), rtol=1e-4, atol=1e-9)


def test_zipf_keys_and_uniform_values_come_as_often_as_they_should() -> None:
    count = 1_000_000
    sample = drawn(count, keys=1000, exponent=1.0, values=(-3, 7), seed=3)
    keys = np.bincount(sample.field("key").to_numpy(), minlength=1000)
    values = np.bincount(sample.field("value").to_numpy() + 3, minlength=10)
    expected = count / np.arange(1, 1001) / np.sum(1 / np.arange(1, 1001))

    assert np.all(np.abs(keys - expected) < 6 * np.sqrt(expected))
    assert np.all(np.abs(values - count / 10) < 6 * np.sqrt(count / 10))


def test_reads_that_cross_blocks_are_one_array() -> None:
    reader = generator().partitions(1)[0].open()

    across = reader.reread(BLOCK_RECORDS - 2, BLOCK_RECORDS + 2)

    assert rows(across) == rows(reader.reread(0, 2 * BLOCK_RECORDS))[BLOCK_RECORDS - 2 : BLOCK_RECORDS + 2]
    assert rows(reader.reread(4, 4)) == []


@pytest.mark.parametrize(
    "arguments",
    [{"keys": 0}, {"distribution": "normal"}, {"exponent": -1}, {"exponent": float("nan")}, {"values": (5, 5)}],
)
def test_an_argument_out_of_range_is_refused_by_name(arguments: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match=next(iter(arguments))):
        generator(**arguments)
