"""Chains of stateless steps: rows and columns, whose group they keep, what is combined, and whose fault an error is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic import functions
from elastic.batch import Batch, Column, Pairs, rows
from elastic.errors import UserCodeError
from elastic.keys import key_group
from elastic.operators.base import Output
from elastic.operators.stateless import Chain
from elastic.plan import Edge, EventTime, Folding, Step, StepKind

GROUPS = 16


def steps(*described: tuple[StepKind, Callable[[Any], Any]]) -> tuple[Step, ...]:
    return tuple(Step(kind, f"{kind}(f)", function, n) for n, (kind, function) in enumerate(described))


def run(
    edge: Edge, values: Column, groups: list[int] | None = None, memo: dict[Any, Any] | None = None
) -> Batch | None:
    emitted = np.array(groups if groups is not None else [0] * len(values), np.uint16)
    return Chain(edge, GROUPS, tracked=not edge.keyed).run([(Output(emitted, values), {} if memo is None else memo)], 5)


def forward(*described: Any) -> Edge:
    return Edge(0, "in", "out", steps=steps(*described))


def keyed(*described: Any, **more: Any) -> Edge:
    return Edge(0, "in", "out", steps=steps(*described), keyed=True, **more)


def ran(edge: Edge, values: Column, groups: list[int] | None = None) -> Batch:
    batch = run(edge, values, groups)
    assert batch is not None
    return batch


LINES = ["a b", "", "c", "b a b"]


@pytest.mark.parametrize("values", [LINES, pa.array(LINES)])
@pytest.mark.parametrize("split", [functions.split(), lambda line: line.split(), lambda line: iter(line.split())])
def test_rows_without_keys_keep_the_group_they_were_emitted_from(values: Column, split: Callable[[Any], Any]) -> None:
    edge = forward(("flat_map", split), ("filter", lambda word: word != "c"), ("map", str.upper))

    batch = ran(edge, values, [1, 2, 3, 9])

    assert batch.keys is None
    assert rows(batch.values) == ["A", "B", "B", "A", "B"]
    assert batch.groups.tolist() == [1, 1, 9, 9, 9]


def test_a_filter_in_columns_keeps_what_the_one_in_rows_keeps() -> None:
    by_column = ran(forward(("filter", functions.contains("a"))), pa.array(LINES), [0, 1, 2, 3])
    by_row = ran(forward(("filter", lambda line: "a" in line)), LINES, [0, 1, 2, 3])
    untracked = ran(keyed(("filter", lambda line: "a" in line)), LINES)

    assert rows(by_column.values) == rows(by_row.values) == ["a b", "b a b"]
    assert by_column.groups.tolist() == by_row.groups.tolist() == [0, 3]
    assert sorted(rows(untracked.values)) == ["a b", "b a b"]


def test_a_filter_goes_by_truth_when_its_function_returns_no_bool() -> None:
    assert rows(ran(forward(("filter", len)), LINES).values) == ["a b", "c", "b a b"]
    assert rows(ran(forward(("filter", functions.length())), pa.array(LINES)).values) == ["a b", "c", "b a b"]


def test_nothing_comes_of_rows_that_are_all_filtered_out() -> None:
    assert run(forward(("filter", lambda _: False)), LINES) is None
    assert run(keyed(("filter", functions.contains("zz")), combine="count"), pa.array(LINES)) is None


@pytest.mark.parametrize("values", [LINES, pa.array(LINES)])
@pytest.mark.parametrize("split", [functions.split(), lambda line: line.split()])
def test_counts_are_combined_before_the_shuffle(values: Column, split: Callable[[Any], Any]) -> None:
    batch = ran(keyed(("flat_map", split), combine="count"), values)

    assert batch.partial
    assert isinstance(batch.keys, pa.Array)
    counts = dict(zip(rows(batch.keys), rows(batch.values), strict=True))
    assert counts == {"a": 2, "b": 3, "c": 1}
    assert batch.groups.tolist() == sorted(key_group(word, GROUPS) for word in "abc")


def test_counts_of_mixed_keys_take_equal_keys_for_one() -> None:
    batch = ran(keyed(combine="count"), [1, "a", True, 1.0, None, float("nan"), float("nan")])

    counts = list(zip(rows(batch.keys), rows(batch.values), strict=True))
    assert sorted(map(repr, counts)) == ["('a', 1)", "(1, 3)", "(None, 1)", "(nan, 2)"]


def pairs(values: list[Any]) -> Pairs:
    return Pairs(pa.array(["a", "b"] * (len(values) // 2)), pa.array(values))


@pytest.mark.parametrize(
    ("kind", "expected"), [("sum", {"a": 9, "b": 12}), ("min", {"a": 1, "b": 2}), ("max", {"a": 5, "b": 6})]
)
def test_aggregates_of_integers_are_combined(kind: Any, expected: dict[str, int]) -> None:
    edge = keyed(key=functions.field(0), value=functions.field(1), combine=kind)

    batch = ran(edge, pairs([1, 2, 3, 4, 5, 6]))

    assert batch.partial
    assert dict(zip(rows(batch.keys), rows(batch.values), strict=True)) == expected


def test_minima_of_floats_are_combined_and_sums_of_them_are_not() -> None:
    values = pairs([1.5, 2.5, 0.5, 4.5])

    found = ran(keyed(key=functions.field(0), value=functions.field(1), combine="min"), values)

    assert dict(zip(rows(found.keys), rows(found.values), strict=True)) == {"a": 0.5, "b": 2.5}


def test_means_of_integers_are_begun_by_the_sender() -> None:
    found = ran(keyed(key=functions.field(0), value=functions.field(1), combine="mean"), pairs([1, 2, 3, 4, 5, 6]))

    assert found.partial
    assert dict(zip(rows(found.keys), rows(found.values), strict=True)) == {"a": (9, 3), "b": (12, 3)}


SUM = Folding(lambda: 0, operator.add, operator.add)


@pytest.mark.parametrize("values", [pairs([1, 2, 3, 4, 5, 6]), rows(pairs([1, 2, 3, 4, 5, 6]))])
def test_an_aggregate_with_a_merge_is_begun_by_the_sender(values: Column) -> None:
    found = ran(keyed(key=functions.field(0), value=functions.field(1), combine=SUM), values)

    assert found.partial
    assert dict(zip(rows(found.keys), rows(found.values), strict=True)) == {"a": 9, "b": 12}


@pytest.mark.parametrize("typed", ["typed", "rows"])
@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        ("first", [("a", 1), ("b", 2)]),
        ("last", [("a", 1), ("b", 3)]),
        ("keys", [("a", None), ("b", None)]),
        ("pairs", [(("a", 1), None), (("b", 2), None), (("b", 3), None)]),
    ],
)
def test_of_each_key_one_row_is_sent(combine: Any, expected: list[Any], typed: str) -> None:
    values: Column = pairs([1, 2, 1, 2, 1, 3])
    edge = keyed(key=functions.field(0), value=functions.field(1), combine=combine)

    batch = ran(edge, values if typed == "typed" else rows(values))

    assert not batch.partial
    sent = rows(batch.values) if batch.values is not None else [None] * len(batch)
    assert sorted(zip(rows(batch.keys), sent, strict=True), key=repr) == expected


@pytest.mark.parametrize("combine", ["first", "last", "keys", "pairs", "sum", "mean", "count", None])
def test_rows_that_may_be_combined_leave_their_event_times_behind(combine: Any) -> None:
    """Whether they were combined or not, and in whatever pieces they come."""
    edge = keyed(key=functions.field(0), value=functions.field(1), combine=combine, event_time=EventTime())
    few, many = pairs([1, 2] * 5), pairs(list(range(10)))
    different = Pairs(pa.array([f"k{n}" for n in range(10)]), pa.array(list(range(10))))
    pieces: list[tuple[Output, Any]] = [
        (Output(np.zeros(10, np.uint16), column, times=np.arange(10)), {}) for column in (few, different, many)
    ]

    batch = Chain(edge, GROUPS, tracked=False).run(pieces, 5)

    assert batch is not None
    assert (batch.times is None) == (combine is not None)
    assert batch.times is None or len(batch.times) == len(batch)


@pytest.mark.parametrize("zero", [0, 0.0])
def test_accumulators_with_floats_are_not_begun_by_the_sender(zero: float) -> None:
    folding = Folding(lambda: (zero, [None]), lambda so_far, new: (so_far[0], [new]), lambda one, other: one)

    found = ran(keyed(key=functions.field(0), value=functions.field(1), combine=folding), pairs([1, 2, 3, 0.5]))

    assert not found.partial
    assert len(found) == 4


@pytest.mark.parametrize("combine", ["mean", SUM])
def test_if_one_piece_of_a_tick_travels_whole_all_of_it_does(combine: Any) -> None:
    chain = Chain(keyed(key=functions.field(0), value=functions.field(1), combine=combine), GROUPS, tracked=False)
    zero = np.zeros(4, np.uint16)

    batch = chain.run([(Output(zero, pairs([1, 2, 3, 4])), {}), (Output(zero, pairs([0.5, 2.5, 0.5, 0.5])), {})], 5)

    assert batch is not None
    assert not batch.partial
    assert sorted(rows(batch.values)) == [0.5, 0.5, 0.5, 1, 2, 2.5, 3, 4]


def test_a_function_of_an_aggregate_that_raises_in_the_sender_is_named_with_its_record() -> None:
    folding = Folding(int, lambda so_far, new: so_far + int(new), operator.add)
    values = [("a", "1"), ("b", "x"), ("a", "2")]

    with pytest.raises(UserCodeError, match="invalid literal") as caught:
        run(keyed(key=functions.field(0), value=functions.field(1), combine=folding), values)

    assert (caught.value.operator, caught.value.record, caught.value.key) == ("out", "'x'", "'b'")


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0, 4.0], [2**62] * 4, [1, 2, None, 4]])
def test_what_would_not_be_exact_travels_row_by_row(values: list[Any]) -> None:
    batch = ran(keyed(key=functions.field(0), value=functions.field(1), combine="sum"), pairs(values))

    assert not batch.partial
    assert len(batch) == 4


def test_rows_of_a_key_keep_their_order_through_the_sort_by_group() -> None:
    values = [(n % 5, n) for n in range(50)]

    batch = ran(keyed(key=lambda row: row[0], value=lambda row: row[1]), values)

    assert batch.groups.tolist() == sorted(batch.groups.tolist())
    for key in range(5):
        of_key = [v for k, v in zip(rows(batch.keys), rows(batch.values), strict=True) if k == key]
        assert of_key == list(range(key, 50, 5))


def test_edges_that_begin_alike_share_the_result_of_their_common_steps() -> None:
    calls: list[str] = []

    def noted(line: str) -> str:
        calls.append(line)
        return line

    memo: dict[Any, Any] = {}
    run(forward(("map", noted)), LINES, memo=memo)
    run(keyed(("map", noted), ("filter", bool)), LINES, memo=memo)
    run(forward(("map", noted), ("filter", bool)), LINES, memo=memo)

    assert calls == LINES


@pytest.mark.parametrize(
    "values", [[("a", 1), ("b", 2), ("a", 3)], Pairs(pa.array(["a", "b", "a"]), pa.array([1, 2, 3]))]
)
def test_values_of_pairs_change_and_their_keys_and_groups_stay(values: Column) -> None:
    mapped = ran(forward(("map_values", lambda n: n * 10)), values, [0, 3, 5])
    unrolled = ran(forward(("flat_map_values", lambda n: range(n - 1))), values, [0, 3, 5])

    assert rows(mapped.values) == [("a", 10), ("b", 20), ("a", 30)]
    assert mapped.groups.tolist() == [0, 3, 5]
    assert rows(unrolled.values) == [("b", 0), ("a", 0), ("a", 1)]
    assert unrolled.groups.tolist() == [3, 5, 5]


def test_a_column_function_is_given_the_column_of_values() -> None:
    pairs = Pairs(pa.array(["k", "l"]), pa.array(["a b", "c"]))

    assert rows(ran(forward(("map_values", functions.upper())), pairs).values) == [("k", "A B"), ("l", "C")]
    assert rows(ran(forward(("flat_map_values", functions.split())), pairs).values) == [
        ("k", "a"),
        ("k", "b"),
        ("l", "c"),
    ]


@pytest.mark.parametrize("row", ["ab", ("a",), ("a", 1, 2), ["a", 1], None])
@pytest.mark.parametrize("kind", ["map_values", "flat_map_values"])
def test_a_row_that_is_no_pair_has_no_value_to_change(kind: Any, row: Any) -> None:
    with pytest.raises(UserCodeError, match=r"rows must be \(key, value\) tuples here") as caught:
        run(forward((kind, lambda value: [value])), [("a", 1), row])

    assert (caught.value.operator, caught.value.record) == (f"{kind}(f)", repr(row))


@pytest.mark.parametrize("values", [LINES, pa.array(LINES)])
@pytest.mark.parametrize("split", [functions.split(), lambda line: line.split()])
def test_steps_after_the_key_keep_it(values: Column, split: Callable[[Any], Any]) -> None:
    edge = keyed(("key", len), ("filter", lambda line: line), ("flat_map", split), ("map", lambda word: word * 2))

    batch = ran(edge, values)

    found = sorted(zip(rows(batch.keys), rows(batch.values), strict=True))
    assert found == [(1, "cc"), (3, "aa"), (3, "bb"), (5, "aa"), (5, "bb"), (5, "bb")]
    assert run(keyed(("key", len), ("filter", lambda line: False)), values) is None


def test_counts_after_a_filter_of_values_count_what_is_left() -> None:
    batch = ran(keyed(("key", len), ("filter", functions.contains("a")), combine="count"), LINES)

    assert sorted(zip(rows(batch.keys), rows(batch.values), strict=True)) == [(3, 1), (5, 1)]


def test_a_bad_key_is_named_with_what_the_steps_after_it_made_of_its_row() -> None:
    edge = keyed(("key", lambda row: [row]), ("filter", lambda row: row > 1), ("map", str))

    with pytest.raises(UserCodeError, match="cannot be a key") as caught:
        run(edge, [1, 2, 3])

    assert caught.value.record == "'2'"


def fails_on_c(line: str) -> str:
    if line == "c":
        raise ValueError("no c please")
    return line


def generates(line: str) -> Iterator[str]:
    yield fails_on_c(line)


@pytest.mark.parametrize(
    ("kind", "function"),
    [("map", fails_on_c), ("filter", fails_on_c), ("flat_map", fails_on_c), ("flat_map", generates)],
)
@pytest.mark.parametrize("edge", [forward, keyed])
def test_an_exception_names_the_step_the_record_and_the_users_line(kind: str, function: Any, edge: Any) -> None:
    with pytest.raises(UserCodeError) as caught:
        run(edge((kind, function)), ["a", "b", "c", "d"])

    assert (caught.value.operator, caught.value.tick, caught.value.record) == (f"{kind}(f)", 5, "'c'")
    *_, place, _source, last = caught.value.trace.splitlines()
    assert "in fails_on_c" in place
    assert last == "ValueError: no c please"
    assert "stateless.py" not in caught.value.trace


def test_an_exception_of_a_function_in_c_has_no_trace_but_itself() -> None:
    with pytest.raises(UserCodeError) as caught:
        run(forward(("map", int)), ["1", "x" * 1000])

    assert caught.value.trace.startswith("ValueError: invalid literal")
    assert len(caught.value.record) == 200


@pytest.mark.parametrize(
    ("result", "hint"),
    [("text", "list of rows"), (b"bytes", "list of rows"), (None, "got NoneType"), (5, "got int")],
)
def test_a_flat_map_refuses_what_is_no_collection_of_rows(result: Any, hint: str) -> None:
    with pytest.raises(UserCodeError, match=hint) as caught:
        run(forward(("flat_map", lambda row: [row] if row < 2 else result)), [0, 1, 2, 3])

    assert caught.value.record == "2"


def test_a_stop_iteration_of_the_users_drops_no_rows() -> None:
    with pytest.raises(UserCodeError, match="StopIteration") as caught:
        run(forward(("map", lambda row: next(iter(())) if row == 2 else row)), [0, 1, 2, 3])

    assert caught.value.record == "2"


@pytest.mark.parametrize("combine", [None, "count"])
@pytest.mark.parametrize("bad", [[1], {"a": 1}, frozenset(), object()])
def test_a_key_of_another_type_is_refused_with_its_record(combine: Any, bad: Any) -> None:
    edge = keyed(key=lambda row: row[0], key_name="key_by(first)", value=lambda row: row[1], combine=combine)

    with pytest.raises(UserCodeError, match="cannot be a key") as caught:
        run(edge, [("a", 1), (bad, 2)])

    assert caught.value.operator == "key_by(first)"
    assert caught.value.record == repr((bad, 2))


def test_a_column_form_that_raises_is_blamed_on_the_record_where_the_row_form_raises_too() -> None:
    @functions.columnar(lambda column: 1 / 0)
    def broken(row: int) -> float:
        return 1 / row

    with pytest.raises(UserCodeError) as caught:
        run(forward(("map", broken)), pa.array([2, 0, 1]))
    assert caught.value.record == "0"

    with pytest.raises(UserCodeError) as caught:
        run(forward(("map", broken)), pa.array([2, 1]))
    assert caught.value.record == "'column of 2 rows'"
