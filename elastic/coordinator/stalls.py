"""No silent stall: which instance stands still, since when, and what it stands in or waits for.

A stall is not a failure. A *hung worker* does not answer heartbeats; it is taken for dead and replaced. In a *stall*
every process lives and nothing moves: code of the user's does not return, a target does not answer, credit does not
come. Nothing is replaced then, since the same would happen again elsewhere; it is told, to somebody who can mend it.

Whoever stands still because of somebody else is followed to the root: the one that nobody else keeps from going on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from elastic.coordinator.events import Record
from elastic.coordinator.standings import Whereabouts
from elastic.report import Stall
from elastic.units import format_duration


class Finder(Protocol):
    """Finds out who stands still, in the way of an execution model."""

    def found(self, now_s: float) -> Mapping[Hashable, Stall]:
        """Every root that is to be told, with those that wait for it; the same root has the same key as before."""

    def is_due(self, key: Hashable, now_s: float) -> bool:
        """Whether one that was a root once stands still yet."""


@dataclass(slots=True)
class Stalls:
    """Tells who has stood still for too long: when that is found, and when it is over.

    Attributes:
        open: Stalls that last, by the keys of their roots; an instance's id, if it is one.
        over: Those that are over.
    """

    whereabouts: Whereabouts
    finder: Finder
    open: dict[Hashable, Stall] = field(default_factory=dict)
    over: list[Stall] = field(default_factory=list)

    def judge(self, now_s: float) -> list[object]:
        """Events for stalls that have begun or are over."""
        if not self.whereabouts.after_s:
            return []
        self.whereabouts.refresh(now_s)
        found = self.finder.found(now_s)
        actions: list[object] = []
        for key in [key for key in self.open if key not in found]:
            actions += self._over(key, now_s)
        for key, stall in found.items():
            if key not in self.open:
                actions.append(Record("stalled", stall.operator, stall.instance, stall.worker, stall.story))
            self.open[key] = stall
        return actions

    def finish(self, now_s: float) -> None:
        """The job has reached its end, so nothing stands still any more."""
        at_s = self.whereabouts.since_start_s(now_s)
        self.over += [replace(stall, until_s=at_s) for stall in self.open.values()]
        self.open.clear()

    def _over(self, key: Hashable, now_s: float) -> list[object]:
        stall = self.open.pop(key)
        if self.finder.is_due(key, now_s):
            return []  # not its own fault, as is known by now: another root has it among those that wait
        at_s = self.whereabouts.since_start_s(now_s)
        self.over.append(replace(stall, until_s=at_s))
        text = f"goes on after {format_duration(at_s - stall.since_s)}"
        return [Record("moving", stall.operator, stall.instance, stall.worker, text)]
