"""Timers: when they fire, in which order, and what becomes of them in checkpoints."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elastic.batch import Batch, columnar, rows, sorted_batch
from elastic.errors import UserCodeError
from elastic.keys import KeyInterval, encode_key, groups_of, key_group
from elastic.operators.apply import Apply
from elastic.operators.base import Context, Operator, Processor, ProcessorContext, TickInput, Timer, ValueState
from elastic.operators.timers import STALE, Timers
from elastic.operators.timestamps import BEGINNING, END, time_of

GROUPS = 16
TICK_ZERO_S = 1000.0
TICK_S = 0.01
CONTEXT = ProcessorContext("mine", KeyInterval(0, GROUPS), GROUPS, 10, TICK_ZERO_S, 7)


def batch(*pairs: tuple[Any, Any]) -> Batch:
    keys, values = columnar([key for key, _ in pairs]), columnar([value for _, value in pairs])
    return sorted_batch(groups_of(keys, GROUPS), keys, values)


def at(tick: int) -> float:
    return TICK_ZERO_S + tick * TICK_S


class Alarm(Operator):
    """Does to each row what the function says, and tells of timers."""

    def __init__(self, function: Callable[..., Any], fired: Callable[..., Any] | None = None) -> None:
        self.function, self.fired = function, fired

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterable[Any] | None:
        return self.function(key, value, state, ctx)  # type: ignore[no-any-return]

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterable[Any] | None:
        if self.fired is not None:
            return self.fired(key, timer, state, ctx)  # type: ignore[no-any-return]
        return [(key, timer.name, ctx.tick)]


def made(function: Callable[..., Any], fired: Callable[..., Any] | None = None) -> Processor:
    return Apply(Alarm(function, fired)).make(CONTEXT)


def run(target: Processor, tick: int, *pairs: tuple[Any, Any], final: bool = False) -> list[Any]:
    slices = [(0, batch(*pairs))] if pairs else []
    return [row for output in target.process(TickInput(tick, slices, final)) for row in rows(output.values)]


def sets(key: Any, value: Any, state: ValueState, ctx: Context) -> None:
    """A value is (time, name), one of them, or None to cancel."""
    if value is None:
        ctx.cancel_timer()
    else:
        ctx.set_timer(*value)


def test_a_timer_fires_at_the_first_tick_at_or_after_its_time() -> None:
    target = made(sets)
    run(target, 1, ("a", (at(5), "on")), ("a", (at(5) + 0.001, "after")))

    assert target.due_after(1) == 5
    assert run(target, 5) == [("a", "on", 5)]
    assert target.due_after(5) == 6
    assert run(target, 6) == [("a", "after", 6)]
    assert target.due_after(6) is None


def test_a_timer_in_the_past_fires_at_the_next_tick() -> None:
    target = made(sets)

    assert run(target, 3, ("a", (at(1), ""))) == []
    assert target.due_after(3) == 4
    assert run(target, 4) == [("a", "", 4)]


def test_a_key_has_one_timer_per_name_and_setting_it_again_moves_it() -> None:
    target = made(sets)
    run(target, 1, ("a", (at(5), "x")), ("a", (at(5), "y")))
    run(target, 2, ("a", (at(8), "x")), ("a", (at(3), "y")))

    assert target.due_after(2) == 3
    assert run(target, 3) == [("a", "y", 3)]
    assert target.due_after(3) == 8
    assert run(target, 8) == [("a", "x", 8)]


def test_a_row_of_the_tick_may_cancel_or_move_what_is_due_in_it() -> None:
    target = made(sets)
    run(target, 1, ("a", (at(5), "")), ("b", (at(5), "")), ("c", (at(5), "")))

    assert run(target, 5, ("a", None), ("b", (at(7), ""))) == [("c", "", 5)]
    assert target.due_after(5) == 7
    assert run(target, 7) == [("b", "", 7)]


def test_a_context_tells_the_time_of_a_timer_and_whether_cancelling_did_anything() -> None:
    told: list[Any] = []

    def asks(key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        told.append((ctx.timer(), ctx.cancel_timer()))
        ctx.set_timer(ctx.now + 1)

    target = made(asks)
    run(target, 1, ("a", 0))
    run(target, 2, ("a", 0))

    assert told == [(None, False), (pytest.approx(at(101)), True)]


def test_within_a_tick_a_group_s_rows_come_first_then_its_timers_by_time_key_and_name() -> None:
    def tells(key: Any, value: Any, state: ValueState, ctx: Context) -> list[Any]:
        return [(key_group(key, GROUPS), 0, 0.0, encode_key(key), "")]

    def fired(key: Any, timer: Timer, state: ValueState, ctx: Context) -> list[Any]:
        return [(key_group(key, GROUPS), 1, timer.time, encode_key(key), timer.name)]

    keys = range(40)
    target = made(lambda k, v, s, ctx: [ctx.set_timer(at(3) - k % 3 / 1000, name) for name in "yx"] and None, fired)
    run(target, 1, *((key, 0) for key in keys))
    target._operator.function = tells  # type: ignore[attr-defined]

    seen = run(target, 3, *((key, 0) for key in keys))

    assert len(seen) == 3 * len(keys)
    assert [row for row in seen if row[1]] == sorted(row for row in seen if row[1])
    assert [row[:2] for row in seen] == sorted(row[:2] for row in seen)


def test_a_timer_has_state_emits_and_sets_the_next() -> None:
    def fired(key: Any, timer: Timer, state: ValueState, ctx: Context) -> list[Any]:
        count = (state.get() or 0) + 1
        state.set(count)
        if count < 3:
            ctx.set_timer(timer.time + TICK_S)
        return [(key, count)]

    target = made(sets, fired)
    run(target, 1, ("a", (at(2), "")))

    assert [run(target, tick) for tick in (2, 3, 4)] == [[("a", 1)], [("a", 2)], [("a", 3)]]
    assert target.due_after(4) is None


def test_timers_of_processing_time_do_not_fire_at_the_end_of_the_input() -> None:
    target = made(sets)
    run(target, 1, ("a", (at(500), "")))

    assert run(target, 9, final=True) == []


def test_a_checkpoint_has_the_timers_and_a_delta_what_changed_of_them() -> None:
    target = made(sets)
    run(target, 1, ("a", (at(5), "")), ("b", (at(6), "n")), ("c", (at(7), "")))
    full = target.full()
    run(target, 2, ("c", None), ("b", (at(8), "n")))
    delta = target.delta()

    assert sorted(rows(full.keys)) == ["a", "b", "c"]
    assert (rows(delta.keys), rows(delta.deleted_keys)) == (["b"], ["c"])
    restored = made(sets)
    restored.restore(full)
    assert [run(restored, tick) for tick in (5, 6, 7)] == [[("a", "", 5)], [("b", "n", 6)], [("c", "", 7)]]
    assert len(restored) == 0, "a key without value and timer is gone"
    assert sorted(rows(restored.delta().deleted_keys)) == ["a", "b", "c"]


def test_a_million_timers_of_one_name_are_a_column_of_integers() -> None:
    target = made(lambda k, v, s, ctx: ctx.set_timer(ctx.now + 60))
    run(target, 1, *((n, 0) for n in range(100)))

    column = target.full().fields["processing timers"]

    assert isinstance(column, pa.Array)
    assert column.type == pa.int64()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("soon",), "'soon' is not a time"),
        ((None,), "not a time"),
        ((math.inf,), "not a time"),
        ((1e300,), "beyond the year 9999"),
        ((2000.0, 5), "a timer's name is a str"),
    ],
)
def test_a_time_or_name_that_is_none_is_refused_with_the_user_s_line(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UserCodeError, match=says) as caught:
        run(made(lambda k, v, s, ctx: ctx.set_timer(*arguments)), 1, ("a", 1))

    assert "test_timers.py" in caught.value.trace


def test_a_datetime_is_a_time() -> None:
    target = made(lambda k, v, s, ctx: ctx.set_timer(dt.datetime(1970, 1, 1, 0, 16, 41, tzinfo=dt.UTC)))
    run(target, 1, ("a", 0))

    assert target.due_after(1) == 100


def test_a_clock_that_the_operator_does_not_have_is_refused() -> None:
    with pytest.raises(UserCodeError, match="rows have no event time here"):
        run(made(lambda k, v, s, ctx: ctx.set_timer(1, clock="event")), 1, ("a", 1))
    with pytest.raises(UserCodeError, match="there is no clock 'evnet'"):
        run(made(lambda k, v, s, ctx: ctx.set_timer(1, clock="evnet")), 1, ("a", 1))


class Deaf(Operator):
    """Sets a timer, and has nothing for it to call."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        ctx.set_timer(ctx.now + 1)


