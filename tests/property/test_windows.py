"""Windows are what a loop over the rows makes of them, and do not depend on cuts, batches or crashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import Batch, columnar, rows, sorted_batch
from elastic.keys import KeyInterval, groups_of
from elastic.operators import windowed
from elastic.operators.aggregates import Kind
from elastic.operators.base import Processor, ProcessorContext, TickInput
from elastic.operators.combine import counted_by_pane
from elastic.operators.event_clock import EventClock, TimedInput, TimedProcessor
from elastic.operators.timestamps import BEGINNING, END
from elastic.operators.window_results import LATE
from elastic.operators.windowed import Aggregation, Timing
from elastic.operators.windowing import Windowing
from elastic.plan import MAIN, ByPane, Folding
from elastic.state.processing import StateTable, cut_table, fold, join_tables
from elastic.windows import FixedWindows, SessionWindows, WindowSpec
from tests.examples import examples

GROUPS = 8
ALL = KeyInterval(0, GROUPS)
PARTITIONS = (0, 4)
IDLE_TICKS = 3

Row = tuple[int, Any, int, int]  # partition, key, event time in microseconds, value
Emission = tuple[int, Any, int, int, Any]  # tick, key, start, end, value

AGGREGATIONS: dict[str, tuple[Kind, Any, Callable[[list[int]], Any]]] = {
    "count": ("count", None, len),
    "sum": ("sum", None, sum),
    "mean": ("mean", None, lambda values: sum(values) / len(values)),
    "max": ("max", None, max),
    "reduce": ("reduce", lambda a, b: max(b, a), max),
    "aggregate": ("aggregate", Folding(list, lambda a, v: [*a, v], lambda a, b: a + b, sorted), sorted),
}
fixed = st.builds(
    lambda step, steps, offset: FixedWindows(step * steps, step, offset % step),
    st.sampled_from([1, 2, 3, 5]),
    st.sampled_from([1, 1, 2, 3]),
    st.integers(0, 4),
) | st.sampled_from([FixedWindows(5, 3), FixedWindows(7, 2, 1)])
specs: st.SearchStrategy[WindowSpec] = fixed | st.builds(SessionWindows, st.integers(1, 4))


@st.composite
def inputs(draw: st.DrawFn) -> list[list[Row]]:
    """Rows of some ticks, whose times go forward, more or less."""
    ticks = draw(st.integers(1, 8))
    spread = draw(st.sampled_from([0, 2, 6]))
    return [
        [
            (partition, key, tick * 2 + shift, value)
            for partition, key, shift, value in draw(
                st.lists(
                    st.tuples(
                        st.sampled_from(PARTITIONS),
                        st.sampled_from(["a", "b", 1]),
                        st.integers(-spread, spread),
                        st.integers(0, 9),
                    ),
                    max_size=6,
                )
            )
        ]
        for tick in range(ticks)
    ]


class Watermarks:
    """The watermark after each tick, as its definition has it."""

    def __init__(self, slack: int) -> None:
        self.slack, self.now = slack, BEGINNING
        self.latest = dict.fromkeys(PARTITIONS, BEGINNING)
        self.seen = dict.fromkeys(PARTITIONS, 0)

    def after(self, tick: int, given_rows: list[Row], *, final: bool) -> int:
        for partition, _, time, _ in given_rows:
            self.latest[partition] = max(self.latest[partition], time)
            self.seen[partition] = tick
        waited = [p for p in PARTITIONS if self.seen[p] + IDLE_TICKS > tick]
        promised = {p: max(BEGINNING, self.latest[p] - self.slack) for p in PARTITIONS}
        reached = min(promised[p] for p in waited) if waited else max(promised.values())
        self.now = END if final else max(self.now, reached)
        return self.now


def windows_of(spec: FixedWindows, time: int) -> Iterator[tuple[int, int]]:
    first = (time - spec.offset_us) // spec.step_us * spec.step_us + spec.offset_us
    for start in range(first, time - spec.size_us, -spec.step_us):
        yield start, start + spec.size_us


def by_loop(
    spec: WindowSpec, ticks: list[list[Row]], slack: int, lateness: int
) -> tuple[list[tuple[int, Any, int, int, list[int]]], list[tuple[int, Any, int]]]:
    """What is emitted, with the values of each window, and which rows are late: tick, key, value."""
    watermarks = Watermarks(slack)
    held: dict[tuple[Any, int, int], list[tuple[int, int]]] = {}  # key, start, end: (time, value) in order of arrival
    emitted, late = [], []
    for tick, given_rows in enumerate(ticks, 1):
        before = watermarks.now
        reached = watermarks.after(tick, given_rows, final=tick == len(ticks))
        ordered = sorted(given_rows, key=lambda row: row[0])
        if isinstance(spec, FixedWindows):
            changed = set()
            for _, key, time, value in ordered:
                open_ones = [(s, e) for s, e in windows_of(spec, time) if e + lateness > before]
                if not open_ones:
                    late.append((tick, key, value))
                for start, end in open_ones:
                    held.setdefault((key, start, end), []).append((time, value))
                    changed.add((key, start, end))
        else:
            changed = add_to_sessions(spec.gap_us, held, late, ordered, tick, before - lateness)
        for (key, start, end), items in held.items():
            if end <= reached and (end > before or (key, start, end) in changed):
                emitted.append((tick, key, start, end, [value for _, value in items]))
        held = {window: items for window, items in held.items() if window[2] + lateness > reached}
    return emitted, late


def add_to_sessions(
    gap: int,
    held: dict[tuple[Any, int, int], list[tuple[int, int]]],
    late: list[tuple[int, Any, int]],
    ordered: list[Row],
    tick: int,
    over: int,
) -> set[tuple[Any, int, int]]:
    """Connect all rows of a key that are less than a gap apart; what only new rows are in may be late as a whole."""
    changed = set()
    for key in {row[1] for row in ordered}:
        new = [(time, value) for _, k, time, value in ordered if k == key]
        mine = [(window, items) for window, items in held.items() if window[0] == key]
        points = sorted({time for time, _ in new} | {time for _, items in mine for time, _ in items})
        cuts = [points[0], *(b for a, b in pairwise(points) if b - a >= gap), END]
        for low, high in pairwise(cuts):
            members = [p for p in points if low <= p < high]
            window = (key, members[0], members[-1] + gap)
            inside = [(w, items) for w, items in mine if low <= w[1] < high]
            fresh = [item for item in new if low <= item[0] < high]
            if not fresh:
                continue
            if not inside and window[2] <= over:
                late += [(tick, key, value) for _, value in fresh]
                continue
            older = [item for w, items in sorted(inside, key=lambda pair: pair[0][1]) for item in items]
            for w, _ in inside:
                del held[w]
            held[window] = older + fresh
            changed.add(window)
    return changed


def batches(given_rows: list[Row], *, panes: ByPane | None, typed: bool) -> Iterator[Batch]:
    for partition in PARTITIONS:
        own = [row for row in given_rows if row[0] == partition]
        if not own:
            continue
        keys: Any = columnar([str(key) for _, key, _, _ in own]) if typed else [key for _, key, _, _ in own]
        times = np.array([time for _, _, time, _ in own], np.int64)
        marks = ((partition, int(times.max())),)
        if panes is not None:
            counts = counted_by_pane(keys, times, panes)
            groups = groups_of(counts.keys, GROUPS)
            batch = sorted_batch(groups, counts.keys, counts.counts, partial=True, times=counts.starts)
        else:
            batch = sorted_batch(groups_of(keys, GROUPS), keys, columnar([v for *_, v in own]), times=times)
        yield Batch(batch.groups, batch.keys, batch.values, batch.partial, batch.times, marks)


class Cluster:
    """Instances that are driven tick by tick, checkpointed, cut anew and restored."""

    def __init__(self, make: Callable[[KeyInterval], Processor], intervals: list[KeyInterval]) -> None:
        self._make = make
        self.intervals = intervals
        self.instances = [make(interval) for interval in intervals]
        self._stored: tuple[list[StateTable], Any] | None = None

    def process(self, tick: int, given: list[Batch], *, final: bool) -> Iterator[tuple[str, Any, Any]]:
        for interval, instance in zip(self.intervals, self.instances, strict=True):
            slices = [(0, part) for batch in given if (part := batch.slice(interval)) is not None]
            if slices or final or instance.due_after(tick - 1) == tick:
                for output in instance.process(TickInput(tick, slices, final)):
                    assert output.groups.tolist() == sorted(output.groups.tolist())
                    for group, row in zip(output.groups.tolist(), rows(output.values), strict=True):
                        yield output.name, group, row

    def checkpoint(self) -> None:
        commons = [instance.common() for instance in self.instances]
        assert all(common == commons[0] for common in commons)
        if self._stored is None:
            tables = [instance.full() for instance in self.instances]
        else:
            deltas = [instance.delta() for instance in self.instances]
            tables = [fold(old, [delta]) for old, delta in zip(self._stored[0], deltas, strict=True)]
        self._stored = tables, commons[0]

    def move(self, intervals: list[KeyInterval]) -> None:
        """Checkpoint, and go on from it as other instances."""
        self.checkpoint()
        assert self._stored is not None
        tables, common = self._stored
        whole = join_tables(tables)
        self.intervals = intervals
        self.instances = [self._make(interval) for interval in intervals]
        parts = [cut_table(whole, interval) for interval in intervals]
        for instance, part in zip(self.instances, parts, strict=True):
            instance.restore_common(common)
            instance.restore(part)
        self._stored = parts, common


@st.composite
def cuts(draw: st.DrawFn) -> list[KeyInterval]:
    at = [0, *sorted(draw(st.sets(st.integers(1, GROUPS - 1), max_size=2))), GROUPS]
    return [KeyInterval(low, high) for low, high in pairwise(at)]


@pytest.mark.parametrize("name", [*AGGREGATIONS, "counted before"])
@examples(50)
@given(data=st.data())
def test_windows_by_event_time_are_what_a_loop_over_the_rows_gives(name: str, data: st.DataObject) -> None:
    spec = data.draw(fixed if name == "counted before" else specs)
    ticks, slack, lateness = data.draw(inputs()), data.draw(st.integers(0, 3)), data.draw(st.sampled_from([0, 0, 3]))
    kind, function, of = AGGREGATIONS["count" if name == "counted before" else name]
    typed = data.draw(st.booleans())
    panes = (
        ByPane(spec.pane_us, spec.offset_us) if name == "counted before" and isinstance(spec, FixedWindows) else None
    )
    timing = Timing(by_event_time=True, lateness_us=lateness)
    windowing = Windowing(spec, Aggregation(kind, function), timing)
    clock = {0: TimedInput(PARTITIONS, slack, IDLE_TICKS)}

    def make(interval: KeyInterval) -> Processor:
        read = frozenset({MAIN} if panes else {MAIN, LATE})
        context = ProcessorContext("w", interval, GROUPS, 10, 0.0, 7, read, event_time=True)
        return TimedProcessor(windowing.make(context), EventClock(clock))

    cluster = Cluster(make, data.draw(cuts()))
    moves = data.draw(st.dictionaries(st.integers(1, len(ticks)), st.none() | cuts()))
    found: list[Emission] = []
    late: list[tuple[int, Any, int]] = []
    for tick, given_rows in enumerate(ticks, 1):
        given_batches = list(batches(given_rows, panes=panes, typed=typed))
        for output, _, row in cluster.process(tick, given_batches, final=tick == len(ticks)):
            if output == LATE:
                late.append((tick, row["key"], row["value"]))
            else:
                us = (round(row["start"] * 1e6), round(row["end"] * 1e6))
                found.append((tick, row["key"], *us, row["value"]))
        if tick in moves:
            new = moves[tick]
            cluster.checkpoint() if new is None else cluster.move(new)

    expected, expected_late = by_loop(spec, ticks, slack, lateness)
    shown = [(t, str(k) if typed else k, s, e, of(values)) for t, k, s, e, values in expected]
    assert sorted(found, key=repr) == sorted(shown, key=repr)
    if panes is None:
        shown_late = [(t, str(k) if typed else k, v) for t, k, v in expected_late]
        assert sorted(late, key=repr) == sorted(shown_late, key=repr)
    if moves.get(len(ticks)) is not None:
        assert sum(map(len, cluster.instances)) == 0, "at the end nothing is kept"


@given(data=st.data())
def test_the_values_of_a_window_are_gathered_in_the_order_in_which_they_came(data: st.DataObject) -> None:
    spec, ticks = data.draw(specs), data.draw(inputs())

    def told(key: Any, values: list[int], window: Any) -> list[Any]:
        return [(key, round(window.start * 1e6), round(window.end * 1e6), values)]

    windowing = Windowing(spec, Aggregation("gather", told), Timing(by_event_time=True))

    def make(interval: KeyInterval) -> Processor:
        context = ProcessorContext("w", interval, GROUPS, 10, 0.0, 7, event_time=True)
        return TimedProcessor(windowing.make(context), EventClock({0: TimedInput(PARTITIONS, 2, IDLE_TICKS)}))

    cluster = Cluster(make, data.draw(cuts()))
    found = []
    for tick, given_rows in enumerate(ticks, 1):
        given_batches = list(batches(given_rows, panes=None, typed=False))
        found += [(tick, *row) for _, _, row in cluster.process(tick, given_batches, final=tick == len(ticks))]
        cluster.move(data.draw(cuts()))

    expected = by_loop(spec, ticks, 2, 0)[0]
    if isinstance(spec, FixedWindows) and not spec.is_tumbling:  # by pane, and within a pane as they came
        expected = [(t, k, s, e, sorted(values)) for t, k, s, e, values in expected]
        found = [(t, k, s, e, sorted(values)) for t, k, s, e, values in found]
    assert sorted(found, key=repr) == sorted(expected, key=repr)


@given(data=st.data())
def test_by_processing_time_a_window_closes_at_the_first_tick_after_its_end(data: st.DataObject) -> None:
    """Ticks are 10 ms; whether an instance is called for ticks at which nothing is due makes no difference."""
    step, steps = data.draw(st.sampled_from([10_000, 15_000, 30_000])), data.draw(st.sampled_from([1, 2]))
    choices: list[WindowSpec] = [FixedWindows(step * steps, step), SessionWindows(step)]
    spec = data.draw(st.sampled_from(choices))
    given_ticks = data.draw(st.lists(st.lists(st.sampled_from("ab"), max_size=3), min_size=1, max_size=12))
    extra = data.draw(st.sets(st.integers(1, 12)))
    context = ProcessorContext("w", ALL, GROUPS, 10, 0.0, 7)
    windowing = Windowing(spec, Aggregation("count"), Timing(by_event_time=False))
    processor = windowing.make(context)
    found, last = [], len(given_ticks)
    for tick, keys in enumerate(given_ticks, 1):
        slices = [(0, sorted_batch(groups_of(keys, GROUPS), keys, None))] if keys else []
        if slices or tick == last or tick in extra or processor.due_after(tick - 1) == tick:
            for output in processor.process(TickInput(tick, slices, tick == last)):
                found += [(tick, *row.values()) for row in rows(output.values)]

    ticks: list[list[Row]] = [[(0, key, tick * 10_000, 0) for key in keys] for tick, keys in enumerate(given_ticks, 1)]
    expected = set()
    if isinstance(spec, FixedWindows):
        windows = {(k, w) for t in ticks for _, k, time, _ in t for w in windows_of(spec, time)}
        for key, (start, end) in windows:
            count = sum(start <= time < end for t in ticks for _, k, time, _ in t if k == key)
            expected.add((min(last, -(-end // 10_000)), key, start / 1e6, end / 1e6, count))
    else:
        for key in "ab":
            times = [time for t in ticks for _, k, time, _ in t if k == key]
            edges = [0, *(n for n, (a, b) in enumerate(pairwise(times), 1) if b - a >= step), len(times)]
            for low, high in pairwise(edges):
                if low < high:
                    end = times[high - 1] + step
                    expected.add((min(last, -(-end // 10_000)), key, times[low] / 1e6, end / 1e6, high - low))
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_session_that_begins_where_one_began_that_is_over_is_another(*, checkpointed: bool) -> None:
    first, second = [(0, "a", 4, 0), (0, "a", 7, 0)], [(0, "a", 5, 0), (0, "a", 4, 0)]
    spec, ticks = SessionWindows(2), [[], first, [], second]

    def make(interval: KeyInterval) -> Processor:
        context = ProcessorContext("w", interval, GROUPS, 10, 0.0, 7, frozenset({MAIN, LATE}), event_time=True)
        windowing = Windowing(spec, Aggregation("count"), Timing(by_event_time=True))
        return TimedProcessor(windowing.make(context), EventClock({0: TimedInput(PARTITIONS, 1, IDLE_TICKS)}))

    cluster, found = Cluster(make, [KeyInterval(0, GROUPS)]), []
    for tick, given_rows in enumerate(ticks, 1):
        emitted = cluster.process(tick, list(batches(given_rows, panes=None, typed=False)), final=tick == len(ticks))
        found += [(round(row["start"] * 1e6), round(row["end"] * 1e6), row["value"]) for _, _, row in emitted]
        if checkpointed:
            cluster.checkpoint()

    assert sorted(found) == [(4, 6, 1), (4, 7, 2), (7, 9, 1)], "the rows of the second are counted, and only they"


def test_a_session_with_the_name_of_one_that_was_thrown_out_is_in_the_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(windowed, "COMPACT_CELLS", 0)
    first = [(0, "a", 4, 0), (0, "b", 4, 0), (0, "a", 7, 0)]
    ticks = [[], first, [], [(0, "a", 5, 0), (0, "a", 4, 0)], []]

    def make(interval: KeyInterval) -> Processor:
        context = ProcessorContext("w", interval, GROUPS, 10, 0.0, 7, frozenset({MAIN, LATE}), event_time=True)
        windowing = Windowing(SessionWindows(2), Aggregation("count"), Timing(by_event_time=True))
        return TimedProcessor(windowing.make(context), EventClock({0: TimedInput(PARTITIONS, 1, IDLE_TICKS)}))

    cluster, found = Cluster(make, [KeyInterval(0, GROUPS)]), []
    for tick, given_rows in enumerate(ticks, 1):
        emitted = cluster.process(tick, list(batches(given_rows, panes=None, typed=False)), final=tick == len(ticks))
        found += [(round(row["start"] * 1e6), round(row["end"] * 1e6), row["value"]) for _, _, row in emitted]
        if tick == 2:
            cluster.checkpoint()
        if tick == 4:
            cluster.move([KeyInterval(0, GROUPS)])

    assert sorted(found) == [(4, 6, 1), (4, 6, 1), (4, 7, 2), (7, 9, 1)]
