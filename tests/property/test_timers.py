"""Timers are what a dict from (key, name) to time would be, however they are queued, restored or cut."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from elastic.operators.timers import Timers, plain

keys = st.sampled_from(["a", "b", 1, None, ("a", 2)])
names = st.sampled_from(["", "x", "y"])
times = st.integers(0, 60)
steps = st.one_of(
    st.tuples(st.just("set"), keys, names, times),
    st.tuples(st.just("cancel"), keys, names, st.none()),
    st.tuples(st.just("advance"), st.none(), st.none(), st.integers(0, 8)),
    st.tuples(st.just("look"), st.none(), st.none(), st.none()),
    st.tuples(st.just("restore"), st.none(), st.none(), st.none()),
)


def due(timers: Timers, until: int) -> list[tuple[Any, str, int]]:
    found = [(key, name, timers.settle(key, name, until)) for key, name in timers.due(until)]
    return sorted(((k, n, t) for k, n, t in found if t is not None), key=repr)


@given(st.lists(steps, max_size=60), st.sampled_from([1, 4, 50]), st.integers(0, 3))
def test_timers_are_a_dict_from_which_what_is_due_is_taken(
    story: list[tuple[str, Any, Any, Any]], bucket: int, start: int
) -> None:
    timers, expected, now = Timers(bucket, start), dict[tuple[Any, str], int](), 0
    for step, key, name, value in story:
        if step == "set":
            timers.set(key, name, now + value)
            expected[key, name] = now + value
        elif step == "cancel":
            assert timers.cancel(key, name) == (expected.pop((key, name), None) is not None)
        elif step == "advance":
            now += value
            ripe = [(k, n, t) for (k, n), t in expected.items() if t <= now]
            assert due(timers, now) == sorted(ripe, key=repr)
            expected = {key: t for key, t in expected.items() if t > now}
        elif step == "look":
            first = min(expected.values(), default=None)
            assert timers.next_us() == (None if first is None else -((start - first) // bucket) * bucket + start)
        else:
            held = list(timers)
            again = Timers(bucket, start)
            again.restore(held, timers.column("op", held))
            timers = again
        assert len(timers) == len(expected)
        assert set(timers) == {key for key, _ in expected}


odd_keys = st.recursive(
    st.sampled_from([1, 1.0, True, 0, -0.0, 2.5, "a", None]), lambda k: st.tuples(k, k), max_leaves=3
)


@given(st.lists(st.tuples(odd_keys, names), min_size=1), st.data())
def test_of_equal_keys_the_first_that_set_a_timer_is_shown_also_when_restored(
    given_keys: list[tuple[Any, str]], data: st.DataObject
) -> None:
    timers, first = Timers(1), dict[Any, str]()
    for key, name in given_keys:
        first.setdefault(key, repr(key))
        timers.set(key, name, 5)
    if data.draw(st.booleans()):
        held = list(map(plain, timers))
        again = Timers(1)
        again.restore(held, timers.column("op", held))
        timers = again

    assert {key: repr(timers.shown(key)) for key in timers} == first
