"""Functions of a program are called in a thread of their own, and one that does not return is told of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dstream import calling
from dstream.calling import Caller
from dstream.outputs import Callbacks
from dstream.recordings import Perform

DEADLINE_S = 30.0


class Outputs(Callbacks):
    """Functions that are all to be called once, for interval 3."""

    def __init__(self, *functions: Callable[[], Any]) -> None:
        super().__init__()
        self.functions = list(functions)

    def call(self, tick_zero_s: float, perform: Perform) -> None:
        while self.functions:
            perform("out", 3, self.functions.pop(0))


def until(condition: Callable[[], Any]) -> Any:
    """What the condition gives, once that is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return found


def tick_before(interval: int) -> int:
    return (interval - 1) * 10


def test_all_was_called_with_everything_once_nothing_more_will_come() -> None:
    called: list[int] = []
    caller = Caller(Outputs(lambda: called.append(1)), 0.0)

    caller.call(0.0, last=False)
    until(lambda: called)
    assert not caller.done

    caller.call(0.0, last=True)
    until(lambda: caller.done)
    caller.close()


def test_what_does_not_return_is_told_with_the_users_line_once_and_again_when_it_goes_on() -> None:
    held, going_on = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        going_on.wait(DEADLINE_S)

    caller = Caller(Outputs(hold), 0.001)
    caller.call(0.0, last=True)
    assert held.wait(DEADLINE_S)
    (stall,), (event,) = until(lambda: found if (found := caller.stalls(7.0, tick_before))[0] else None)

    assert (stall.operator, stall.worker, stall.what, stall.tick) == ("out", None, "code", 20)
    assert "test_calling.py" in stall.lines[-1]
    assert ", in hold: " in stall.lines[-1]
    assert (event.kind, event.operator) == ("stalled", "out")
    assert "in interval 3" in str(event)
    assert caller.stalls(8.0, tick_before)[1] == []  # told already

    going_on.set()
    until(lambda: caller.done)
    assert [event.kind for event in caller.stalls(9.0, tick_before)[1]] == ["moving"]
    assert [stall.until_s for stall in caller.all] == [9.0]
    caller.close()


def test_what_does_not_return_at_all_is_left_behind_and_nothing_is_called_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calling, "LEAVE_S", 0.0)
    held, going_on, called = threading.Event(), threading.Event(), list[int]()

    def hold() -> None:
        held.set()
        going_on.wait(DEADLINE_S)

    caller = Caller(Outputs(hold, lambda: called.append(1)), 0.0)
    caller.call(0.0, last=True)
    assert held.wait(DEADLINE_S)

    caller.close()
    going_on.set()
    until(lambda: not caller._thread.is_alive())

    assert not called
    assert caller.error is None
    assert not caller.done


def test_what_a_function_raises_is_kept_for_who_looks_after_the_job() -> None:
    caller = Caller(Outputs(lambda: 1 / 0), 0.0)
    caller.call(0.0, last=False)

    assert isinstance(until(lambda: caller.error), ZeroDivisionError)


def test_a_function_that_ends_the_job_is_not_waited_for_by_itself() -> None:
    found: list[bool] = []

    def end() -> None:
        caller.close()
        found.append(caller.is_this_thread)

    caller = Caller(Outputs(end), 0.0)
    caller.call(0.0, last=True)

    assert until(lambda: found) == [True]
    assert not caller.is_this_thread
