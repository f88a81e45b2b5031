"""A stream-table join emits what plain Python computes, whatever the cuts, checkpoints and crashes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, Pairs, columnar, rows, sorted_batch
from elastic.keys import KeyInterval, encode_key, groups_of, key_group
from elastic.operators.base import ProcessorContext, TickInput
from elastic.operators.join import STREAM, TABLE, How, JoinProcessor, TableJoin
from elastic.state.processing import cut_table, fold, join_tables

GROUPS = 8

some_keys = st.sampled_from(["a", "b", "long enough", 1, 1.0, True, 2.5, None, ("a", 1), float("nan")])
table_rows = st.tuples(some_keys, st.none() | st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=1))
stream_rows = st.tuples(some_keys, st.none() | st.integers(0, 3))
ticks = st.lists(st.tuples(st.lists(table_rows, max_size=6), st.lists(stream_rows, max_size=6)), min_size=1, max_size=6)


@st.composite
def cuts(draw: st.DrawFn) -> list[KeyInterval]:
    at = [0, *sorted(draw(st.sets(st.integers(1, GROUPS - 1), max_size=3))), GROUPS]
    return [KeyInterval(low, high) for low, high in pairwise(at)]


def made(how: How, intervals: list[KeyInterval]) -> list[JoinProcessor]:
    return [TableJoin(None, how).make(ProcessorContext("join", i, GROUPS, 10, 0.0, 0)) for i in intervals]


def batch(given_rows: list[Any], *, typed: bool) -> Batch:
    keys, values = [key for key, _ in given_rows], [value for _, value in given_rows]
    column = columnar(keys) if typed else keys
    return sorted_batch(groups_of(column, GROUPS), column, columnar(values) if typed else values)


@given(ticks, st.sampled_from(["inner", "left"]), cuts(), cuts(), st.sets(st.integers(0, 5)), st.booleans())
def test_a_join_gives_each_row_the_newest_of_its_key(
    given_ticks: list[Any],
    how: How,
    first: list[KeyInterval],
    later: list[KeyInterval],
    restarts: set[int],
    typed: bool,  # noqa: FBT001 (hypothesis gives arguments by place)
) -> None:
    intervals, instances = first, made(how, first)
    stored = [instance.full() for instance in instances]
    newest: dict[bytes, Any] = {}
    for tick, (table, stream) in enumerate(given_ticks, 1):
        found: list[tuple[int, str]] = []
        for interval, instance in zip(intervals, instances, strict=True):
            parts = [(n, batch(r, typed=typed).slice(interval)) for n, r in ((TABLE, table), (STREAM, stream)) if r]
            for output in instance.process(TickInput(tick, [(n, part) for n, part in parts if part is not None])):
                assert isinstance(output.values, Pairs)
                assert np.all(np.diff(output.groups.astype(int)) >= 0)
                found += zip(output.groups.tolist(), map(repr, rows(output.values)), strict=True)

        newest |= {encode_key(key): row for key, row in sorted(table, key=lambda r: key_group(r[0], GROUPS))}
        expected = [
            (key_group(key, GROUPS), repr((key, (value, newest.get(encode_key(key))))))
            for key, value in sorted(stream, key=lambda r: key_group(r[0], GROUPS))
            if how == "left" or newest.get(encode_key(key)) is not None
        ]
        assert found == expected

        if tick in restarts:
            stored = [fold(old, [instance.delta()]) for old, instance in zip(stored, instances, strict=True)]
            intervals = later if intervals is first else first
            instances = made(how, intervals)
            stored = [cut_table(join_tables(stored), interval) for interval in intervals]
            for instance, part in zip(instances, stored, strict=True):
                instance.restore(part)
