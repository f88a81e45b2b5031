"""Whether the coordinator, which says how the job does several times a second, has fallen silent.

One that has ended is reported by its parent; one that is stopped just says nothing, and while it does no loss is
recovered. After a heartbeat it is ended, as a stopped worker is, and the next one takes over. One that is silent for
another reason may wait for a disk, or for its turn on a busy machine, where the next would fare no better: so it gets
more time, and the user is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psutil

WARN_S = 5.0
"""A silence of a coordinator that is not stopped is told of after so long."""

PATIENCE_S = 30.0
"""And then it is given up."""

_STOPPED = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


@dataclass(slots=True)
class Vigil:
    """Watches one coordinator after the other.

    Args:
        heartbeat_s: A stopped one may be silent for so long.
        is_stopped: Asked of a silent one.
        heard_s: When a word of it came last, or it was started.

    Attributes:
        given_up: Why this one is to be replaced, in words that follow its name; None if it is not.
    """

    heartbeat_s: float
    is_stopped: Callable[[], bool]
    heard_s: float
    given_up: str | None = None
    _spoken: bool = False  # one of them has: how long the first takes to start is no silence
    _told: bool = False

    def began(self, now_s: float) -> None:
        """Another one was started."""
        self.heard_s, self.given_up, self._told = now_s, None, False

    def heard(self, now_s: float) -> None:
        """It has said something."""
        self.heard_s, self._told, self._spoken = now_s, False, True

    def warning(self, now_s: float) -> str | None:
        """What the user is to know of a long silence; each is told of once."""
        silent_s = now_s - self.heard_s
        if self._told or not self._spoken or silent_s < WARN_S:
            return None
        self._told = True
        return f"the coordinator has said nothing for {silent_s:.0f} s: rows flow, but no loss is recovered meanwhile"

    def gives_up(self, now_s: float) -> bool:
        """Whether it is to be ended now; said once."""
        silent_s = now_s - self.heard_s
        if self.given_up is not None or silent_s < self.heartbeat_s:
            return False
        if (self._spoken and silent_s > PATIENCE_S) or self.is_stopped():
            self.given_up = f"did not answer for {silent_s:.1f} s"
        return self.given_up is not None


def is_stopped(pid: int | None) -> bool:
    """Whether a process neither runs nor will until somebody lets it; some 0.1 ms."""
    if pid is None:
        return False
    try:
        return psutil.Process(pid).status() in _STOPPED
    except psutil.Error:
        return False