def test_a_timer_that_could_call_nothing_is_refused() -> None:
    with pytest.raises(UserCodeError, match="no on_timer for timers to call"):
        run(Apply(Deaf()).make(CONTEXT), 1, ("a", 1))


def test_an_error_in_a_timer_names_the_timer_and_its_key() -> None:
    def fails(key: Any, timer: Timer, state: ValueState, ctx: Context) -> None:
        raise KeyError("gone")

    target = made(sets, fails)
    run(target, 1, ("a", (at(2), "tea")))

    with pytest.raises(UserCodeError, match="KeyError: 'gone'") as caught:
        run(target, 2)

    assert (caught.value.key, caught.value.tick) == ("'a'", 2)
    assert "name='tea'" in caught.value.record


def test_moving_a_timer_with_every_row_leaves_nothing_behind() -> None:
    timers = Timers(10)
    for time in range(100_000):
        timers.set("a", "", 1000 + time)

    assert timers._queued == 1
    assert len(timers) == 1


def test_setting_and_cancelling_leaves_no_more_than_there_are_timers_and_some() -> None:
    timers = Timers(10)
    for time in range(100_000):
        timers.set("a", "", 1_000_000 - time)
        timers.cancel("a", "")
        timers.set("b", str(time % 7), 5_000_000)

    assert timers._queued < 3 * STALE
    assert sorted(name for _, name in timers.due(5_000_000)) == list("0123456")


