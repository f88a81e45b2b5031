"""Declared states: values, lists and maps per key, their types, and when what is in them ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from elastic import Query, sinks, sources
from elastic.batch import Batch, Column, columnar, rows, sorted_batch
from elastic.errors import QueryError, UserCodeError
from elastic.keys import KeyInterval, groups_of
from elastic.operators.apply import Apply
from elastic.operators.base import Context, Operator, Processor, ProcessorContext, TickInput, Timer, ValueState
from elastic.operators.bound_states import StateMismatchError
from elastic.operators.snapshot import thaw
from elastic.operators.states import ListState, MapState
from elastic.operators.told import in_words

GROUPS = 16
ANYTHING: dict[str, Any] = {text: text for text in ("int", "clock")}
CONTEXT = ProcessorContext("cart", KeyInterval(0, GROUPS), GROUPS, 10, 1000.0, 7)


def batch(*pairs: tuple[Any, Any]) -> Batch:
    keys, values = columnar([key for key, _ in pairs]), [value for _, value in pairs]
    return sorted_batch(groups_of(keys, GROUPS), keys, values)


def run(target: Processor, tick: int, *pairs: tuple[Any, Any]) -> list[Any]:
    slices = [(0, batch(*pairs))] if pairs else []
    return [row for output in target.process(TickInput(tick, slices)) for row in rows(output.values)]


class Cart(Operator):
    """Calls the value of each row, a function, with itself."""

    total = ValueState(int, default=0)
    items = ListState(str)
    prices = MapState(str, float)

    def process(self, key: Any, value: Callable[..., Any], state: ValueState, ctx: Context) -> Iterable[Any]:
        yield value(self)


class Short(Cart):
    """The same, with values that live for a second."""

    total = ValueState(int, default=0, ttl="1s")
    items = ListState(str, ttl="1s")
    prices = MapState(str, float, ttl="1s")


def made(operator: Operator | None = None) -> Processor:
    return Apply(operator or Cart()).make(CONTEXT)


def restored(target: Processor, operator: Operator | None = None) -> Processor:
    again = made(operator)
    again.restore_common(target.common())
    again.restore(target.full())
    return again


def test_a_state_works_on_the_key_that_is_being_processed() -> None:
    target = made()

    def add(cart: Cart) -> int:
        cart.total.set(cart.total.get() + 1)
        return int(cart.total.get())

    assert sorted(run(target, 1, ("a", add), ("b", add), ("a", add))) == [1, 1, 2]


def test_a_list_keeps_its_elements_in_order() -> None:
    target = made()
    run(target, 1, ("a", lambda cart: cart.items.extend(["x", "y"])), ("a", lambda cart: cart.items.append("z")))

    assert run(target, 2, ("a", lambda cart: (list(cart.items), len(cart.items)))) == [(["x", "y", "z"], 3)]
    run(target, 3, ("a", lambda cart: cart.items.set(["w"])))
    assert run(restored(target), 4, ("a", lambda cart: cart.items.get())) == [["w"]]
    run(target, 4, ("a", lambda cart: cart.items.clear()))
    assert run(target, 5, ("a", lambda cart: cart.items.get())) == [[]]
    assert rows(target.delta().deleted_keys) == ["a"]


def test_a_map_is_a_dict() -> None:
    target = made()
    run(target, 1, ("a", lambda cart: cart.prices.update(pear=2.5, apple=1)))

    assert run(target, 2, ("a", lambda cart: dict(cart.prices))) == [{"pear": 2.5, "apple": 1}]
    assert run(target, 2, ("b", lambda cart: cart.prices.get("pear"))) == [None]
    assert run(target, 3, ("a", lambda cart: cart.prices.pop("pear"))) == [2.5]
    assert run(restored(target), 4, ("a", lambda cart: list(cart.prices.items()))) == [[("apple", 1)]]
    with pytest.raises(UserCodeError, match="KeyError: 'pear'"):
        run(target, 4, ("a", lambda cart: cart.prices["pear"]))


def test_a_delta_has_what_was_written_and_nothing_else() -> None:
    target = made()
    run(target, 1, ("a", lambda cart: cart.items.append("x")), ("b", lambda cart: cart.total.set(5)))
    target.full()
    run(target, 2, ("a", lambda cart: cart.items.get()), ("b", lambda cart: cart.prices.update(pear=1.0)))

    delta = target.delta()

    assert rows(delta.keys) == ["b"]
    assert {name: rows(column) for name, column in delta.fields.items()} == {
        "value": [None],
        "state items": [None],
        "state prices": [(("pear", 1.0),)],
        "state total": [5],
    }


class Bag(Operator):
    """A list of lists, which are changed in place."""

    bags = ListState()

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any]:
        if not self.bags:
            self.bags.append([])
        self.bags.get()[0].append(value)
        yield self.bags.get()


def test_an_element_that_is_changed_in_place_is_in_the_next_delta_and_what_was_emitted_stays() -> None:
    target = made(Bag())

    assert run(target, 1, ("a", 1), ("a", 2)) == [[[1]], [[1, 2]]]
    target.full()
    run(target, 2, ("a", 3))
    assert len(target.delta()) == 1
    assert run(restored(target, Bag()), 3, ("a", 4)) == [[[1, 2, 3, 4]]]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda cart: cart.total.set("many"), "a value of int cannot take 'many', which is a str"),
        (lambda cart: cart.items.append(5), "a list of str cannot take 5"),
        (lambda cart: cart.prices.update(pear="cheap"), "a map of str to float cannot take 'cheap'"),
        (lambda cart: cart.prices.update({5: 1.0}), "a map of str to float cannot take 5"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_user_s_line(wrong: Callable[[Cart], Any], says: str) -> None:
    with pytest.raises(UserCodeError, match=says) as caught:
        run(made(), 1, ("a", wrong))

    assert "test_states.py" in caught.value.trace


class Textual(Cart):
    """Its total is text now."""

    total = ValueState(str)


class Forgetful(Operator):
    """Declares none of the states."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None: ...


