"""Operators with several inputs, and joins of a stream with a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from elastic import Query, sinks, sources, windows
from elastic.batch import Batch, Column, columnar, rows, sorted_batch
from elastic.errors import QueryError, UserCodeError
from elastic.functions import field
from elastic.keys import KeyInterval, groups_of
from elastic.operators.base import ColumnState, Context, Operator, ProcessorContext, TickInput, ValueState
from elastic.operators.failure import Failures
from elastic.operators.join import STREAM, TABLE, TableJoin
from elastic.plan import ERRORS, MAIN, OnError, Settings
from elastic.testing.simulator import simulate

GROUPS = 16


def ended(query: Query, seed: int = 3, **options: Any) -> dict[str, list[Any]]:
    """What each sink holds after a simulated run in which a worker dies."""
    found = simulate(query, seed, faults=1, kinds=("crash",), within_s=0.5, **options)
    assert (found.status, found.wrong) == ("done", None), found.error
    return {name: [row for part in ticks.values() for row in part] for name, ticks in found.sinks.items()}


class Enrich(Operator):
    """Adds a customer's city to each order."""

    inputs = ("customers", "orders")

    def process_customers(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        state.set(value["city"])

    def process_orders(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield value["id"], state.get()


def user(row: Any) -> Any:
    return row["user"]


def test_each_input_has_its_own_method() -> None:
    query = Query("orders")
    customers = query.source(sources.from_list([{"user": u, "city": u.upper()} for u in "abc"]), name="customers")
    orders = query.source(sources.from_list([{"user": u, "id": n} for n, u in enumerate("abcab")]), name="orders")
    customers.key_by(field("user")).connect(orders.key_by(field("user"))).apply(Enrich()).sink(sinks.discard())

    plan = query.plan()
    assert [(e.producer, e.input) for e in plan.edges if e.consumer == "Enrich"] == [("customers", 0), ("orders", 1)]
    assert sorted(ended(query)["discard"]) == [(0, "A"), (1, "B"), (2, "C"), (3, "A"), (4, "B")]


class Order(Operator):
    """Emits on which input each row came."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield ctx.input, value


class Columns(Operator):
    """The same by columns."""

    inputs = ("one", "other")

    def process_columns(self, keys: Column, values: Column, state: ColumnState, ctx: Context) -> Any:
        return keys, list(zip(ctx.inputs.tolist(), rows(values), strict=True))


def test_united_streams_are_one_input_of_those_that_are_connected() -> None:
    query = Query("q")
    a, b, c = (query.source(sources.from_list([name] * 3), name=name).key_by(lambda row: 1) for name in "abc")

    c.union(b).connect(a).apply(Order()).sink(sinks.discard(), name="K")
    c.union(b).connect(a).apply(Columns()).map(field(1)).sink(sinks.discard(), name="L")
    c.union(b).apply(Order()).sink(sinks.discard(), name="M")

    found = ended(query)
    assert sorted(found["K"]) == sorted(found["L"]) == [(0, "b")] * 3 + [(0, "c")] * 3 + [(1, "a")] * 3
    assert sorted(found["M"]) == [(0, "c")] * 3 + [(1, "b")] * 3


def refused(build: Callable[[Any, Any], Any]) -> str:
    query = Query("q")
    with pytest.raises(QueryError, match=r"test_inputs_and_joins\.py:\d+: ") as caught:
        build(*(query.source(sources.from_list([1]), name=name).key_by() for name in "ab"))
    return str(caught.value).partition(": ")[2]


def test_inputs_that_do_not_fit_are_refused() -> None:
    class Lacks(Operator):
        inputs = ("a", "b")

        def process_a(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None: ...

    class Mistyped(Enrich):
        def process_order(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None: ...

    class Word(Operator):
        inputs = "customers"

        def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None: ...

    assert "has the inputs 'customers', 'orders', and is given 1" in refused(lambda a, b: a.apply(Enrich()))
    assert "is given 3 of them" in refused(lambda a, b: a.connect(b, b).apply(Enrich()))
    assert "has the input 'b', but defines no process_b()" in refused(lambda a, b: a.connect(b).apply(Lacks()))
    said = refused(lambda a, b: a.connect(b).apply(Mistyped()))
    assert "defines process_order(), but its inputs are 'customers', 'orders'" in said
    assert "not a sequence of names; write inputs = ('customers',)" in refused(lambda a, b: a.connect(b).apply(Word()))
    assert "connect() takes the other streams" in refused(lambda a, b: a.connect())
    assert "connect() of a KeyedStream takes others of its kind" in refused(lambda a, b: a.connect(3))
    other = Query("other").source(sources.from_list([1])).key_by()
    assert "connect() of streams of two queries" in refused(lambda a, b: a.connect(other))


# -- joins -------------------------------------------------------------------------------------------------------------


def test_a_stream_is_joined_with_the_newest_row_of_a_table() -> None:
    query = Query("join")
    prices = query.source(sources.from_list([("tea", 3), ("cups", 9), ("tea", 4)]), name="prices").key_by(field(0))
    orders = query.source(sources.from_list([("tea", 10), ("pots", 1)], rate="4/s"), name="orders").key_by(field(0))
    orders.join(prices.map_values(field(1)), lambda order, price: order[1] * price).sink(sinks.discard(), name="K")
    orders.join(prices, how="left").sink(sinks.discard(), name="L")

    found = ended(query)

    assert found["K"] == [("tea", 40)]
    assert sorted(found["L"]) == [("pots", (("pots", 1), None)), ("tea", (("tea", 10), ("tea", 4)))]


def batch(*pairs: tuple[Any, Any]) -> Batch:
    keys = columnar([key for key, _ in pairs])
    return sorted_batch(groups_of(keys, GROUPS), keys, columnar([value for _, value in pairs]))


class Run:
    """One instance of a join."""

    def __init__(self, function: Any = None, how: Any = "inner", on_error: OnError = "fail") -> None:
        self.failures, self.tick = Failures(), 0
        read = frozenset({MAIN, ERRORS})
        context = ProcessorContext("join", KeyInterval(0, GROUPS), GROUPS, 10, 0.0, 0, read, failures=self.failures)
        self._join, self._context = TableJoin(function, how, on_error), context
        self.target = self._join.make(context)

    def restart(self) -> None:
        """From a checkpoint."""
        table = self.target.full()
        self.target = self._join.make(self._context)
        self.target.restore(table)

    def give(self, table: list[Any], stream: list[Any]) -> dict[str, list[Any]]:
        self.tick += 1
        slices = [(n, batch(*pairs)) for n, pairs in ((TABLE, table), (STREAM, stream)) if pairs]
        outputs = self.target.process(TickInput(self.tick, slices))
        return {o.name: sorted(rows(o.values), key=repr) for o in outputs}


def test_the_tables_rows_of_a_tick_are_known_to_the_streams() -> None:
    run = Run()

    assert run.give([("a", 1)], [("a", "x"), ("b", "y")]) == {MAIN: [("a", ("x", 1))]}
    assert run.give([("a", 2), ("a", 3), ("b", 4)], [("a", "x"), ("b", "y")])[MAIN] == [
        ("a", ("x", 3)),
        ("b", ("y", 4)),
    ]
    assert run.give([], [("a", "z")])[MAIN] == [("a", ("z", 3))]


def test_none_deletes_a_key_from_the_table() -> None:
    run = Run(how="left")
    run.give([("a", 1), ("b", 2), ("c", 3)], [])
    run.target.full()

    assert run.give([("a", None), ("b", None), ("b", 5)], [("a", 0), ("b", 0)])[MAIN] == [
        ("a", (0, None)),
        ("b", (0, 5)),
    ]
    delta = run.target.delta()
    assert (rows(delta.keys), rows(delta.deleted_keys)) == (["b"], ["a"])
    assert len(run.target) == 2


def test_a_table_is_restored_whole() -> None:
    run = Run()
    run.give([("a", {"city": "Rome"}), (1, 2), ((1, "x"), [3])], [])

    run.restart()

    assert run.give([], [("a", 0), (1.0, 0), ((1, "x"), 0)])[MAIN] == [
        ("a", (0, {"city": "Rome"})), ((1, "x"), (0, [3])), (1.0, (0, 2)),
    ]  # fmt: skip


def test_a_row_on_which_the_function_fails_follows_the_policy() -> None:
    def divided(row: Any, newest: Any) -> Any:
        return row / newest

    table, stream = [("a", 2), ("b", 0)], [("a", 4), ("b", 1), ("a", 6)]
    with pytest.raises(UserCodeError, match="ZeroDivisionError") as caught:
        Run(divided).give(table, stream)
    assert (caught.value.key, caught.value.record) == ("'b'", "1")
    assert Run(divided, on_error="skip").give(table, stream) == {MAIN: [("a", 2.0), ("a", 3.0)]}
    run = Run(divided, on_error="divert")
    found = run.give(table, stream)
    assert found[MAIN] == [("a", 2.0), ("a", 3.0)]
    assert [(told["key"], told["record"], told["tick"]) for told in found[ERRORS]] == [("b", 1, 1)]
    assert [f.diverted for f in run.failures.found()] == [1]


def test_joins_that_cannot_be_are_refused() -> None:
    assert "join(how='outer'): write 'inner' or 'left'" in refused(lambda a, b: a.join(b, how="outer"))
    assert "join(on_error='no')" in refused(lambda a, b: a.join(b, on_error="no"))
    assert "takes others" in refused(lambda a, b: a.join(b, lambda row: row))
    assert "join() of a KeyedStream takes others of its kind" in refused(lambda a, b: a.join({}))


def test_a_joined_row_has_the_event_time_of_the_streams_row() -> None:
    query = Query("times")
    clicks = query.source(sources.from_list([(n % 3, n) for n in range(60)], rate="90/s"), name="clicks")
    timed = clicks.event_time(lambda row: row[1] / 10, slack="1s").key_by(field(0))
    names = query.source(sources.from_list([(0, "a"), (1, "b")]), name="names").key_by(field(0)).map_values(field(1))
    joined = timed.join(names, lambda click, name: name, how="left")
    counted = joined.key_by(lambda row: 0).window(windows.tumbling("2s")).count()
    counted.map(lambda row: (row["start"], row["value"])).sink(sinks.discard())

    assert sorted(ended(query)["discard"]) == [(0.0, 20), (2.0, 20), (4.0, 20)]


def test_a_setting_takes_the_place_of_a_joins_policy() -> None:
    query = Query("q")
    a, b = (query.source(sources.from_list([0, 1]), name=name).key_by() for name in "ab")
    a.join(b, lambda row, newest: row // newest).sink(sinks.discard())

    found = ended(query, settings=Settings(tick_ms=10, checkpoint_ms=100, key_groups=16, on_error={"join": "skip"}))

    assert found["discard"] in ([(1, 1)], [])
