"""Streams of datasets against plain Python, interval by interval, whatever the rows and their partitions."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstream import DStream, StreamingContext
from dstream.datasets import ROWS
from dstream.local import LocalRun
from dstream.logic import Given, LogicContext, Read
from dstream.plan import Kind, Stage, StreamPlan
from dstream.state import Tracking
from dstream.transforms import IntervalRDD
from dstream.versions import Version, whole
from elastic import sinks, sources
from elastic.batch import columnar, rows, sorted_batch
from elastic.connectors.base import Chunk
from elastic.errors import QueryError, UserCodeError
from elastic.keys import KeyInterval
from elastic.operators.base import ProcessorContext
from tests.examples import examples

PAIR = st.tuples(st.sampled_from("abcde"), st.integers(-50, 50))
INTERVALS = st.lists(st.lists(PAIR, max_size=8), min_size=1, max_size=9)
WINDOW = st.integers(1, 5)
FEW = examples(25)

Rows = list[Any]


def run(
    build: Callable[[DStream], DStream], *inputs: Sequence[Rows], workers: int = 2, restored: bool = False
) -> list[Rows]:
    """What a stream gives in each interval, in one process; the input's rows lie in turn in the partitions.

    ``restored`` has a version of all state cut after every interval, and others go on from every second one.
    """
    return run_both(lambda streams: build(streams[0]), inputs, workers=workers, restored=restored)


Links = dict[tuple[int, int], list[Version]]


def cut_versions(local: LocalRun, links: Links, interval: int) -> None:
    """What was written since the last version, of each partition; all of it in the first one."""
    for key, logic in local._logic.items():
        mine = links.setdefault(key, [])
        mine.append(logic.version(interval - 1 if mine else None))
        if mine[-1].base is None:
            del mine[:-1]


def start_again(local: LocalRun, plan: StreamPlan, links: Links) -> None:
    """Others go on from the newest versions."""
    local._logic.clear()
    for (stage, partition), versions in links.items():
        local._logic_of(plan.stages[stage], partition).begin_from(whole(versions))
    links.clear()


def run_both(
    build: Callable[[list[DStream]], DStream],
    inputs: Sequence[Sequence[Rows]],
    *,
    workers: int = 2,
    restored: bool = False,
) -> list[Rows]:
    context = StreamingContext("1s", workers=workers, tasks=3)
    streams = [context.source(sources.from_list([]), name=f"in{n}") for n in range(len(inputs))]
    build(streams).save(sinks.discard(), name="out")
    plan = context.plan()

    def read(stage: Stage, partition: int, interval: int) -> Sequence[Read]:
        number = [s.id for s in plan.stages if s.kind is Kind.SOURCE].index(stage.id)
        if number >= len(inputs):  # data that is read anew, and has not changed
            return []
        mine = inputs[number][interval - 1][partition::workers]
        return [Read(plan.last_tick(interval), [Chunk(columnar(mine), 0, 0, len(mine))])]

    local, found = LocalRun(plan, read), []
    links: Links = {}
    for interval in range(1, len(inputs[0]) + 1):
        if restored and interval > 1:
            cut_versions(local, links, interval - 1)
        if restored and interval % 2:
            start_again(local, plan, links)
        local.interval(interval, plan.last_tick(interval - 1), plan.last_tick(interval), final=False)
        ticks = [b for tick, b in local.sinks["out"] if tick == plan.last_tick(interval)]
        found.append([row for batch in ticks for row in rows(batch.values or [])])
    return found


def counted(intervals: Sequence[Rows]) -> list[Counter[Any]]:
    return [Counter(map(repr, each)) for each in intervals]


def windows(intervals: Sequence[Rows], length: int, slide: int = 1) -> list[Rows]:
    """The rows of each window, at the intervals that a slide ends with; no rows between."""
    return [
        [row for each in intervals[max(0, i - length) : i] for row in each] if i % slide == 0 else []
        for i in range(1, len(intervals) + 1)
    ]


def summed(each: Rows) -> Rows:
    sums: dict[Any, Any] = {}
    for key, value in each:
        sums[key] = sums.get(key, 0) + value
    return list(sums.items())


@FEW
@given(INTERVALS, st.integers(1, 4))
def test_rows_one_by_one(intervals: list[Rows], workers: int) -> None:
    found = run(
        lambda s: s.filter(lambda r: r[1] > 0).map_values(abs).flat_map(lambda r: [r[1]] * 2).map(str),
        intervals, workers=workers,
    )  # fmt: skip

    assert counted(found) == counted([[str(v) for _, v in each if v > 0 for _ in range(2)] for each in intervals])


@FEW
@given(INTERVALS)
def test_values_and_whole_partitions(intervals: list[Rows]) -> None:
    doubled = run(lambda s: s.flat_map_values(lambda v: range(v % 3)), intervals)
    assert counted(doubled) == counted([[(k, n) for k, v in each for n in range(v % 3)] for each in intervals])
    sums = run(lambda s: s.map_partitions(lambda rows: [sum(v for _, v in rows)]), intervals)
    assert [sum(each) for each in sums] == [sum(v for _, v in each) for each in intervals]


@FEW
@given(st.lists(st.tuples(st.lists(PAIR, max_size=4), st.lists(PAIR, max_size=4)), min_size=1, max_size=4))
def test_streams_put_together_by_their_context_and_by_functions(intervals: list[tuple[Rows, Rows]]) -> None:
    inputs = [[left for left, _ in intervals], [right for _, right in intervals]]
    expected = counted([left + right for left, right in intervals])

    def both(one: DStream, other: DStream) -> DStream:
        return one.union(other)

    assert counted(run_both(lambda s: s[0].transform_with(both, s[1]), inputs)) == expected
    assert counted(run_both(lambda s: s[0].context.union(*s), inputs)) == expected  # type: ignore[attr-defined]
    made = run_both(lambda s: s[0].context.transform(s, lambda two: both(*two)), inputs)  # type: ignore[attr-defined]
    assert counted(made) == expected


@FEW
@given(INTERVALS, st.integers(1, 4))
def test_sums_by_key_whatever_the_partitions(intervals: list[Rows], workers: int) -> None:
    expected = counted([summed(each) for each in intervals])

    assert counted(run(lambda s: s.reduce_by_key(operator.add), intervals, workers=workers)) == expected
    assert counted(run(lambda s: s.reduce_by_key(lambda a, b: a + b), intervals, workers=workers)) == expected
    grouped = run(lambda s: s.group_by_key().map_values(sum), intervals, workers=workers)
    assert counted(grouped) == expected
    combined = run(lambda s: s.combine_by_key(lambda v: v, operator.add, operator.add), intervals, workers=workers)
    assert counted(combined) == expected


@FEW
@given(INTERVALS)
def test_one_row_for_all(intervals: list[Rows]) -> None:
    assert run(lambda s: s.count(), intervals) == [[len(each)] for each in intervals]
    assert run(lambda s: s.map(lambda r: r[1]).reduce(max), intervals) == [
        [max(v for _, v in each)] if each else [] for each in intervals
    ]
    values = run(lambda s: s.count_by_value(), intervals)
    assert [dict(each) for each in values] == [dict(Counter(each)) for each in intervals]


@FEW
@given(INTERVALS)
def test_what_moves_rows_keeps_them(intervals: list[Rows]) -> None:
    expected = counted(intervals)

    for moved in (
        run(lambda s: s.repartition(), intervals),
        run(lambda s: s.repartition(5), intervals),
        run(lambda s: s.partition_by(), intervals),
        run(lambda s: s.cache(), intervals),
        run(lambda s: s.glom().flat_map(list), intervals),
        run(lambda s: s.map_partitions_with_index(lambda n, rows: rows), intervals),
        run(lambda s: s.filter(lambda r: r[1] < 0).union(s.filter(lambda r: r[1] >= 0)), intervals),
    ):
        assert counted(moved) == expected


@FEW
@given(st.lists(st.tuples(st.lists(PAIR, max_size=4), st.lists(PAIR, max_size=4)), min_size=1, max_size=4))
def test_joins(intervals: list[tuple[Rows, Rows]]) -> None:
    inputs = [[left for left, _ in intervals], [right for _, right in intervals]]

    def expected(outer_left: bool, outer_right: bool) -> list[Counter[Any]]:  # noqa: FBT001
        found = []
        for left, right in intervals:
            pairs = [(k, (v, w)) for (k, v), (o, w) in product(left, right) if k == o]
            if outer_left:
                pairs += [(k, (v, None)) for k, v in left if k not in dict(right)]
            if outer_right:
                pairs += [(k, (None, w)) for k, w in right if k not in dict(left)]
            found.append(pairs)
        return counted(found)

    assert counted(run_both(lambda s: s[0].join(s[1]), inputs)) == expected(False, False)
    assert counted(run_both(lambda s: s[0].left_outer_join(s[1]), inputs)) == expected(True, False)
    assert counted(run_both(lambda s: s[0].right_outer_join(s[1]), inputs)) == expected(False, True)
    assert counted(run_both(lambda s: s[0].full_outer_join(s[1]), inputs)) == expected(True, True)
    lengths = run_both(lambda s: s[0].cogroup(s[1]).map_values(lambda both: tuple(map(len, both))), inputs)
    assert counted(lengths) == counted(
        [
            [
                (k, (Counter(a for a, _ in left)[k], Counter(a for a, _ in right)[k]))
                for k in {*dict(left), *dict(right)}
            ]
            for left, right in intervals
        ]
    )


@FEW
@given(INTERVALS, WINDOW, st.integers(1, 3))
def test_windows_naive_and_incremental(intervals: list[Rows], length: int, slide: int) -> None:
    size, every = f"{length * slide}s", f"{slide}s"
    inside = windows(intervals, length * slide, slide)

    assert counted(run(lambda s: s.window(size, every), intervals)) == counted(inside)
    expected = counted([summed(each) for each in inside])
    naive = run(lambda s: s.reduce_by_key_and_window(operator.add, size, every), intervals)
    assert counted(naive) == expected
    kept_up = run(lambda s: s.reduce_by_key_and_window(operator.add, size, every, inverse=operator.sub), intervals)
    assert counted(kept_up) == expected
    grouped = run(lambda s: s.group_by_key_and_window(size, every).map_values(sum), intervals)
    assert counted(grouped) == expected


NUMBER = st.one_of(st.integers(-3, 3), st.sampled_from([2**62, -(2**63), 2**70]), st.fractions(-1, 1))
NUMBERS = st.lists(st.lists(st.tuples(st.sampled_from("abc"), NUMBER), max_size=5), min_size=1, max_size=9)


@FEW
@given(NUMBERS, WINDOW, st.booleans())
def test_windows_and_running_sums_of_any_numbers_also_after_a_restart(
    intervals: list[Rows],
    length: int,
    restored: bool,  # noqa: FBT001
) -> None:
    expected = [dict(summed(each)) for each in windows(intervals, length)]
    so_far = [[row for each in intervals[:i] for row in each] for i in range(1, len(intervals) + 1)]

    def in_windows(function: Any, inverse: Any) -> list[dict[Any, Any]]:
        def build(stream: DStream) -> DStream:
            return stream.reduce_by_key_and_window(function, f"{length}s", inverse=inverse)

        return [dict(each) for each in run(build, intervals, restored=restored)]

    assert in_windows(operator.add, operator.sub) == expected
    assert in_windows(lambda a, b: a + b, lambda a, b: a - b) == expected
    for function, merged in ((operator.add, sum), (min, min), (max, max)):
        running = run(partial(running_snapshots, function), intervals, restored=restored)
        totals = [{k: merged([v for o, v in each if o == k]) for k in dict(each)} for each in so_far]
        assert [dict(each) for each in running] == totals


def collected(values: list[int], state: list[int] | None) -> list[int] | None:
    """Changes its state in place; 3 drops it, and nothing for a key whose values are all 0 makes none."""
    if 3 in values or (state is None and not any(values)):
        return None
    state = [] if state is None else state
    state.extend(values)
    return state


@FEW
@given(INTERVALS)
def test_state_goes_on_from_a_version_and_what_was_written_and_dropped_since(intervals: list[Rows]) -> None:
    programs: list[Callable[[DStream], DStream]] = [
        lambda s: s.update_state_by_key(collected, [("a", [9]), (7, [])]),
        lambda s: s.update_state_by_key(lambda values, state: (state or 0) + sum(values) or None),
        lambda s: s.track(
            lambda _, v: v or None, lambda _, so_far, v: None if v == 3 else so_far + v, "2s"
        ).snapshots(),
        lambda s: s.track(lambda _, v: [v], lambda _, so_far, v: [*so_far, v], "3s"),
    ]
    for build in programs:
        assert run(build, intervals, restored=True) == run(build, intervals)


def running_snapshots(function: Callable[[Any, Any], Any], stream: DStream) -> DStream:
    return stream.running_reduce(function).snapshots()


@FEW
@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 1, 1.0, True, "1", None]), max_size=6), min_size=1, max_size=4))
def test_equal_rows_are_counted_as_one(intervals: list[Rows]) -> None:
    found = run(lambda s: s.count_by_value(), intervals)

    assert [dict(each) for each in found] == [dict(Counter(each)) for each in intervals]
    assert [len(each) for each in found] == [len(Counter(each)) for each in intervals]


@FEW
@given(INTERVALS)
def test_counts_go_straight_into_a_running_sum(intervals: list[Rows]) -> None:
    found = run(lambda s: s.count_by_value().running_reduce(operator.add).snapshots(), intervals)

    assert [dict(each) for each in found] == [
        dict(Counter(row for each in intervals[:i] for row in each)) for i in range(1, len(intervals) + 1)
    ]


@FEW
@given(INTERVALS, WINDOW)
def test_windows_without_keys(intervals: list[Rows], length: int) -> None:
    size, inside = f"{length}s", windows(intervals, length)

    assert run(lambda s: s.count_by_window(size), intervals) == [[len(each)] for each in inside]
    totals = run(lambda s: s.map(lambda r: r[1]).reduce_by_window(operator.add, size), intervals)
    assert totals == [[sum(v for _, v in each)] if each else [] for each in inside]
    values = run(lambda s: s.count_by_value_and_window(size), intervals)
    assert [dict(each) for each in values] == [dict(Counter(each)) for each in inside]


@FEW
@given(INTERVALS, WINDOW)
def test_a_stream_and_its_past(intervals: list[Rows], back: int) -> None:
    found = run(lambda s: s.delayed(f"{back}s"), intervals)

    assert counted(found) == counted([[]] * min(back, len(intervals)) + intervals[:-back])


@FEW
@given(INTERVALS)
def test_running_sums_tell_what_changed_and_snapshots_all(intervals: list[Rows]) -> None:
    totals: dict[Any, int] = {}
    changed, everything = [], []
    for each in intervals:
        for key, value in each:
            totals[key] = totals.get(key, 0) + value
        changed.append([(key, totals[key]) for key in dict(each)])
        everything.append(list(totals.items()))

    assert counted(run(lambda s: s.running_reduce(operator.add), intervals)) == counted(changed)
    snapshots = run(lambda s: s.running_reduce(operator.add).snapshots(), intervals)
    assert counted(snapshots) == counted(everything)


@FEW
@given(INTERVALS)
def test_update_state_by_key_calls_for_every_key_and_drops_on_none(intervals: list[Rows]) -> None:
    def update(values: list[int], state: int | None) -> int | None:
        total = (state or 0) + sum(values)
        return None if not values and total % 2 else total

    states: dict[Any, int] = {"z": 4}
    expected = []
    for each in intervals:
        news = {k: [v for o, v in each if o == k] for k in {*states, *dict(each)}}
        updated = {k: update(values, states.get(k)) for k, values in news.items()}
        states = {k: v for k, v in updated.items() if v is not None}
        expected.append(list(states.items()))

    found = run(lambda s: s.update_state_by_key(update, [("z", 4)]), intervals)

    assert counted(found) == counted(expected)


@FEW
@given(INTERVALS, st.integers(2, 3))
def test_state_over_windows_that_slide_is_updated_when_they_slide(intervals: list[Rows], slide: int) -> None:
    states: dict[Any, int] = {}
    expected: list[Rows] = []
    for each in windows(intervals, slide, slide):
        if (len(expected) + 1) % slide == 0:
            states = {k: states.get(k, 0) + 1 for k in {*states, *dict(each)}}
        expected.append(list(states.items()) if (len(expected) + 1) % slide == 0 else [])

    found = run(
        lambda s: s.window(f"{slide}s", f"{slide}s").update_state_by_key(lambda _, calls: (calls or 0) + 1), intervals
    )

    assert counted(found) == counted(expected)


@FEW
@given(INTERVALS, st.integers(1, 4), st.integers(1, 4))
def test_joins_and_state_of_streams_in_different_numbers_of_partitions(
    intervals: list[Rows], one: int, other: int
) -> None:
    def build(s: DStream) -> DStream:
        left, right = s.partition_by(one).reduce_by_key(max), s.reduce_by_key(min).partition_by(other)
        return left.join(right).running_reduce(lambda _, new: new)

    expected = [
        [(k, (max(v), min(v))) for k in dict(each) if (v := [w for o, w in each if o == k])] for each in intervals
    ]

    assert counted(run(build, intervals)) == counted(expected)


@FEW
@given(INTERVALS, st.integers(1, 3))
def test_track_calls_for_events_only_and_forgets_idle_keys(intervals: list[Rows], timeout: int) -> None:
    def update(key: str, state: int, value: int) -> int | None:
        return None if value == 0 else state + value

    states: dict[Any, tuple[int, int]] = {}
    snapshots = []
    for number, each in enumerate(intervals, 1):
        for key, value in order_of_events(each):
            state: int | None = value if key not in states else update(key, states[key][0], value)
            states.pop(key, None)
            if state is not None:
                states[key] = (state, number)
        states = {k: v for k, v in states.items() if number - v[1] < timeout}
        snapshots.append([(k, v[0]) for k, v in states.items()])

    found = run(lambda s: s.track(lambda _, v: v, update, f"{timeout}s").snapshots(), intervals)

    assert counted(found) == counted(snapshots)


def order_of_events(each: Rows) -> Rows:
    """As two partitions give them: the rows at even places before those at odd ones."""
    return each[0::2] + each[1::2]


@FEW
@given(st.lists(PAIR, max_size=20), st.lists(PAIR, max_size=6))
def test_rdds_give_what_plain_python_gives(left: Rows, right: Rows) -> None:
    context = StreamingContext("1s")
    one, other = context.parallelize(left), context.parallelize(right)

    assert Counter(one.collect()) == Counter(left)
    assert one.count() == len(left)
    assert dict(one.reduce_by_key(operator.add).collect()) == dict(summed(left))
    assert one.count_by_key() == dict(Counter(k for k, _ in left))
    assert one.map(lambda r: r[1]).sum() == sum(v for _, v in left)
    assert one.map(lambda r: r[1]).top(2) == sorted((v for _, v in left), reverse=True)[:2]
    assert Counter(one.union(other).collect()) == Counter(left) + Counter(right)
    joined = Counter((k, (v, w)) for (k, v), (o, w) in product(left, right) if k == o)
    assert Counter(one.join(other).collect()) == joined


@FEW
@given(INTERVALS)
def test_every_row_is_given_the_time_at_which_its_interval_ends(intervals: list[Rows]) -> None:
    found = run(lambda s: s.reduce_by_key(operator.add).map_with_time(lambda at, row: (at, row[0])), intervals)

    assert counted(found) == counted([[(float(n), k) for k in dict(each)] for n, each in enumerate(intervals, 1)])


@FEW
@given(INTERVALS, st.lists(PAIR, max_size=5))
def test_a_stream_joined_with_static_data(intervals: list[Rows], static: Rows) -> None:
    rdd = StreamingContext("1s").parallelize(static)

    found = run(lambda s: s.transform(lambda stream: stream.join(rdd)), intervals)

    assert counted(found) == counted(
        [[(k, (v, w)) for (k, v), (o, w) in product(each, static) if k == o] for each in intervals]
    )


# -- what is written anew for each interval's time ---------------------------------------------------------------------


@FEW
@given(INTERVALS, st.integers(1, 4))
def test_a_transform_is_written_anew_with_the_time_of_each_interval(intervals: list[Rows], workers: int) -> None:
    def write(time: float, rdd: IntervalRDD) -> IntervalRDD:
        odd = rdd.filter(lambda row: row[1] > 0) if time % 2 else rdd
        sums = odd.map_values(lambda v: v + time).reduce_by_key(lambda a, b: a + b + time)
        return sums.join(sums.map_values(lambda _: time)).map(lambda row: (time, row))

    def expected(time: float, each: Rows) -> Rows:
        sums: dict[Any, float] = {}
        for k, v in each:
            if v > 0 or time % 2 == 0:
                sums[k] = sums[k] + v + 2 * time if k in sums else v + time
        return [(time, (k, (total, time))) for k, total in sums.items()]

    found = run(lambda s: s.map(lambda row: row).transform(write).filter(bool), intervals, workers=workers)

    assert counted(found) == counted([expected(float(n), each) for n, each in enumerate(intervals, 1)])


@FEW
@given(st.lists(st.tuples(st.lists(PAIR, max_size=4), st.lists(PAIR, max_size=4)), min_size=1, max_size=4))
def test_a_transform_of_two_streams_is_written_anew_too(intervals: list[tuple[Rows, Rows]]) -> None:
    inputs = [[left for left, _ in intervals], [right for _, right in intervals]]
    expected = counted(
        [
            [(n, (k, (v, w))) for (k, v), (o, w) in product(left, right) if k == o]
            for n, (left, right) in enumerate(intervals, 1)
        ]
    )

    def both(time: float, one: IntervalRDD, other: IntervalRDD) -> IntervalRDD:
        return one.join(other).map(lambda row: (int(time), row))

    assert counted(run_both(lambda s: s[0].transform_with(both, s[1]), inputs)) == expected
    made = run_both(lambda s: s[0].context.transform(s, lambda time, two: both(time, *two)), inputs)  # type: ignore[attr-defined]
    assert counted(made) == expected


@FEW
@given(INTERVALS)
def test_a_transform_that_gives_back_what_it_was_given(intervals: list[Rows]) -> None:
    assert counted(run(lambda s: s.transform(lambda time, rdd: rdd), intervals)) == counted(intervals)


def test_a_transform_that_moves_rows_in_some_intervals_only_is_told_with_its_name() -> None:
    def write(time: float, rdd: IntervalRDD) -> IntervalRDD:
        return rdd.reduce_by_key(max) if time < 2 else rdd

    with pytest.raises(
        QueryError, match=r"transform\(.*write\) wrote other steps for the time 2.0 than when the program"
    ):
        run(lambda s: s.transform(write), [[("a", 1)]] * 3)


def test_a_transform_that_raises_in_some_interval_shows_the_users_line() -> None:
    def write(time: float, rdd: IntervalRDD) -> IntervalRDD:
        return rdd.map(lambda _: 1) if time < 2 else rdd.map(1 / 0)  # type: ignore[arg-type]

    with pytest.raises(UserCodeError, match=r"test_dstreams.py.*in write[\s\S]*ZeroDivisionError"):
        run(lambda s: s.transform(write), [[("a", 1)]] * 3)


@FEW
@given(INTERVALS, st.lists(PAIR, max_size=5))
def test_static_data_in_a_transform_at_a_time(intervals: list[Rows], static: Rows) -> None:
    rdd = StreamingContext("1s").parallelize(static)

    found = run(lambda s: s.transform(lambda time, each: each.join(rdd).map(lambda row: (time, row))), intervals)

    assert counted(found) == counted(
        [
            [(float(n), (k, (v, w))) for (k, v), (o, w) in product(each, static) if k == o]
            for n, each in enumerate(intervals, 1)
        ]
    )


# -- order, and what others have ---------------------------------------------------------------------------------------


@FEW
@given(INTERVALS, st.booleans())
def test_rows_in_order(intervals: list[Rows], ascending: bool) -> None:  # noqa: FBT001
    by_value = run(lambda s: s.sort_by(lambda row: (row[1], row[0]), ascending=ascending), intervals)
    assert by_value == [sorted(each, key=lambda row: (row[1], row[0]), reverse=not ascending) for each in intervals]
    keys = run(lambda s: s.sort_by_key(ascending=ascending).map(lambda row: row[0]), intervals)
    assert keys == [sorted((k for k, _ in each), reverse=not ascending) for each in intervals]


@FEW
@given(INTERVALS)
def test_each_different_row_once(intervals: list[Rows]) -> None:
    assert counted(run(lambda s: s.distinct(), intervals)) == counted([list(set(each)) for each in intervals])


@FEW
@given(INTERVALS, st.sets(st.sampled_from("abcde")))
def test_the_pairs_whose_keys_another_has_not(intervals: list[Rows], keys: set[str]) -> None:
    found = run(lambda s: s.subtract_by_key(s.filter(lambda row: row[0] in keys)), intervals)

    assert counted(found) == counted([[row for row in each if row[0] not in keys] for each in intervals])


@FEW
@given(INTERVALS, st.lists(PAIR, max_size=5))
def test_static_data_joined_with_a_stream_has_its_values_first(intervals: list[Rows], static: Rows) -> None:
    rdd = StreamingContext("1s").parallelize(static)
    inner = counted([[(k, (w, v)) for (k, v), (o, w) in product(each, static) if k == o] for each in intervals])

    assert counted(run(lambda s: s.transform(rdd.join), intervals)) == inner
    assert counted(run(lambda s: s.transform(lambda time, each: rdd.join(each)), intervals)) == inner


def test_actions_that_look_at_rows_one_by_one() -> None:
    rdd = StreamingContext("1s").parallelize([3, 1, 2], 2)
    rows_seen: list[int] = []
    partitions: list[list[int]] = []
    rdd.foreach(rows_seen.append)
    rdd.foreach_partition(lambda rows: partitions.append(list(rows)))

    assert (rows_seen, partitions) == ([3, 1, 2], [[3], [1, 2]])
    assert (rdd.first(), rdd.is_empty()) == (3, False)
    nothing = rdd.filter(lambda n: n > 9)
    assert nothing.is_empty()
    with pytest.raises(ValueError, match="first"):
        nothing.first()


def test_state_may_begin_with_what_an_rdd_has() -> None:
    rdd = StreamingContext("1s").parallelize([("a", 10)])
    found = run(lambda s: s.update_state_by_key(lambda values, state: sum(values) + (state or 0), rdd), [[("a", 1)]])

    assert found == [[("a", 11)]]


@FEW
@given(INTERVALS, WINDOW)
def test_between_two_slides_there_is_nothing_to_count_or_to_join(intervals: list[Rows], slide: int) -> None:
    wanted = [summed(each) for each in windows(intervals, slide, slide)]
    time = f"{slide}s"

    def window(stream: DStream) -> DStream:
        return stream.reduce_by_key_and_window(operator.add, time, time)

    counts = run(lambda s: window(s).count(), intervals)
    assert counts == [[len(each)] if n % slide == 0 else [] for n, each in enumerate(wanted, 1)]
    static = StreamingContext("1s").parallelize([("a", 1)])
    joined = run(lambda s: window(s).left_outer_join(static).full_outer_join(window(s)), intervals)
    assert [len(each) for each in joined] == [len(each) for each in wanted]


@pytest.mark.parametrize("timeout", [None, 5])
def test_tracking_keys_for_long_keeps_no_more_than_the_keys(timeout: int | None) -> None:
    """Intervals that no key was seen in last leave nothing behind."""
    runtime = ProcessorContext("track", KeyInterval(0, 4), 4, 10, 0.0, 0)
    make = Tracking("track", lambda _, event: event, lambda _, __, event: event, timeout)
    made: Any = make(LogicContext(0, runtime))
    batch = sorted_batch(np.zeros(1, np.uint16), ["a"], [1])

    for interval in range(1, 50):
        given_: Any = Given(interval, interval - 1, interval, False, [[[((interval, batch),)]]])
        made.compute(given_, frozenset({ROWS}))

    assert len(made) == 1
    assert len(made._seen) == (0 if timeout is None else 1)


@FEW
@given(INTERVALS, st.lists(PAIR, max_size=5), st.booleans())
def test_all_of_what_is_static_is_there_in_every_interval(intervals: list[Rows], static: Rows, timed: bool) -> None:  # noqa: FBT001
    rdd = StreamingContext("1s").parallelize(static)

    def together(each: Any) -> Any:
        return each.right_outer_join(rdd).map(lambda row: (row[0], row[1][1])).distinct().union(rdd)

    found = run(lambda s: s.transform((lambda _, each: together(each)) if timed else together), intervals)

    assert counted(found) == counted([[*set(static), *static]] * len(intervals))
