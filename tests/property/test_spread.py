"""Rows that are rebalanced: all of them, evenly, and each to the same group however the producer is cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, merge, rows
from elastic.keys import KeyInterval, even_intervals
from elastic.operators.base import Output, ProcessorContext, TickInput
from elastic.operators.spread import Rebalance
from elastic.operators.stateless import Chain
from elastic.plan import Edge, Step

GROUPS = 16
SPREAD = Edge(0, "in", "rebalance", route="spread")


def emitted(groups: list[int], labels: list[int]) -> Output:
    order = sorted(range(len(groups)), key=lambda n: groups[n])
    return Output(np.array([groups[n] for n in order], np.uint16), [labels[n] for n in order])


def spread_by(outputs: list[Output], tick: int, edge: Edge = SPREAD) -> Batch | None:
    return Chain(edge, GROUPS, tracked=True).run([(output, {}) for output in outputs], tick)


@st.composite
def cuts(draw: st.DrawFn) -> list[KeyInterval]:
    at = [0, *sorted(draw(st.sets(st.integers(1, GROUPS - 1), max_size=3))), GROUPS]
    return [KeyInterval(low, high) for low, high in pairwise(at)]


@given(st.lists(st.integers(0, GROUPS - 1), min_size=1, max_size=60), cuts(), st.integers(1, 50), st.data())
def test_a_row_goes_to_the_same_group_however_its_producer_is_cut_or_reads(
    groups: list[int], producers: list[KeyInterval], tick: int, data: st.DataObject
) -> None:
    whole = spread_by([emitted(groups, list(range(len(groups))))], tick)
    pieces = data.draw(st.integers(1, 3))

    parts = []
    for interval in producers:
        own = [n for n, group in enumerate(groups) if interval.contains(group)]
        size = -(-len(own) // pieces) or 1
        chunks = [own[i : i + size] for i in range(0, len(own), size)]
        if chunks:
            part = spread_by([emitted([groups[n] for n in chunk], chunk) for chunk in chunks], tick)
            assert part is not None
            parts.append(part)

    assert whole is not None
    merged = merge(parts)
    assert merged.groups.tolist() == whole.groups.tolist() == sorted(whole.groups.tolist())
    assert rows(merged.values) == rows(whole.values)
    assert sorted(rows(whole.values)) == list(range(len(groups)))


@pytest.mark.parametrize("count", [1, 8, 100, 10_000])
@pytest.mark.parametrize("instances", [2, 3, 4, 16])
def test_rows_of_one_partition_are_shared_evenly(count: int, instances: int) -> None:
    batch = spread_by([emitted([3] * count, list(range(count)))], 7)

    assert batch is not None
    found = 0
    for low, high in even_intervals(instances, GROUPS):
        part = batch.slice(KeyInterval(low, high))
        share = 0 if part is None else len(part)
        assert abs(share - count * (high - low) / GROUPS) <= 3
        found += share
    assert found == count


def test_single_rows_of_many_ticks_are_shared_evenly() -> None:
    batches = [spread_by([emitted([3], [tick])], tick) for tick in range(1, 1001)]

    to = np.bincount([int(batch.groups[0]) for batch in batches if batch is not None], minlength=GROUPS)

    assert to.min() > 30


def test_a_position_counts_the_rows_that_the_steps_before_let_through() -> None:
    odd = Step("filter", "filter(odd)", lambda n: n % 2, 0)

    edge = Edge(0, "in", "rebalance", steps=(odd,), route="spread")

    filtered = spread_by([emitted([3] * 8, list(range(8)))], 1, edge)
    whole = spread_by([emitted([3] * 4, [1, 3, 5, 7])], 1)

    assert filtered is not None
    assert whole is not None
    assert (filtered.groups.tolist(), rows(filtered.values)) == (whole.groups.tolist(), rows(whole.values))


def test_an_instance_emits_what_it_was_sent_from_the_group_that_it_was_sent_to() -> None:
    processor = Rebalance().make(ProcessorContext("rebalance", KeyInterval(0, GROUPS), GROUPS, 10, 0.0, 0))
    batch = spread_by([emitted([3] * 20, list(range(20)))], 1)
    assert batch is not None

    (output,) = processor.process(TickInput(1, [(0, batch)]))

    assert (output.groups.tolist(), rows(output.values)) == (batch.groups.tolist(), rows(batch.values))
    assert processor.process(TickInput(2, [], final=True)) == []
    processor.restore(processor.full())
    assert len(processor) == len(processor.delta()) == 0
