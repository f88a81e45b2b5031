"""Where instances are cut: whatever was measured, the parts tile the interval and the load is halved."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elastic.coordinator.cuts import EVEN_SHARE, Cuttable
from elastic.instance.group_load import KEPT, GroupLoad
from elastic.keys import KeyInterval, tiles

LOADS = st.lists(st.sampled_from([0, 0, 1, 2, 7, 1000]) | st.integers(0, 10**6), min_size=1, max_size=40)


@given(loads=LOADS, low=st.integers(0, 100), data=st.data())
def test_parts_tile_the_interval_and_carry_their_share_but_for_one_group(
    loads: list[int], low: int, data: st.DataObject
) -> None:
    whole = Cuttable(range(low, low + len(loads) + 1), np.array(loads, np.float32))
    count = data.draw(st.integers(1, whole.most))

    parts = whole.cut(count)

    assert len(parts) == count
    assert tiles(parts, KeyInterval(low, low + len(loads)))
    shares = [sum(whole.shares[p.low - low : p.high - low]) for p in parts]
    assert np.isclose(max(shares), whole.largest_share(count))
    if count == 2 and whole.most > 2:
        best = min(max(whole.shares[:n].sum(), whole.shares[n:].sum()) for n in range(1, len(loads)))
        assert np.isclose(whole.largest_share(2), best)


@given(bounds=st.sets(st.integers(0, 500), min_size=2), data=st.data())
def test_a_source_is_cut_between_its_partitions_only(bounds: set[int], data: st.DataObject) -> None:
    ordered = sorted(bounds)
    loads = data.draw(st.none() | st.just(np.arange(len(ordered) - 1, dtype=np.float32)))
    whole = Cuttable(ordered, loads)

    parts = whole.cut(data.draw(st.integers(1, whole.most)))

    assert tiles(parts, KeyInterval(ordered[0], ordered[-1]))
    assert {end for part in parts for end in part} <= bounds


def test_without_a_measured_load_the_groups_are_shared_out_evenly() -> None:
    assert Cuttable(range(9)).cut(4) == [KeyInterval(n, n + 2) for n in (0, 2, 4, 6)]
    assert Cuttable(range(9), np.zeros(8, np.float32)).cut(2) == [KeyInterval(0, 4), KeyInterval(4, 8)]


def test_a_hot_group_is_cut_off_from_the_others() -> None:
    whole = Cuttable(range(9), np.array([1, 1, 1, 90, 1, 1, 1, 1], np.float32))

    assert KeyInterval(3, 4) in whole.cut(3)
    assert whole.hottest[0] == 3
    assert whole.largest_share(8) > 0.9 - EVEN_SHARE


@given(batches=st.lists(st.lists(st.integers(10, 29), max_size=60), max_size=5))
def test_rows_are_counted_by_group_in_batches_of_any_length(batches: list[list[int]]) -> None:
    load = GroupLoad(KeyInterval(10, 30))
    for batch in batches:
        load.add(np.array(sorted(batch), np.uint16))

    taken = load.taken()

    counted = np.bincount([g - 10 for batch in batches for g in batch], minlength=20)
    assert (taken is None) == (not batches)
    if taken is not None:
        assert taken.tolist() == counted.tolist()


def test_what_was_counted_long_ago_counts_less_and_an_idle_period_says_nothing() -> None:
    load = GroupLoad(KeyInterval(0, 2))
    load.add_at(0, 100)
    load.taken()
    load.add_at(1, 10)

    taken = load.taken()

    assert taken is not None
    assert taken.tolist() == [100 * KEPT, 10]
    assert load.taken() is None
