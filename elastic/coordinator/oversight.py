"""Looks out for what stands still or takes too long, and says so."""

from __future__ import annotations

from elastic.coordinator.membership import Membership
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.coordinator.scaling import Scaling
from elastic.coordinator.stalls import Stalls
from elastic.coordinator.standings import Whereabouts
from elastic.coordinator.undertakings import Undertakings
from elastic.protocol import Standings, Stuck


class Oversight:
    """What is known of where everybody stands, and what is concluded from it.

    Attributes:
        whereabouts: Where instances stand.
        stalls: Who has stood still for too long.
        undertakings: How far recoveries and scaling are.
    """

    def __init__(self, members: Membership, reconfigurer: Reconfigurer, scaling: Scaling) -> None:
        self.whereabouts = Whereabouts(members)
        self.stalls = Stalls(self.whereabouts)
        self.undertakings = Undertakings(members, reconfigurer, scaling, self.whereabouts)

    def heard(self, worker: int, message: Standings | Stuck, now_s: float) -> None:
        """A worker, or its watchdog, has something to tell."""
        self.whereabouts.heard(worker, message, now_s)

    def judge(self, now_s: float) -> list[object]:
        """Events for what has begun to stand still or goes on, and what follows from a deadline that has passed."""
        return self.stalls.judge(now_s) + self.undertakings.judge(now_s)
