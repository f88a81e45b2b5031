"""However records are asked for, the same positions give the same records."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import concat, rows
from elastic.connectors import generator as room
from elastic.connectors.base import Chunk
from elastic.connectors.generator import generator

limits = st.lists(st.tuples(st.integers(1, 400), st.none() | st.integers(1, 20)), min_size=1, max_size=4)


@given(st.integers(0, 60), limits, st.sampled_from(["zipf", "uniform"]), st.data())
def test_any_run_of_records_is_the_same_however_it_is_read(
    count: int, sizes: list[tuple[int, int | None]], distribution: Any, data: st.DataObject
) -> None:
    with patch.object(room, "BLOCK_RECORDS", 8):
        reader = generator(100, distribution=distribution, count=count, seed=count).partitions(1)[0].open()
        whole = rows(reader.reread(0, count))
        chunks = list[Chunk]()
        while (chunk := reader.read(*sizes[len(chunks) % len(sizes)])) is not None:
            chunks.append(chunk)
        start = data.draw(st.integers(0, count))
        end = data.draw(st.integers(start, count))

        assert reader.finished
        assert sum(c.records for c in chunks) == count
        assert [r for c in chunks for r in rows(c.rows)] == whole
        assert rows(reader.reread(start, end)) == whole[start:end]
        if chunks:
            assert rows(concat([c.rows for c in chunks])) == whole
