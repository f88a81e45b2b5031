"""Where an instance stands: how far it is, and what it waits for. The facts of which a stall is told.

Each instance can say this of itself at any moment, at no cost while it works; whoever hears it from all of them can
follow a chain of waiting to its root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

WaitKind: TypeAlias = Literal["input", "credit", "cover", "target", "part", "opening", "scaling", "data", "end"]
"""What can be waited for:

* ``input``: producers have to close the next tick;
* ``credit``: consumers have to process what they were sent;
* ``cover``: consumers have to checkpoint, or commit, what they processed, so that buffers can be trimmed;
* ``target``: a commit is under way;
* ``part``: a worker has to send the checkpoint that is restored;
* ``opening``: a source's log or a sink's target is being opened;
* ``scaling``: neighbours have to checkpoint at the same tick;
* ``data``: there is nothing to read now, which is no stall;
* ``end``: the stream has ended here, which is none either.
"""


@dataclass(frozen=True, slots=True)
class Wait:
    """What an instance waits for.

    Attributes:
        on: Instances that it waits for; for a ``part`` the worker that has it.
        tick: The tick that it needs to be closed, processed or covered.
    """

    kind: WaitKind
    on: tuple[int, ...] = ()
    tick: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """One instance, as of now.

    Attributes:
        tau: Its position.
        progress: A number that changes whenever it gets further with what its ``wait`` keeps it from.
        wait: What it waits for; None while it works.
    """

    tau: int
    progress: int
    wait: Wait | None

    @property
    def may_last(self) -> bool:
        """Whether it waits for nothing that has to come."""
        return self.wait is not None and self.wait.kind in {"data", "end"}


@dataclass(frozen=True, slots=True)
class Standings:
    """A worker tells where its instances stand; it does so as long as nothing that it does takes long."""

    instances: dict[int, Standing]


@dataclass(frozen=True, slots=True)
class Stuck:
    """A worker's watchdog: something that the worker does for an instance has not returned for long.

    Attributes:
        instance: For which it does; 0 where only the worker is known, or the task.
        what: ``step`` (a tick is processed), ``read``, ``commit``, ``open`` or ``message``; ``worker`` where the
            interpreter is held, so that nobody on the worker can say what for.
        tick: The instance's position when it began.
        since_s: When it began, Unix time.
        lines: Where it is now, innermost last: the user's own lines, or where there are none, the system's.
        user: Whether they are the user's.
        task: (operator, partition) where it is done for a task that is no instance's.
    """

    worker: int
    instance: int
    what: Literal["step", "read", "commit", "open", "message", "worker"]
    tick: int
    since_s: float
    lines: tuple[str, ...]
    user: bool
    task: tuple[str, int] | None = None
