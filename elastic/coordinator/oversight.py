"""Looks out for what stands still or takes too long, and says so."""

from __future__ import annotations

from elastic.coordinator.chains import Roots
from elastic.coordinator.membership import Membership
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.coordinator.scaling import Scaling
from elastic.coordinator.stalls import Finder, Stalls
from elastic.coordinator.standings import Whereabouts
from elastic.coordinator.undertakings import Undertakings
from elastic.protocol import Standings, Stuck


class Oversight:
    """What is known of where everybody stands, and what is concluded from it.

    Attributes:
        whereabouts: Where instances stand.
        stalls: Who has stood still for too long.
    """

    def __init__(self, whereabouts: Whereabouts, finder: Finder) -> None:
        self.whereabouts = whereabouts
        self.stalls = Stalls(whereabouts, finder)

    @property
    def under_way(self) -> tuple[str, ...]:
        """How far recoveries and scaling are, a sentence each."""
        return ()

    def heard(self, worker: int, message: Standings | Stuck, now_s: float) -> None:
        """A worker, or its watchdog, has something to tell."""
        self.whereabouts.heard(worker, message, now_s)

    def judge(self, now_s: float) -> list[object]:
        """Events for what has begun to stand still, or goes on."""
        return self.stalls.judge(now_s)


class InstanceOversight(Oversight):
    """Of the elastic model: of instances that wait for one another, and of what takes their place.

    Attributes:
        undertakings: How far recoveries and scaling are.
    """

    def __init__(self, members: Membership, reconfigurer: Reconfigurer, scaling: Scaling) -> None:
        whereabouts = Whereabouts(members)
        super().__init__(whereabouts, Roots(whereabouts))
        self.undertakings = Undertakings(members, reconfigurer, scaling, whereabouts)

    @property
    def under_way(self) -> tuple[str, ...]:
        return tuple(f"{u.cause}: {u.figures}; {u.waits_for}" for u in self.undertakings.open)

    def judge(self, now_s: float) -> list[object]:
        """Those events, and what follows from a deadline that has passed."""
        return super().judge(now_s) + self.undertakings.judge(now_s)