def test_a_checkpoint_of_other_states_is_refused_with_what_differs() -> None:
    target = made()

    with pytest.raises(StateMismatchError, match="holds a value of int, and the operator declares a value of str"):
        restored(target, Textual())
    with pytest.raises(StateMismatchError, match=r"operator 'cart' cannot take over its state 'items'.*not declare it"):
        restored(target, Forgetful())


class Larger(Cart):
    """Has a state more."""

    seen = ValueState(bool)


def test_a_state_that_is_new_begins_empty() -> None:
    target = made()
    run(target, 1, ("a", lambda cart: cart.total.set(5)))

    assert run(restored(target, Larger()), 2, ("a", lambda cart: (cart.total.get(), cart.seen.get()))) == [(5, None)]


def in_words_of(target: Processor, key: Any) -> list[str | None]:
    """What ``elastic state --key`` says of each field."""
    table = target.full()
    at = rows(table.keys).index(key)
    return [in_words(name, thaw([rows(c)[at]])[0], target.common()) for name, c in sorted(table.fields.items())]


def test_what_a_key_has_is_told_in_words_without_what_it_has_not() -> None:
    target = made()
    run(target, 1, ("a", lambda cart: (cart.total.set(5), cart.items.extend(["x", "y"]))))
    run(target, 1, ("b", lambda cart: cart.prices.update(x=1.5)))

    assert [text for text in in_words_of(target, "a") if text] == ["state items: ['x', 'y']", "state total: 5"]
    assert [text for text in in_words_of(target, "b") if text] == ["state prices: {'x': 1.5}"]


def test_what_a_ttl_covers_is_told_with_its_end_and_timers_with_their_times() -> None:
    target = made(Short())
    run(target, 1, ("a", lambda cart: (cart.total.set(5), cart.items.append("x"), cart.prices.update(x=1.5))))
    end = "1970-01-01 00:16:41.010+00:00"

    assert [text for text in in_words_of(target, "a") if text] == [
        f"state items: ['x' until {end}]",
        f"state prices: {{'x': 1.5 until {end}}}",
        f"state total: 5 until {end}",
    ]
    assert in_words("event timers", 1_000_000, {}) == "event timers: 1970-01-01 00:00:01.000+00:00"
    assert in_words("event timers", (True, ("late", 2_000_000), ("", 10**18)), {}) == (
        "event timers: 'late' at 1970-01-01 00:00:02.000+00:00, 1e+12"
    )


def everything(cart: Cart) -> Any:
    return cart.total.get(), cart.items.get(), dict(cart.prices), len(cart.prices), list(cart.prices)


