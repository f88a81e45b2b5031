"""Users' own operators: their state, their context, their output, and their mistakes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch, Column, columnar, rows, sorted_batch
from elastic.errors import UserCodeError
from elastic.keys import KeyInterval, groups_of, key_group
from elastic.operators.apply import Apply
from elastic.operators.base import (
    ColumnState,
    Context,
    Operator,
    Output,
    Processor,
    ProcessorContext,
    TickInput,
    ValueState,
)
from elastic.operators.snapshot import UnserialisableStateError

GROUPS = 16
CONTEXT = ProcessorContext("mine", KeyInterval(0, GROUPS), GROUPS, 10, 1000.0, 7)


def batch(*pairs: tuple[Any, Any]) -> Batch:
    keys, values = columnar([key for key, _ in pairs]), columnar([value for _, value in pairs])
    return sorted_batch(groups_of(keys, GROUPS), keys, values)


def add(target: Processor, tick: int, *pairs: tuple[Any, Any]) -> list[Any]:
    return [row for output in process(target, tick, *pairs) for row in rows(output.values)]


def process(target: Processor, tick: int, *pairs: tuple[Any, Any]) -> Sequence[Output]:
    return target.process(TickInput(tick, [(0, batch(*pairs))]))


class Calls(Operator):
    """Does to each row what the function given says."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Any:
        return self.function(key, value, state, ctx)


def made(function: Any) -> Processor:
    return Apply(Calls(function)).make(CONTEXT)


def running_count(key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any]:
    count = (state.get() or 0) + 1
    state.set(count)
    yield key, count


def test_state_belongs_to_the_key_and_lasts() -> None:
    counts = made(running_count)

    assert sorted(add(counts, 1, ("a", 0), ("b", 0), ("a", 0))) == [("a", 1), ("a", 2), ("b", 1)]
    assert add(counts, 2, ("a", 0)) == [("a", 3)]
    assert len(counts) == 2


def test_equal_keys_share_their_state() -> None:
    counts = made(running_count)
    nans = [(float("nan"), 0), (float("nan"), 0)]

    assert [count for _, count in add(counts, 1, (1, 0), (True, 0), (1.0, 0))] == [1, 2, 3]
    assert [count for _, count in add(counts, 1, *nans)] == [1, 2]


def test_every_row_knows_the_group_and_the_key_that_emitted_it() -> None:
    target = made(lambda key, value, state, ctx: [value] * value)

    (output,) = process(target, 1, ("a", 2), ("b", 0), ("c", 1))

    assert output.keys is not None
    assert output.groups.tolist() == [key_group(key, GROUPS) for key in rows(output.keys)]
    assert sorted(zip(rows(output.keys), rows(output.values), strict=True)) == [("a", 2), ("a", 2), ("c", 1)]


def test_rows_come_in_canonical_order_with_the_input_they_came_on() -> None:
    seen: list[Any] = []
    target = made(lambda key, value, state, ctx: seen.append((key_group(key, GROUPS), ctx.input, value)))
    keys = "abcdefgh"

    target.process(TickInput(1, [(n, batch(*((k, i) for i, k in enumerate(keys)))) for n in (0, 1)]))

    assert seen == sorted(seen)
    assert len(seen) == 2 * len(keys)


def test_time_and_randomness_are_functions_of_tick_and_key_group() -> None:
    def drawn(key: Any, value: Any, state: ValueState, ctx: Context) -> Any:
        yield ctx.now, ctx.tick, ctx.random.random(), ctx.random.random()

    once, again = add(made(drawn), 3, ("a", 0), ("b", 0), ("a", 0)), add(made(drawn), 3, ("b", 0), ("a", 0), ("a", 0))

    assert once == again
    assert len(set(once)) == 3
    assert {row[:2] for row in once} == {(1000.03, 3)}
    assert add(made(drawn), 4, ("a", 0)) != add(made(drawn), 3, ("a", 0))
    expected = random.Random(f"7/mine/3/{key_group('a', GROUPS)}").random()
    assert add(made(drawn), 3, ("a", 0))[0][2] == expected, "of a fixed stream, also in the next release"


