"""The thread in which a program's own functions are called, beside the one that looks after the job's processes.

So a function that takes long, or never returns, keeps nobody from replacing a worker, from stopping the job, or from
saying that it stands still.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from dstream.outputs import Callbacks
from elastic.report import JobEvent, Stall
from elastic.units import format_duration
from elastic.worker.stacks import frames_of, in_lines

LEAVE_S = 0.3
"""So long a function that runs when the job is ended is waited for."""


class _Doing(NamedTuple):
    """What is being called: the output or listener, for which interval, and since when by ``monotonic``."""

    name: str
    interval: int
    began_s: float


class _ClosedError(Exception):
    """Nothing more is to be called."""


class Caller:
    """Calls what a program has called, whenever there is news, and tells of what does not return.

    Args:
        outputs: What is called.
        after_s: A function that has not returned after so long stands still; none does, if 0.

    Attributes:
        done: All was called with everything.
        error: What a function raised.
        over: Those that stood still and have returned.
    """

    def __init__(self, outputs: Callbacks, after_s: float) -> None:
        self.done = False
        self.error: BaseException | None = None
        self.over: tuple[Stall, ...] = ()
        self._outputs, self._after_s = outputs, after_s
        self._tick_zero_s, self._last = 0.0, False
        self._doing: _Doing | None = None
        self._told: tuple[_Doing, Stall] | None = None
        self._news, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="functions of the program", daemon=True)

    @property
    def is_this_thread(self) -> bool:
        """Whether who asks is being called."""
        return threading.current_thread() is self._thread

    def call(self, tick_zero_s: float, *, last: bool) -> None:
        """There may be news since; if this is the last call, there will be no more."""
        self._tick_zero_s, self._last = tick_zero_s, last
        self._news.set()
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Nothing more is called. What does not return is left behind."""
        self._closed.set()
        self._news.set()
        if self._thread.ident is not None and not self.is_this_thread:
            self._thread.join(LEAVE_S)

    def _run(self) -> None:
        try:
            while not self.done:
                self._news.wait()
                self._news.clear()
                last = self._last
                self._outputs.call(self._tick_zero_s, self._perform)
                self.done = last
        except _ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 (raised by who looks after the job)
            self.error = error

    def _perform(self, name: str, interval: int, function: Callable[..., Any], *arguments: Any) -> None:
        if self._closed.is_set():
            raise _ClosedError
        self._doing = _Doing(name, interval, time.monotonic())
        try:
            function(*arguments)
        finally:
            self._doing = None

    # -- what does not return ------------------------------------------------------------------------------------------

    def stalls(self, at_s: float, tick_before: Callable[[int], int]) -> tuple[tuple[Stall, ...], list[JobEvent]]:
        """Those that last, and events of what has begun to stand still or goes on.

        Args:
            at_s: Seconds since tick 0, as of now.
            tick_before: The last tick before an interval.
        """
        doing, told = self._doing, self._told
        events: list[JobEvent] = []
        if told is not None and doing is not told[0]:
            stall = replace(told[1], until_s=at_s)
            self.over += (stall,)
            self._told = None
            text = f"goes on after {format_duration(at_s - stall.since_s)}"
            events.append(JobEvent(at_s, "moving", stall.operator, stall.instance, cause=text))
        lasted_s = 0.0 if doing is None else time.monotonic() - doing.began_s
        if doing is None or not self._after_s or lasted_s < self._after_s:
            return (), events
        lines, _ = in_lines(frames_of(self._thread.ident or 0))
        if self._doing is not doing:
            return (), events  # it came back in this moment
        text = f"in your function for {format_duration(lasted_s)}, in interval {doing.interval}"
        stall = Stall(doing.name, 0, None, "code", text, tick_before(doing.interval), at_s - lasted_s, None, (), lines)
        if self._told is None:
            events.append(JobEvent(at_s, "stalled", stall.operator, stall.instance, cause=stall.story))
        self._told = doing, stall
        return (stall,), events

    @property
    def all(self) -> tuple[Stall, ...]:
        """All that have stood still, as of the last look."""
        return self.over if self._told is None else (*self.over, self._told[1])
