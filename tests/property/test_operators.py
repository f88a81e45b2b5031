"""What an operator emits is a function of its input alone: not of cuts, crashes, batches or columns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic import functions
from elastic.batch import Batch, Column, Pairs, columnar, rows
from elastic.keys import KeyInterval, encode_key, key_group, key_hash
from elastic.operators.aggregates import Aggregate, Kind
from elastic.operators.apply import Apply
from elastic.operators.base import (
    ColumnState,
    Context,
    Operator,
    Output,
    Processor,
    ProcessorContext,
    TickInput,
    Timer,
    ValueState,
)
from elastic.operators.stateless import Chain
from elastic.operators.states import ListState, MapState
from elastic.plan import ERRORS, MAIN, Edge, Folding, OnError
from elastic.state.processing import StateTable, cut_table, fold, join_tables
from tests.examples import examples

GROUPS = 8
ALL = KeyInterval(0, GROUPS)
NAN = float("nan")

Row = tuple[int, Any, Any]  # group it was emitted from upstream, key, value
Emitted = list[tuple[int, int, str]]  # tick, key group, row; as text, so that 1, 1.0 and True differ

keys = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(
        ["a", "b", "", "long enough to take more than one word", 1.0, -0.0, 0.0, 2.5, True, None, NAN, b"a"]
    ),
    st.tuples(st.integers(0, 1), st.sampled_from(["x", 1.0, NAN])),
)
numbers = st.one_of(
    st.integers(-5, 5),
    st.integers(2**62, 2**63 - 1),
    st.booleans(),
    st.sampled_from([0.1, 0.2, 1e16, -1e16, 1.0, -0.0, 2.0**70]),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ints": st.integers(-5, 5),
    "wide": st.integers(-(2**63), 2**63 - 1),
    "large": st.sampled_from([2**61, 2**62, -(2**62), 2**63 - 1]),
    "wider": st.integers(-(2**80), 2**80),
    "floats": st.sampled_from([0.1, 0.2, 1e16, -1e16, 1.0]),
    "odd floats": st.sampled_from([1.0, -0.0, 0.0, NAN]),
    "mixed": numbers,
}


@dataclass
class Story:
    """What happens around a run: how producers and consumers are cut, and between which ticks there are faults."""

    typed: bool = False
    producers: list[KeyInterval] = field(default_factory=lambda: [ALL])
    consumers: list[KeyInterval] = field(default_factory=lambda: [ALL])
    later_consumers: list[KeyInterval] | None = None
    checkpoints: set[int] = field(default_factory=set)
    crashes: set[int] = field(default_factory=set)


@st.composite
def cuts(draw: st.DrawFn) -> list[KeyInterval]:
    at = [0, *sorted(draw(st.sets(st.integers(1, GROUPS - 1), max_size=3))), GROUPS]
    return [KeyInterval(low, high) for low, high in pairwise(at)]


def stories(ticks: int) -> st.SearchStrategy[Story]:
    some_ticks = st.sets(st.integers(1, ticks))
    return st.builds(Story, st.booleans(), cuts(), cuts(), st.none() | cuts(), some_ticks, some_ticks)


def inputs(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Row]]]:
    def ticks(some_keys: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Row]]]:
        row = st.tuples(st.integers(0, GROUPS - 1), some_keys, values)
        return st.lists(st.lists(row, max_size=12), min_size=1, max_size=9)

    return ticks(keys) | ticks(st.sampled_from("ab"))


class Cluster:
    """Instances of one operator, driven tick by tick, that are checkpointed, crash, and are cut anew."""

    def __init__(self, make: Callable[[ProcessorContext], Processor], intervals: list[KeyInterval]) -> None:
        self._make = make
        self._intervals = intervals
        self._instances = [self._fresh(i) for i in intervals]
        self._stored: list[tuple[int, StateTable]] | None = None
        self._done: list[tuple[int, list[Batch], bool]] = []

    def _fresh(self, interval: KeyInterval) -> Processor:
        read = frozenset({MAIN, ERRORS, "late", "full"})
        return self._make(ProcessorContext("op", interval, GROUPS, 10, 1000.0, 7, read))

    def process(self, tick: int, batches: list[Batch], *, final: bool) -> Emitted:
        self._done.append((tick, batches, final))
        found: Emitted = []
        for interval, instance in zip(self._intervals, self._instances, strict=True):
            slices = [(0, part) for b in batches if (part := b.slice(interval)) is not None]
            if slices or final or instance.due_after(tick - 1) == tick:
                found += emitted(tick, instance.process(TickInput(tick, slices, final)))
        return found

    @property
    def stored_tick(self) -> int:
        return 0 if self._stored is None else self._stored[0][0]

    def checkpoint(self) -> None:
        tick = self._done[-1][0]
        if self._stored is None:
            self._stored = [(tick, instance.full()) for instance in self._instances]
        else:
            self._stored = [
                (tick, fold(old, [instance.delta()]))
                for (_, old), instance in zip(self._stored, self._instances, strict=True)
            ]

    def crash(self, intervals: list[KeyInterval]) -> Emitted:
        """All instances restart from the last checkpoint, cut by other intervals, and replay."""
        self._intervals = intervals
        self._instances = [self._fresh(i) for i in intervals]
        after = self.stored_tick
        if self._stored is not None:
            whole = join_tables([table for _, table in self._stored])
            parts = [cut_table(whole, i) for i in intervals]
            for instance, part in zip(self._instances, parts, strict=True):
                instance.restore(part)
            self._stored = [(after, part) for part in parts]
        done, self._done = self._done, [d for d in self._done if d[0] <= after]
        return [row for t, b, f in done if t > after for row in self.process(t, b, final=f)]


def emitted(tick: int, outputs: Sequence[Output]) -> Emitted:
    found: Emitted = []
    for output in sorted(outputs, key=lambda output: output.name):
        assert output.keys is not None
        assert len(output.groups) == len(output.values) == len(output.keys)
        assert output.groups.tolist() == sorted(output.groups.tolist())
        named = "" if output.name == MAIN else f"{output.name}: "
        found += [(tick, int(g), f"{named}{row!r}") for g, row in zip(output.groups, rows(output.values), strict=True)]
    return found


def batches(edge: Edge, story: Story, tick: int, given: list[Row]) -> Iterator[Batch]:
    for interval in story.producers:
        own = sorted((r for r in given if interval.contains(r[0])), key=lambda r: r[0])
        values: Column = [(key, value) for _, key, value in own]
        if story.typed:
            values = Pairs(columnar([r[1] for r in own]), columnar([r[2] for r in own]))
        output = Output(np.array([r[0] for r in own], np.uint16), values)
        if (batch := Chain(edge, GROUPS, tracked=False).run([(output, {})], tick)) is not None:
            yield batch


def run(logic: Any, edge: Edge, ticks: list[list[Row]], story: Story) -> Emitted:
    cluster = Cluster(logic.make, story.consumers)
    found: Emitted = []
    for tick, tick_rows in enumerate(ticks, 1):
        found += cluster.process(tick, list(batches(edge, story, tick, tick_rows)), final=tick == len(ticks))
        if tick in story.checkpoints:
            cluster.checkpoint()
        if tick in story.crashes:
            before = [row for row in found if row[0] > cluster.stored_tick]
            assert sorted(cluster.crash(story.later_consumers or story.consumers)) == sorted(before)
    return sorted(
        found, key=lambda row: row[:2]
    )  # instances emit one after the other; rows of a group keep their order


def keyed_edge(combine: Any = None, *, value: bool = True) -> Edge:
    first, second = functions.field(0), functions.field(1)
    return Edge(0, "in", "op", key=first, keyed=True, value=second if value else None, combine=combine)


def order_sensitive(so_far: Any, new: Any) -> Any:
    return crc32(repr((so_far, new)).encode())  # not hash: every NaN has its own


SET_OF_HASHES = Folding(
    set, lambda seen, new: seen | {crc32(repr(new).encode())}, lambda one, other: one | other, sorted
)
PLAIN_SUM = Folding(lambda: 0, operator.add, operator.add)
"""Said to be exact by its user, and that is true of integers only."""

FUNCTIONS: dict[str, Any] = {"reduce": order_sensitive, "aggregate": SET_OF_HASHES}


@pytest.mark.parametrize(
    ("kind", "values"),
    [("count", "ints"), *((kind, v) for kind in ("sum", "mean", "min", "max", "reduce", "aggregate") for v in VALUES)],
)
@examples(30)  # of each: some two hundred of each kind
@given(data=st.data())
def test_what_an_aggregate_emits_does_not_depend_on_cuts_or_crashes(
    kind: Kind, values: str, data: st.DataObject
) -> None:
    ticks = data.draw(inputs(VALUES[values]))
    story = data.draw(stories(len(ticks)))
    function = FUNCTIONS.get(kind)
    logic = Aggregate(kind, data.draw(st.sampled_from([0, 1, 3])), function)
    edge = keyed_edge({"reduce": None, "aggregate": function}.get(kind, kind))

    plain = run(logic, keyed_edge(None, value=kind != "count"), ticks, Story())

    assert run(logic, edge, ticks, story) == plain


@pytest.mark.parametrize("values", ["ints", "wide", "floats"])
@given(data=st.data())
def test_a_sum_of_the_users_does_not_depend_on_cuts_even_if_it_is_wrongly_said_to_be_exact(
    values: str, data: st.DataObject
) -> None:
    ticks = data.draw(inputs(VALUES[values]))
    story = data.draw(stories(len(ticks)))
    logic = Aggregate("aggregate", 1, PLAIN_SUM)

    plain = run(logic, keyed_edge(), ticks, Story())

    assert run(logic, keyed_edge(PLAIN_SUM), ticks, story) == plain


@given(ticks=inputs(st.integers(-(2**80), 2**80) | st.integers(-5, 5)))
def test_means_of_integers_are_those_of_python(ticks: list[list[Row]]) -> None:
    values: dict[bytes, list[int]] = {}
    for _, key, value in (row for given_rows in ticks for row in given_rows):
        values.setdefault(encode_key(key), []).append(value)
    expected = sorted(repr(sum(each) / len(each)) for each in values.values())

    for combine in (None, "mean"):
        found = run(Aggregate("mean", 0), keyed_edge(combine), ticks, Story())
        assert sorted(row.rpartition(", ")[2].rstrip(")") for _, _, row in found) == expected


@given(ticks=inputs(numbers))
def test_an_aggregate_emits_what_plain_python_computes(ticks: list[list[Row]]) -> None:
    """Sums of floats apart, whose order of addition is ours."""
    steps: list[tuple[Kind, Callable[[Any, Any], Any]]] = [
        ("count", lambda so_far, _: so_far + 1),
        ("min", min),
        ("max", max),
        ("reduce", order_sensitive),
    ]
    for kind, add in steps:
        held: dict[bytes, list[Any]] = {}
        for given_rows in ticks:
            for _, key, value in sorted(given_rows, key=lambda r: r[0]):
                entry = held.setdefault(encode_key(key), [key])
                start = [1] if kind == "count" else [value]
                entry[1:] = start if len(entry) == 1 else [add(entry[1], value)]
        expected = sorted(
            ((key_group(key, GROUPS), key_hash(key), repr((key, value))) for key, value in held.values()),
            key=lambda row: row[:2],
        )
        logic = Aggregate(kind, 0, order_sensitive)

        found = run(logic, keyed_edge(None, value=kind != "count"), ticks, Story())

        assert [row[1:] for row in found] == [(group, row) for group, _, row in expected]


class Ledger(Operator):
    """Depends on order, tick, time and chance, keeps a list that it changes in place, and forgets at times.

    It emits the list on a named output before it changes it again.
    """

    outputs = ("full", "late", "unread")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        seen = state.get()
        if seen is None:
            seen = []
            state.set(seen)
        seen.append((value, ctx.tick, ctx.now))
        if len(seen) == 3:
            yield "full", key, ctx.random.random()
            ctx.emit("full", seen)
            ctx.emit("unread", key)
        if value == 5:
            ctx.emit("late", (value, ctx.tick))
            ctx.emit("late", seen)
        if len(seen) > 4:
            state.clear()
        yield key, seen


class Totals(Operator):
    """The same in columns: a running total in the state, deleted when it gets large; large ones on an output."""

    outputs = ("full", "late")

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        assert len(ctx.inputs) == len(keys)
        totals: dict[Any, Any] = {}
        out = []
        for key, old, value in zip(rows(keys), state.get_many(keys), rows(values), strict=True):
            totals[key] = totals.get(key, old or 0) * 3 + value
            out.append((totals[key], value))
        state.set_many(list(totals), [t if abs(t) < 50 else None for t in totals.values()])
        large = {key: total for key, total in totals.items() if abs(total) >= 50}
        ctx.emit_columns("full", list(large), list(large.values()))
        for key in large:
            ctx.emit_columns("late", [key], [[ctx.tick]])
        return keys, out


class Alarms(Operator):
    """Timers that are set, moved, cancelled and set by timers, and states of every kind that end at some time."""

    last = ValueState(ttl="30ms")
    seen = ListState(ttl="20ms")
    counts = MapState(ttl="40ms")
    total = ValueState(int, default=0)

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        self.last.set((value, ctx.tick))
        self.seen.append(value)
        self.counts[value % 2] = self.counts.get(value % 2, 0) + 1
        if value < -3:
            yield "cancelled", ctx.cancel_timer("near")
        elif value > 3:
            self.counts.clear()
        else:
            ctx.set_timer(ctx.now + value / 100, "near" if value % 2 else "")
        ctx.set_timer(ctx.now + 0.05, "silence")
        yield key, self.last.get(), self.seen.get(), dict(self.counts), ctx.timer()

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterator[Any]:
        self.total.set(self.total.get() + 1)
        if timer.name == "near":
            ctx.set_timer(timer.time + 0.02)
        yield key, timer, ctx.tick, ctx.random.random(), self.last.get(), self.seen.get(), list(self.counts.items())
        yield self.total.get()


class FailingLedger(Ledger):
    """Fails on some values, when it has changed the state and emitted."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield from super().process(key, value, state, ctx)
        if value % 3 == 1:
            raise ValueError(f"{value} at {ctx.tick}")


