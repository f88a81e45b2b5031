"""The worker's watchdog: a thread that notices when another one does not come back, and says where it is.

It asks the interpreter for the stack of the thread, so it sees code that loops, waits or sleeps. Code that holds the
interpreter (one long call into C) stops this thread as well. For that the watchdog keeps the process's timer wound up:
if nobody winds it up again in time, a signal has ``faulthandler`` write the main thread's stack into a file, which the
coordinator looks into when a worker says nothing. The handler runs in that thread itself. (A timer of ``faulthandler``
would do it from another one, and may crash on frames that change meanwhile, as when a stopped process goes on.)
"""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from elastic.protocol import Stuck
from elastic.wire.control import COORDINATOR, codec
from elastic.wire.sockets import Hub
from elastic.worker.stacks import frames_of, in_lines, reads

Doing: TypeAlias = "tuple[Literal['step', 'commit', 'open', 'message'], int | tuple[str, int], int, float]"
"""What, for which instance or for which task of which operator, at which tick, and since when by ``perf_counter``."""

_SIGNAL = signal.SIGALRM

PERIOD_S = 1.0
"""So often it looks, or four times in the time after which it is to say something."""


def dump_path(directory: Path, worker: int) -> Path:
    """The file in a job directory that says where a worker is whose interpreter is held."""
    return directory / "processes" / f"worker-{worker}.stack"


class Activity:
    """What a thread is doing: set by the thread itself, for the price of an assignment."""

    __slots__ = ("now", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.now: Doing | None = None


class Watchdog:
    """Watches the threads of one worker until it is closed.

    Args:
        address: It listens at nothing, but a peer needs an address of its own.
        after_s: It speaks once something has not returned for so long; 0 never.
        clock: Unix time, seconds.
        dump: File for the stacks while the interpreter is held; its directory exists.
    """

    def __init__(
        self, worker: int, address: str, coordinator: str, after_s: float, clock: Callable[[], float], dump: Path
    ) -> None:
        self._worker, self._address, self._coordinator, self._after_s, self._clock = (
            worker, address, coordinator, after_s, clock,
        )  # fmt: skip
        self._activities: list[Activity] = []
        self._ended = threading.Event()
        self._hub: Hub | None = None
        self._dump = dump.open("ab") if after_s else None
        if self._dump is not None and threading.current_thread() is threading.main_thread():
            faulthandler.register(_SIGNAL, file=self._dump, all_threads=False)
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        if after_s:
            self._thread.start()

    def activity(self) -> Activity:
        """For the calling thread, to say in it what it is doing."""
        activity = Activity()
        self._activities.append(activity)
        return activity

    def forget(self, activity: Activity) -> None:
        """Its thread is about to end."""
        self._activities.remove(activity)

    def close(self) -> None:
        """It says nothing more."""
        self._ended.set()
        if self._dump is not None:
            self._thread.join(PERIOD_S)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            faulthandler.unregister(_SIGNAL)
            self._dump.close()
            Path(self._dump.name).unlink(missing_ok=True)

    def _run(self) -> None:
        period_s = min(PERIOD_S, self._after_s / 4)
        while not self._ended.is_set():
            self._wind_up()
            for activity in list(self._activities):
                doing = activity.now
                if doing is not None and time.perf_counter() - doing[3] >= self._after_s:
                    self._tell(activity, doing)
            self._ended.wait(period_s)
        if self._hub is not None:
            self._hub.close()

    def _wind_up(self) -> None:
        """Start the timer anew; what it wrote, while nobody did, is old by now."""
        assert self._dump is not None
        self._dump.truncate(0)
        signal.setitimer(signal.ITIMER_REAL, self._after_s)

    def _tell(self, activity: Activity, doing: Doing) -> None:
        what, whose, tick, began = doing
        instance, task = (whose, None) if isinstance(whose, int) else (0, whose)
        frames = frames_of(activity.thread)
        if activity.now is not doing:
            return  # it came back in this moment
        lines, user = in_lines(frames)
        since_s = self._clock() - (time.perf_counter() - began)
        kind: Literal["step", "read", "commit", "open", "message"] = (
            "read" if what == "step" and reads(frames) else what
        )
        if self._hub is None:
            self._hub = Hub(f"{self._worker} watchdog", self._address, codec())
            self._hub.connect(COORDINATOR, self._coordinator)
        self._hub.send(COORDINATOR, Stuck(self._worker, instance, kind, tick, since_s, lines, user, task))
