"""Keyed aggregates: when they emit, what they emit, and what a checkpoint of them holds."""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch, Pairs, columnar, rows, sorted_batch
from elastic.errors import UserCodeError
from elastic.keys import KeyInterval, groups_of, key_group, key_hash
from elastic.operators.aggregates import Aggregate, AggregateProcessor, Kind
from elastic.operators.base import Output, ProcessorContext, TickInput
from elastic.operators.snapshot import UnserialisableStateError
from elastic.plan import Folding

GROUPS = 16


def processor(
    kind: Kind, emit_ticks: int = 1, function: Callable[[Any, Any], Any] | Folding | None = None
) -> AggregateProcessor:
    context = ProcessorContext("totals", KeyInterval(0, GROUPS), GROUPS, 10, 0.0, 0)
    return Aggregate(kind, emit_ticks, function).make(context)


def batch(*pairs: tuple[Any, Any], partial: bool = False) -> Batch:
    keys, values = columnar([key for key, _ in pairs]), columnar([value for _, value in pairs])
    return sorted_batch(groups_of(keys, GROUPS), keys, values, partial=partial)


def add(target: AggregateProcessor, tick: int, *pairs: Any, final: bool = False, partial: bool = False) -> list[Any]:
    slices = [(0, batch(*pairs, partial=partial))] if pairs else []
    return shown(target.process(TickInput(tick, slices, final)))


def shown(outputs: Sequence[Output]) -> list[Any]:
    return sorted((row for output in outputs for row in rows(output.values)), key=repr)


def test_a_key_is_emitted_once_per_period_in_which_it_changed() -> None:
    count = processor("count", emit_ticks=3)

    assert add(count, 1, ("a", 1)) == []
    assert add(count, 2, ("a", 1), ("b", 1)) == []
    assert add(count, 3) == [("a", 2), ("b", 1)]
    assert add(count, 4, ("b", 1)) == []
    assert add(count, 6, ("c", 1)) == [("b", 2), ("c", 1)]
    assert add(count, 9) == []


def test_the_next_tick_is_due_only_while_something_is_pending() -> None:
    count = processor("count", emit_ticks=3)

    assert count.due_after(0) is None
    add(count, 1, ("a", 1))
    assert [count.due_after(tick) for tick in (1, 2)] == [3, 3]
    add(count, 3)
    assert count.due_after(3) is None
    add(count, 6, ("a", 1))
    assert count.due_after(6) is None


def test_what_is_pending_is_emitted_at_the_final_tick() -> None:
    at_the_end, periodic = processor("count", emit_ticks=0), processor("count", emit_ticks=3)
    for tick in (1, 2, 3, 4):
        add(at_the_end, tick, (tick, 1))
        add(periodic, tick, (tick, 1))

    assert at_the_end.due_after(4) is None
    assert add(at_the_end, 5, final=True) == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert add(periodic, 5, final=True) == [(4, 1)]


def test_a_restored_aggregate_knows_what_is_pending() -> None:
    count = processor("count", emit_ticks=5)
    add(count, 5, ("old", 1))
    add(count, 6, ("new", 1))
    restored = processor("count", emit_ticks=5)

    restored.restore(count.full())

    assert restored.due_after(7) == 10
    assert add(restored, 10) == [("new", 1)]
    assert len(restored) == 2


def test_a_delta_holds_what_changed_since_the_checkpoint_before() -> None:
    count = processor("count")
    add(count, 1, ("a", 1), ("b", 1))

    assert sorted(rows(count.full().keys)) == ["a", "b"]
    assert len(count.delta()) == 0
    add(count, 2, ("b", 1), ("c", 1))
    assert sorted(rows(count.delta().keys)) == ["b", "c"]
    assert len(count.delta()) == 0


def test_output_is_in_canonical_order_and_carries_its_keys() -> None:
    count = processor("count")
    keys = [f"k{n}" for n in range(40)]

    (output,) = count.process(TickInput(1, [(0, batch(*((key, 1) for key in reversed(keys))))]))

    assert output.keys is not None
    groups = groups_of(keys, GROUPS)
    expected = sorted(keys, key=lambda key: (key_group(key, GROUPS), key_hash(key)))
    assert rows(output.keys) == [key for key, _ in rows(output.values)] == expected
    assert output.groups.tolist() == sorted(groups.tolist())