def test_a_deleted_key_is_in_the_next_delta_and_in_no_full_table() -> None:
    def toggled(key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        state.set(value)

    target = made(toggled)
    add(target, 1, ("a", 1), ("b", 2))
    target.full()

    add(target, 2, ("a", None))

    delta = target.delta()
    assert (rows(delta.keys), rows(delta.deleted_keys)) == ([], ["a"])
    assert delta.deleted_groups is not None
    assert delta.deleted_groups.tolist() == [key_group("a", GROUPS)]
    assert rows(target.full().keys) == ["b"]
    assert len(target.delta()) == 0


def test_a_value_changed_in_place_is_in_the_next_delta() -> None:
    def appended(key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        if state.get() is None:
            state.set([])
        state.get().append(value)

    target = made(appended)
    add(target, 1, ("a", 1))
    full = target.full()
    add(target, 2, ("a", 2))
    delta = target.delta()

    for table, expected in ((full, [1]), (delta, [1, 2])):
        restored = made(lambda key, value, state, ctx: [state.get()])
        restored.restore(table)
        assert add(restored, 3, ("a", 0)) == [expected]


def test_reading_an_immutable_value_writes_nothing() -> None:
    target = made(lambda key, value, state, ctx: state.set((1, "x")) if value else [state.get()])
    add(target, 1, ("a", 1))
    target.full()

    add(target, 2, ("a", 0))

    assert len(target.delta()) == 0


def test_emitted_rows_do_not_change_when_the_state_that_they_show_does() -> None:
    def history(key: Any, value: Any, state: ValueState, ctx: Context) -> Any:
        seen = state.get() or []
        seen.append(value)
        state.set(seen)
        yield key, seen

    assert add(made(history), 1, ("a", 1), ("a", 2)) == [("a", [1]), ("a", [1, 2])]


def test_attributes_set_in_the_constructor_belong_to_one_instance() -> None:
    operator = Calls(running_count)
    first, second = Apply(operator).make(CONTEXT), Apply(operator).make(CONTEXT)

    first._operator.function = None  # type: ignore[attr-defined]

    assert add(second, 1, ("a", 0)) == [("a", 1)]


@pytest.mark.parametrize("result", [("a", 1), "text", {"a": 1}, 5])
def test_a_row_that_was_returned_where_rows_are_expected_is_refused(result: Any) -> None:
    with pytest.raises(UserCodeError, match="yield row") as caught:
        add(made(lambda key, value, state, ctx: result), 1, ("a", 1))

    assert (caught.value.operator, caught.value.key, caught.value.record) == ("mine", "'a'", "1")


def raises_at_2(key: Any, value: Any, state: ValueState, ctx: Context) -> Any:
    yield value
    if value == 2:
        raise KeyError("gone")


def test_an_exception_names_operator_record_key_tick_and_line() -> None:
    with pytest.raises(UserCodeError) as caught:
        add(made(raises_at_2), 6, ("a", 1), ("a", 2), ("a", 3))

    error = caught.value
    assert (error.operator, error.tick, error.record, error.key) == ("mine", 6, "2", "'a'")
    assert "in raises_at_2" in error.trace
    assert "custom.py" not in error.trace
    assert error.trace.splitlines()[-1] == "KeyError: 'gone'"


def test_a_state_that_cannot_be_serialised_is_named_at_the_checkpoint() -> None:
    target = made(lambda key, value, state, ctx: state.set(open if key == "a" else lambda: None))
    add(target, 1, ("a", 0), ("b", 0))

    with pytest.raises(UnserialisableStateError, match="operator 'mine' has a value for key 'b'"):
        target.delta()


class Totals(Operator):
    """Adds up whole columns."""

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        assert isinstance(keys, pa.Array)
        unique = keys.unique()
        sums = [int(np.asarray(values)[np.asarray(keys) == key].sum()) for key in unique.to_pylist()]
        totals = [(old or 0) + new for old, new in zip(state.get_many(unique), sums, strict=True)]
        state.set_many(unique, np.array(totals))
        return unique, np.array(totals)


def test_an_operator_may_take_whole_columns() -> None:
    target = Apply(Totals()).make(CONTEXT)

    (first,) = process(target, 1, (1, 10), (2, 20), (1, 30))
    assert sorted(add(target, 2, (1, 1))) == [(1, 41)]

    assert sorted(rows(first.values)) == [(1, 40), (2, 20)]
    assert first.groups.tolist() == sorted(key_group(key, GROUPS) for key in (1, 2))
    assert dict(zip(rows(target.full().keys), rows(target.full().fields["value"]), strict=True)) == {1: 41, 2: 20}


class Returns(Operator):
    """Returns what it was made with."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        return self.result if self.result != "random" else ctx.random


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ([1, 2], "return \\(keys, values\\)"),
        (([1], [1, 2]), "1 keys for 2 values"),
        ((["somewhere else"], [1]), "of which the tick had no row"),
        (([[]], [1]), "cannot be a key"),
        ("random", "belongs to one key group"),
    ],
)
def test_mistakes_with_columns_are_explained(result: Any, says: str) -> None:
    target = Apply(Returns(result)).make(CONTEXT)

    with pytest.raises(UserCodeError, match=says):
        target.process(TickInput(1, [(0, batch((1, 10)))]))


def test_an_operator_that_returns_no_columns_emits_nothing() -> None:
    assert add(Apply(Returns(None)).make(CONTEXT), 1, ("a", 1)) == []
    assert add(Apply(Returns(([], []))).make(CONTEXT), 1, ("a", 1)) == []


class Forgets(Operator):
    """Keeps positive values only."""

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> None:
        state.set_many(keys, [value if value > 0 else None for value in rows(values)])


def test_setting_many_to_none_deletes_them() -> None:
    target = Apply(Forgets()).make(CONTEXT)
    add(target, 1, ("a", 1), ("b", 1), ("c", -1))
    assert len(target.full()) == 2

    add(target, 2, ("a", -1))

    assert len(target) == 1
    delta = target.delta()
    assert (len(delta), rows(delta.deleted_keys)) == (0, ["a"])
