"""What the command wants of the coordinator, until one has acted upon it: who is killed meanwhile cannot lose it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from elastic.wire.control import DrainWorker, JoinJob, KillWorker, Numbered, ScaleJob

AGAIN_S = 1.0
"""What was not heard for so long is said again; another coordinator is told at once."""

LATE_S = 10.0
"""Of what was not heard for so long the user is told. It is said again all the same."""


@dataclass(slots=True)
class _Wish:
    numbered: Numbered
    asked_s: float
    told: bool = False


class Wishes:
    """Messages to the coordinator, numbered from 1 on, which hears each once and in order.

    All that is not known to be heard is said again, from the oldest on: a coordinator ignores what does not follow
    what it, or one before it, has heard. Times are those of any clock that does not jump, in seconds.
    """

    def __init__(self) -> None:
        self._open: deque[_Wish] = deque()
        self._last = 0
        self._said_s = 0.0
        self._joining = 0

    def ask(self, message: object, now_s: float) -> Numbered:
        """What is to be sent now, and by ``again`` until it was heard."""
        self._last += 1
        wish = _Wish(Numbered(self._last, message), now_s)
        if not self._open:
            self._said_s = now_s
        self._open.append(wish)
        self._joining += isinstance(message, JoinJob)
        return wish.numbered

    @property
    def unheard(self) -> list[object]:
        """What no coordinator is known to have acted upon, oldest first."""
        return [wish.numbered.message for wish in self._open]

    def heard(self, number: int) -> bool:
        """A coordinator has acted upon everything up to a number; whether what it said to that may have been lost.

        It may: of a worker that is to be added, its number comes back, and whoever sent it may be gone.
        """
        while self._open and self._open[0].numbered.number <= number:
            self._open.popleft()
        waiting = sum(isinstance(wish.numbered.message, JoinJob) for wish in self._open)
        lost = self._joining > waiting
        self._joining = min(self._joining, waiting)
        return lost

    def numbered_worker(self) -> bool:
        """A number for a worker has come back; whether one is still to be started, or it is the same answer again."""
        wanted = self._joining > 0
        self._joining -= wanted
        return wanted

    def again(self, now_s: float, *, replaced: bool = False) -> list[Numbered]:
        """What is to be said again: everything, if it is time to or the coordinator is another one; else nothing."""
        if not replaced and now_s - self._said_s < AGAIN_S:
            return []
        self._said_s = now_s
        return [wish.numbered for wish in self._open]

    def late(self, now_s: float) -> Iterator[str]:
        """What the user has not been told of that was not heard for long."""
        for wish in self._open:
            if not wish.told and now_s - wish.asked_s > LATE_S and (text := _described(wish.numbered.message)):
                wish.told = True
                yield f"{text} has reached no coordinator for {LATE_S:g} s; it is asked for until one hears it"

    def undone(self, now_s: float) -> Iterator[str]:
        """What was not done, now that the job has ended."""
        for wish in self._open:
            if text := _described(wish.numbered.message):
                ago_s = now_s - wish.asked_s
                yield f"{text} was not done: the job ended {ago_s:.1f} s after that was asked for, unheard until then"
        self._open.clear()


def _described(message: object) -> str:
    """What a user has asked for; nothing where the command speaks for itself."""
    match message:
        case ScaleJob():
            return f"scaling {message.operator} to {message.instances}"
        case DrainWorker():
            return f"draining worker {message.worker}"
        case KillWorker():
            return f"killing worker {message.worker}"
        case JoinJob():
            return "adding a worker"
    return ""
