"""Who of those that do not answer is taken for hung.

That nothing was heard of a worker for the time of a heartbeat may have three reasons: it hangs; it, or the machine, has
so much to do that nobody got round to answering; or the coordinator itself did not get round to listening. Only the
first is a failure, and to replace a healthy worker makes the other two worse. So a worker whose process is stopped is
given up at once; if it has ended, who started it is about to say how; and any other gets the time that the coordinator
was late itself, and a moment more in which to answer when it is asked anew; as long as its process wants to run, a
longer one. What follows is the same if it was healthy after all: a zombie is harmless (invariant 9).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

EXIT_NEWS_S = 0.05
"""The end of a process is reported by its parent within a few milliseconds; a broken connection may come first. Of one
that is known to have ended, the news is on its way: on a busy machine it takes longer, and it says how it has ended."""

TURN_S = 0.25
"""So long the coordinator's loop takes at most to come round; what it takes longer, it is late."""

SECOND_CHANCE = 0.3
"""A process that is not stopped is asked anew, and has this share of the heartbeat to answer."""

PATIENCE = 4.0
"""One that runs, or wants to, has so many heartbeats."""

State: TypeAlias = Literal["ended", "stopped", "asleep", "running", "unknown"]
"""Of a process. ``unknown`` are those of other machines."""


class Look(NamedTuple):
    """What a worker's process does.

    Attributes:
        cpu_s: Processor time that it has had in all.
    """

    state: State
    cpu_s: float = 0.0


UNKNOWN = Look("unknown")


class Hung(NamedTuple):
    """A worker that does not answer, and whose process has not been seen to end."""

    worker: int
    reason: str
    last_seen_s: float


@dataclass(slots=True)
class _Suspicion:
    since_s: float
    cpu_s: float | None = None
    active: bool = False


@dataclass(slots=True)
class Silence:
    """Keeps those that do not answer until they do, or it is known what has become of them.

    Args:
        heartbeat_s: Who is silent for so long is ``silent``.
    """

    heartbeat_s: float
    _suspects: dict[int, _Suspicion] = field(default_factory=dict)
    _turned_s: float | None = None
    _late: deque[tuple[float, float]] = field(default_factory=deque)  # (when it was noticed, by how much)

    @property
    def suspects(self) -> list[int]:
        """Workers of which something may be known in a moment."""
        return list(self._suspects)

    def turn(self, now_s: float) -> None:
        """The coordinator listens; it has done nothing else since the last time but what it does each time."""
        if self._turned_s is not None and (late_s := now_s - self._turned_s - TURN_S) > 0:
            self._late.append((now_s, late_s))
        self._turned_s = now_s
        while self._late and now_s - self._late[0][0] > (2 + PATIENCE) * self.heartbeat_s:
            self._late.popleft()

    def silent(self, worker: int, now_s: float) -> None:
        """Nothing was heard of a worker for the time of a heartbeat, or its connection broke."""
        self._suspects.setdefault(worker, _Suspicion(now_s))

    def clear(self, worker: int) -> None:
        """A worker has answered, or it is known what has become of it."""
        self._suspects.pop(worker, None)

    def hung(self, now_s: float, looks: Mapping[int, Look]) -> list[Hung]:
        """Who is taken for hung by now; they are told of until they are cleared.

        Args:
            now_s: Any clock that does not run backwards, as in the other calls.
            looks: What the processes of suspects do, of which it is known.
        """
        found = []
        for worker, suspicion in self._suspects.items():
            waited_s = now_s - suspicion.since_s
            if waited_s > self._time_for(suspicion, looks.get(worker, UNKNOWN)):
                last_seen_s = suspicion.since_s - self.heartbeat_s
                silent_s = self.heartbeat_s if waited_s < self.heartbeat_s else round(now_s - last_seen_s, 1)
                found.append(Hung(worker, f"does not answer for {silent_s:g} s", last_seen_s))
        return found

    def _time_for(self, suspicion: _Suspicion, look: Look) -> float:
        """How long an answer may take, beyond the heartbeat."""
        if look.state == "ended":
            return self.heartbeat_s
        if look.state == "stopped":
            return EXIT_NEWS_S
        late_s = min(self.heartbeat_s, self._late_s(suspicion.since_s - self.heartbeat_s))
        if look.state == "unknown":
            return EXIT_NEWS_S + late_s
        before_s, suspicion.cpu_s = suspicion.cpu_s, look.cpu_s
        suspicion.active |= look.state == "running" or (before_s is not None and look.cpu_s > before_s)
        share = PATIENCE if suspicion.active else SECOND_CHANCE
        return late_s + share * self.heartbeat_s

    def _late_s(self, since_s: float) -> float:
        """How late the coordinator has been since then."""
        return sum(late_s for at_s, late_s in self._late if at_s > since_s)
