"""The time that all processes of a job share."""

from __future__ import annotations

import time

SAME_MACHINE_S = 1.0
"""Monotonic clocks of one machine are one clock; a message that carries it takes less than that."""


class JobClock:
    """Unix time as of the job's start, and the seconds since: it never runs backwards or jumps.

    What is done to the machine's clock later changes nothing, nor does it for processes that start later: they
    ``follow`` the coordinator's. With a clock of its own, a source that is restored after a jump would stamp ticks that
    lie hours before or after everybody else's.
    """

    def __init__(self, offset_s: float | None = None) -> None:
        """Begin with this machine's time, or with that of another process on it: see ``offset_s``."""
        self.offset_s = time.time() - time.monotonic() if offset_s is None else offset_s
        """What is added to the machine's monotonic clock."""

    def __call__(self) -> float:
        """Now, seconds."""
        return self.at(time.monotonic())

    def at(self, monotonic_s: float) -> float:
        """The time at which this machine's monotonic clock showed, or will show, so much."""
        return monotonic_s + self.offset_s

    def follow(self, now_s: float, monotonic_s: float) -> None:
        """Show what another process's clock does, which said ``now_s`` when its monotonic clock said ``monotonic_s``.

        On another machine, a message's way is the error: that delays ticks and harms nothing else.
        """
        mine_s = time.monotonic()
        self.offset_s = now_s - (monotonic_s if abs(mine_s - monotonic_s) < SAME_MACHINE_S else mine_s)
