"""What the coordinator's shell needs of the machine that decides: the elastic coordinator, or another model's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from elastic.coordinator.events import EndJob, Event
from elastic.coordinator.membership import Membership
from elastic.coordinator.memory import Facts
from elastic.coordinator.oversight import Oversight
from elastic.plan import Plan


class RefusesScaling(Protocol):
    """Who says whether an operator can be scaled, and what is being done about it."""

    @property
    def aims(self) -> Mapping[str, int]:
        """By operator, the number of instances that it is on its way to."""

    def refusal(self, operator: str, instances: int) -> str | None:
        """Why not; None if it can."""


class RefusesDraining(Protocol):
    """Who says whether a worker can be drained."""

    def refusal(self, worker: int) -> str | None:
        """Why not; None if it can."""


class Machine(Protocol):
    """Events in, decisions out."""

    plan: Plan
    members: Membership
    ended: EndJob | None

    @property
    def epoch(self) -> int:
        """Of this incarnation; commands carry it."""

    @property
    def scaling(self) -> RefusesScaling:
        """Who says whether an operator can be scaled, and what is being done about it."""

    @property
    def draining(self) -> RefusesDraining:
        """Who says whether a worker can be drained."""

    @property
    def oversight(self) -> Oversight:
        """Who looks out for what stands still."""

    def handle(self, event: Event, now_s: float) -> list[object]:
        """What follows from an event: messages to send, processes to start or end, entries for journal and log."""


MakeMachine: TypeAlias = Callable[[Plan, int, int, Facts | None], Machine]
"""Of the plan, the numbers of workers and spares, and what an earlier incarnation has journalled."""