class FailingTotals(Totals):
    """The same in columns."""

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        result = super().process_columns(keys, values, state, ctx)
        for value in rows(values):
            if value % 3 == 1:
                raise ValueError(f"{value} at {ctx.tick}")
        return result


class FailingAlarms(Alarms):
    """The same with timers and declared states."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield from super().process(key, value, state, ctx)
        if value % 3 == 1:
            raise ValueError(f"{value} at {ctx.tick}")


@pytest.mark.parametrize("on_error", ["skip", "divert"])
@pytest.mark.parametrize(
    ("failing", "careful"), [(FailingLedger(), Ledger()), (FailingTotals(), Totals()), (FailingAlarms(), Alarms())]
)
@examples(50)
@given(data=st.data())
def test_of_records_that_fail_nothing_is_left_whatever_the_cuts_and_crashes(
    failing: Operator, careful: Operator, on_error: OnError, data: st.DataObject
) -> None:
    ticks = data.draw(inputs(VALUES["ints"]))
    story = data.draw(stories(len(ticks)))
    good = [[row for row in tick if row[2] % 3 != 1] for tick in ticks]

    found = run(Apply(failing, on_error), keyed_edge(), ticks, story)

    diverted = [row for row in found if row[2].startswith("errors: ")]
    assert without_chance(row for row in found if row not in diverted) == without_chance(
        run(Apply(careful), keyed_edge(), good, Story())
    )
    assert len(diverted) == (sum(map(len, ticks)) - sum(map(len, good)) if on_error == "divert" else 0)
    assert found == run(Apply(failing, on_error), keyed_edge(), ticks, Story())


def without_chance(found: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """What does not hang on how often chance was asked in a tick, which records that fail do too."""
    return [row for row in found if not row[2].startswith("('full'")]


@pytest.mark.parametrize("custom", [Ledger(), Totals(), Alarms()])
@given(data=st.data())
def test_what_a_custom_operator_emits_does_not_depend_on_cuts_or_crashes(custom: Operator, data: st.DataObject) -> None:
    ticks = data.draw(inputs(VALUES["ints"]))
    story = data.draw(stories(len(ticks)))
    edge = keyed_edge()

    plain = run(Apply(custom), edge, ticks, Story())

    assert run(Apply(custom), edge, ticks, story) == plain