def test_finding_what_is_next_does_not_look_at_all_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = Timers(10)
    for n in range(10_000):
        timers.set(n, "", 1000 + n % 500)
    looked = 0
    original = Timers.at

    def counted(self: Timers, key: Any, name: str) -> int | None:
        nonlocal looked
        looked += 1
        return original(self, key, name)

    monkeypatch.setattr(Timers, "at", counted)

    assert [timers.next_us() for _ in range(100)] == [1000] * 100
    assert looked == 100
    assert timers.due(BEGINNING) == []


EVENT = replace(CONTEXT, event_time=True)


def timed(tick: int, watermark: float, *given: tuple[Any, Any, float], final: bool = False) -> TickInput:
    """Rows with their event times, in seconds, and the watermark after them; before them it was a second less."""
    slices = []
    if given:
        keys = [key for key, _, _ in given]
        times = np.array([time * 1_000_000 for _, _, time in given], np.int64)
        slices = [(0, sorted_batch(groups_of(keys, GROUPS), keys, [value for _, value, _ in given], times=times))]
    now_us, before_us = (END if at == math.inf else time_of(at, "s") for at in (watermark, watermark - 1))
    return TickInput(tick, slices, final, now_us, before_us)


def fires(target: Processor, tick: TickInput) -> list[Any]:
    return [row for output in target.process(tick) for row in rows(output.values)]


def by_event_time(fired: Callable[..., Any]) -> Processor:
    return Apply(Alarm(lambda k, v, s, ctx: ctx.set_timer(v, clock="event"), fired)).make(EVENT)


def told(key: Any, timer: Timer, state: ValueState, ctx: Context) -> list[Any]:
    return [(key, timer.time, timer.clock, ctx.event_time)]


def test_a_timer_of_event_time_fires_in_the_tick_whose_watermark_reaches_it() -> None:
    target = by_event_time(told)

    assert fires(target, timed(1, 5, ("a", 7.5, 3), ("b", 5, 4))) == [("b", 5.0, "event", 5.0)]
    assert fires(target, timed(2, 7)) == []
    assert fires(target, timed(3, 8)) == [("a", 7.5, "event", 7.5)]


def test_a_timer_of_event_time_may_set_the_next_which_fires_at_once_if_it_is_reached() -> None:
    def every_second(key: Any, timer: Timer, state: ValueState, ctx: Context) -> list[Any]:
        ctx.set_timer(timer.time + 1, clock="event")
        return [timer.time]

    target = by_event_time(every_second)

    assert fires(target, timed(1, 5, ("a", 2, 1))) == [2.0, 3.0, 4.0, 5.0]
    assert fires(target, timed(2, 6)) == [6.0]
    assert fires(target, timed(3, math.inf, final=True)) == [7.0], "once more at the end, and not for ever"


def test_a_timer_that_would_fire_for_ever_is_refused() -> None:
    def again(key: Any, timer: Timer, state: ValueState, ctx: Context) -> None:
        ctx.set_timer(timer.time, clock="event")

    with pytest.raises(UserCodeError, match="would fire at once for ever"):
        fires(by_event_time(again), timed(1, 5, ("a", 2, 1)))


def test_a_row_moves_a_timer_of_event_time_that_its_tick_would_fire() -> None:
    target = by_event_time(told)
    fires(target, timed(1, 1, ("a", 4, 1), ("b", 4, 1)))

    assert fires(target, timed(2, 5, ("a", 9, 3))) == [("b", 4.0, "event", 4.0)]
    restored = by_event_time(told)
    restored.restore(target.full())
    assert fires(restored, timed(3, 9)) == [("a", 9.0, "event", 9.0)]


def test_a_row_knows_its_event_time_and_the_watermark_before_it() -> None:
    target = Apply(Alarm(lambda k, v, s, ctx: [(ctx.event_time, ctx.watermark)])).make(EVENT)

    assert fires(target, timed(1, 5, ("a", 0, 3.25))) == [(3.25, 4.0)]
    assert run(made(lambda k, v, s, ctx: [(ctx.event_time, ctx.watermark)]), 1, ("a", 0)) == [(None, -math.inf)]


def test_what_is_emitted_has_the_event_time_of_its_row_or_timer() -> None:
    target = Apply(Alarm(lambda k, v, s, ctx: ctx.set_timer(v, clock="event") or ["row"], told)).make(EVENT)

    (output,) = target.process(timed(1, 5, ("a", 2, 3.5)))

    assert output.times is not None
    assert output.times.tolist() == [3_500_000, 2_000_000]