def test_counts_that_the_sender_combined_are_added_to_rows_that_it_did_not() -> None:
    count = processor("count")

    assert add(count, 1, ("a", 5), partial=True) == [("a", 5)]
    assert add(count, 2, ("a", None), ("a", None)) == [("a", 7)]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("sum", [1, 2, 3], 6),
        ("sum", [0.5, 0.25], 0.75),
        ("sum", [True, 2], 3),
        ("sum", [1, 0.5, 2], 3.5),
        ("sum", [2**63 - 1, 1], 2**63),
        ("sum", [-(2**63), -1, 2**64], 2**63 - 1),
        ("sum", [2**2000, 0.5], float("inf")),
        ("sum", [Decimal("0.10"), Decimal("0.20"), 1], Decimal("1.30")),
        ("sum", [1, 2], 3),
        ("mean", [1, 2], 1.5),
        ("mean", [0.5, 1], 0.75),
        ("mean", [2**53 + 1, 2**53 + 3, 2**53 + 5], float(2**53 + 4)),
        ("mean", [2**2000, 1], float("inf")),
        ("mean", [-(2**2000), 1], float("-inf")),
        ("mean", [Decimal(1), Decimal(2), 0], Decimal(1)),
        ("mean", [True, False], 0.5),
        ("min", [dt.date(2020, 1, 2), dt.date(2020, 1, 1)], dt.date(2020, 1, 1)),
        ("max", [Decimal("1.5"), 1, 2.0], 2.0),
        ("min", [3, 1, 2], 1),
        ("max", ["b", "c", "a"], "c"),
        ("min", [1.5, 1, 2.5], 1),
        ("max", [0.0, -0.0], 0.0),
        ("max", [-0.0, 0.0], -0.0),
        ("min", [True, 1, 1.0], True),
        ("max", [(1, "a"), (1, "b")], (1, "b")),
        ("min", [2**70, -(2**70)], -(2**70)),
    ],
)
@pytest.mark.parametrize("per_tick", [1, 9])
def test_an_aggregate_has_the_value_and_the_type_that_python_gives(
    kind: Kind, values: list[Any], expected: Any, per_tick: int
) -> None:
    target = processor(kind)
    for tick in range(0, len(values), per_tick):
        found = add(target, tick, *(("k", value) for value in values[tick : tick + per_tick]))

    assert repr(found) == repr([("k", expected)])
    restored = processor(kind, emit_ticks=0)
    restored.restore(target.full())
    assert repr(add(restored, 99, final=True)) == repr([("k", expected)])


def test_a_sum_of_floats_does_not_depend_on_integers_in_between() -> None:
    apart, mixed = processor("sum"), processor("sum")
    add(apart, 1, ("k", 0.1), ("k", 0.2))

    assert add(apart, 2, ("k", 10**16)) == add(mixed, 1, ("k", 0.1), ("k", 10**16), ("k", 0.2))


def test_a_key_is_shown_as_it_was_first_seen() -> None:
    count = processor("count")
    add(count, 1, (True, None))

    assert repr(add(count, 2, (1, None), (1.0, None))) == "[(True, 3)]"


def test_reduce_starts_from_a_keys_first_value() -> None:
    joined = processor("reduce", function=lambda so_far, new: so_far + new)

    assert add(joined, 1, ("a", "x"), ("b", "y"), ("a", "z")) == [("a", "xz"), ("b", "y")]
    assert add(joined, 2, ("a", "!")) == [("a", "xz!")]


def test_what_was_emitted_and_checkpointed_does_not_change_when_a_reduction_changes_its_value_in_place() -> None:
    def extend(so_far: list[int], new: list[int]) -> list[int]:
        so_far += new
        return so_far

    joined = processor("reduce", function=extend)
    first = joined.process(TickInput(1, [(0, batch(("a", [1])))]))
    table = joined.full()

    assert add(joined, 2, ("a", [2])) == [("a", [1, 2])]
    assert shown(first) == [("a", [1])]
    restored = processor("reduce", function=extend)
    restored.restore(table)
    assert add(restored, 2, ("a", [3])) == [("a", [1, 3])]


@pytest.mark.parametrize(
    ("kind", "good", "bad", "says"),
    [
        ("sum", 1, "text", "sum adds int, float and Decimal, and got str"),
        ("sum", 1, None, "got NoneType; leave such rows out with a filter"),
        ("sum", 0.5, Decimal(1), "has both float and Decimal values for this key"),
        ("sum", Decimal(1), 0.5, "has both float and Decimal values for this key"),
        ("mean", 1, "text", "mean adds int, float and Decimal, and got str"),
        ("max", 1, None, "not supported between"),
        ("min", 1, "text", "not supported between instances of 'str' and 'int'"),
        ("reduce", 1, "text", "unsupported operand"),
    ],
)
def test_a_value_that_cannot_be_aggregated_is_named_with_its_key(kind: Kind, good: Any, bad: Any, says: str) -> None:
    target = processor(kind, function=lambda so_far, new: so_far + new)

    with pytest.raises(UserCodeError, match=says) as caught:
        add(target, 7, ("a", good), ("b", good), ("b", bad))

    assert (caught.value.operator, caught.value.tick) == ("totals", 7)
    assert (caught.value.record, caught.value.key) == (repr(bad), "'b'")