def test_what_a_ttl_covers_is_gone_when_its_time_has_come_each_entry_by_itself() -> None:
    target = made(Short())
    run(target, 0, ("a", lambda cart: (cart.total.set(1), cart.items.append("x"), cart.prices.update(pear=1.0))))
    run(target, 50, ("a", lambda cart: (cart.items.append("y"), cart.prices.update(apple=2.0))))

    assert run(target, 99, ("a", everything)) == [(1, ["x", "y"], {"pear": 1.0, "apple": 2.0}, 2, ["pear", "apple"])]
    again = restored(target, Short())
    for each in (target, again):
        assert run(each, 100, ("a", everything)) == [(0, ["y"], {"apple": 2.0}, 1, ["apple"])]
        assert run(each, 149, ("a", lambda cart: "pear" in cart.prices or "apple" in cart.prices)) == [True]
        assert run(each, 150, ("a", everything)) == [(0, [], {}, 0, [])]


def test_writing_again_begins_a_new_ttl() -> None:
    target = made(Short())
    run(target, 0, ("a", lambda cart: cart.total.set(1)))
    run(target, 90, ("a", lambda cart: cart.total.set(2)))

    assert run(target, 189, ("a", lambda cart: cart.total.get())) == [2]
    assert run(target, 190, ("a", lambda cart: cart.total.get())) == [0]


def test_what_has_ended_leaves_memory_and_checkpoints_though_no_row_comes() -> None:
    target = made(Short())
    run(target, 0, *((key, everything_at_once) for key in "abc"))
    target.full()
    tick = 0
    while (due := target.due_after(tick)) is not None:
        assert due > tick
        run(target, due)
        tick = due

    assert 100 <= tick <= 300
    assert len(target) == 0
    assert sorted(rows(target.delta().deleted_keys)) == ["a", "b", "c"]


def everything_at_once(cart: Cart) -> None:
    cart.total.set(1)
    cart.items.append("x")
    cart.prices["pear"] = 1.0


def test_deleting_and_writing_at_once_keeps_what_was_written_last() -> None:
    target = made(Short())
    run(target, 0, ("a", lambda cart: cart.total.set(1)))
    run(target, 10, ("a", lambda cart: (cart.total.clear(), cart.total.set(2))))

    for tick in range(11, 200):
        if target.due_after(tick - 1) == tick:
            run(target, tick)
    assert run(target, 109, ("a", lambda cart: cart.total.get())) == [2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: ValueState(ANYTHING["int"]), "takes types such as int or str, not 'int'"),
        (lambda: ValueState(int, default="x"), "cannot take 'x'"),
        (lambda: ValueState(default=[]), "one object for all keys; use ListState"),
        (lambda: ListState(ttl="5"), '"5" is not a duration'),
        (lambda: ListState(ttl="0s"), "gone at once"),
        (lambda: MapState(clock=ANYTHING["clock"]), "write clock='processing' or clock='event'"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused_where_it_is_made(wrong: Callable[[], Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        wrong()


def test_outside_of_a_job_a_state_says_that_it_has_no_key() -> None:
    with pytest.raises(RuntimeError, match="a ValueState has no key before the job runs"):
        Cart().total.get()


class Columns(Operator):
    """States and columns do not go together."""

    total = ValueState(int)

    def process_columns(self, keys: Column, values: Column, state: Any, ctx: Context) -> None: ...


class TimedColumns(Operator):
    """Neither do timers."""

    def process_columns(self, keys: Column, values: Column, state: Any, ctx: Context) -> None: ...

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> None: ...


class ByEventTime(Operator):
    """Its rows have no event time."""

    seen = ValueState(bool, ttl="1h", clock="event")

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("operator", "says"),
    [
        (Columns(), "Columns.total belongs to one key, and process_columns is given many"),
        (TimedColumns(), "TimedColumns.on_timer belongs to one key"),
        (ByEventTime(), "ByEventTime.seen lives by event time, and the rows have none"),
    ],
)
def test_what_an_operator_cannot_have_is_refused_when_the_query_is_built(operator: Operator, says: str) -> None:
    with pytest.raises(QueryError, match=rf"test_states.py:\d+: {says}"):
        Query("q").source(sources.from_list([1])).key_by().apply(operator).sink(sinks.discard())