@pytest.mark.parametrize("kind", ["min", "max"])
def test_none_has_no_smallest_and_no_largest_value(kind: Kind) -> None:
    with pytest.raises(UserCodeError, match=f"{kind} compares values, and got None; leave such rows out") as caught:
        add(processor(kind), 1, ("a", 1), ("b", None))

    assert caught.value.key == "'b'"


def test_means_that_the_sender_began_are_gone_on_with() -> None:
    mean = processor("mean")
    keys = pa.array(["a", "b"])
    begun = sorted_batch(groups_of(keys, GROUPS), keys, Pairs(pa.array([10, 1]), pa.array([4, 1])), partial=True)

    assert shown(mean.process(TickInput(1, [(0, begun)]))) == [("a", 2.5), ("b", 1.0)]
    assert add(mean, 2, ("a", 5)) == [("a", 3.0)]
    assert add(mean, 3, ("a", 0.5)) == [("a", 15.5 / 6)]


def extended(so_far: list[int], new: int) -> list[int]:
    so_far.append(new)
    return so_far


LISTS = Folding(list, extended, operator.add, tuple)


def test_an_aggregate_folds_rows_into_an_accumulator_and_emits_its_result() -> None:
    lists = processor("aggregate", function=LISTS)

    first = lists.process(TickInput(1, [(0, batch(("a", 1), ("b", 2), ("a", 3)))]))
    table = lists.full()

    assert add(lists, 2, ("a", 4)) == [("a", (1, 3, 4))]
    assert shown(first) == [("a", (1, 3)), ("b", (2,))]
    restored = processor("aggregate", function=LISTS)
    restored.restore(table)
    assert add(restored, 2, ("a", 5)) == [("a", (1, 3, 5))]


def test_an_aggregate_merges_what_the_sender_began_and_leaves_that_as_it_is() -> None:
    lists = processor("aggregate", function=replace(LISTS, merge=lambda one, other: other if not one else one + other))
    sent = batch(("a", [1, 2]), partial=True)

    assert shown(lists.process(TickInput(1, [(0, sent)]))) == [("a", (1, 2))]
    assert add(lists, 2, ("a", 3)) == [("a", (1, 2, 3))]
    assert rows(sent.values) == [[1, 2]]


@pytest.mark.parametrize(
    ("folding", "says"),
    [
        (Folding(list, list.append), "append returned None; return the accumulator"),
        (Folding(lambda: 1 // 0, operator.add), "ZeroDivisionError"),
        (Folding(int, lambda so_far, new: so_far + new), "unsupported operand"),
        (Folding(int, lambda so_far, new: 0, result=lambda total: 1 // total), "ZeroDivisionError"),
    ],
)
def test_a_function_of_an_aggregate_that_fails_is_named_with_its_key(folding: Folding, says: str) -> None:
    with pytest.raises(UserCodeError, match=says) as caught:
        add(processor("aggregate", function=folding), 7, ("b", "text"))

    assert (caught.value.operator, caught.value.key) == ("totals", "'b'")


def test_a_value_that_no_checkpoint_can_hold_is_named_with_its_key() -> None:
    target = processor("reduce", emit_ticks=0, function=lambda so_far, new: new)
    add(target, 1, ("a", 1), ("b", (n for n in range(3))))

    with pytest.raises(UnserialisableStateError, match="operator 'totals' has a value for key 'b'"):
        target.full()


def test_many_keys_over_many_ticks_count_as_numpy_does() -> None:
    rng = np.random.default_rng(3)
    count, expected = processor("count"), np.zeros(5000, np.int64)
    for tick in range(1, 20):
        drawn = rng.integers(0, 5000, 700)
        keys, counts = np.unique(drawn, return_counts=True)
        expected[keys] += counts
        column = pa.array(keys)
        rows_of_tick = sorted_batch(groups_of(column, GROUPS), column, pa.array(counts), partial=True)
        count.process(TickInput(tick, [(0, rows_of_tick)]))

    table = count.full()
    assert dict(zip(rows(table.keys), rows(table.fields["value"]), strict=True)) == {
        key: n for key, n in enumerate(expected.tolist()) if n
    }
