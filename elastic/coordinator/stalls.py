"""No silent stall: which instance stands still, since when, and what it stands in or waits for.

A stall is not a failure. A *hung worker* does not answer heartbeats; it is taken for dead and replaced. In a *stall*
every process lives and nothing moves: code of the user's does not return, a target does not answer, credit does not
come. Nothing is replaced then, since the same would happen again elsewhere; it is told, to somebody who can mend it.

Whoever stands still because of somebody else is followed to the root: the one that nobody else keeps from going on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from elastic.coordinator.chains import Chains, Root
from elastic.coordinator.events import Record
from elastic.coordinator.standings import Whereabouts
from elastic.report import Stall
from elastic.units import format_duration


@dataclass(slots=True)
class Stalls:
    """Finds out who has stood still for too long.

    Attributes:
        open: Stalls that last, by the ids of their roots.
        over: Those that are over.
    """

    whereabouts: Whereabouts
    open: dict[int, Stall] = field(default_factory=dict)
    over: list[Stall] = field(default_factory=list)

    def judge(self, now_s: float) -> list[object]:
        """Events for stalls that have begun or are over."""
        if not self.whereabouts.after_s:
            return []
        self.whereabouts.refresh(now_s)
        found = self._found(now_s)
        actions: list[object] = []
        for id in [id for id in self.open if id not in found]:
            actions += self._over(id, now_s)
        for id, stall in found.items():
            if id not in self.open:
                actions.append(Record("stalled", stall.operator, stall.instance, stall.worker, stall.story))
            self.open[id] = stall
        return actions

    def finish(self, now_s: float) -> None:
        """The job has reached its end, so nothing stands still any more."""
        at_s = self._at_s(now_s)
        self.over += [replace(stall, until_s=at_s) for stall in self.open.values()]
        self.open.clear()

    def _over(self, id: int, now_s: float) -> list[object]:
        stall = self.open.pop(id)
        if self._is_due(id, now_s):
            return []  # not its own fault, as is known by now: another root has it among those that wait
        at_s = self._at_s(now_s)
        self.over.append(replace(stall, until_s=at_s))
        text = f"goes on after {format_duration(at_s - stall.since_s)}"
        return [Record("moving", stall.operator, stall.instance, stall.worker, text)]

    def _is_due(self, id: int, now_s: float) -> bool:
        since_s = self.whereabouts.still_since(id, now_s)
        return since_s is not None and now_s - since_s >= self.whereabouts.after_s

    def _found(self, now_s: float) -> dict[int, Stall]:
        """Every root that is to be told, with those that wait for it."""
        chains = Chains(self.whereabouts, now_s)
        roots: dict[int, Root] = {}
        waiting: dict[int, list[str]] = {}
        for id in self.whereabouts.members.instances:
            if self._is_due(id, now_s):
                path, root = chains.follow(id)
                roots[root.instance] = root
                waiting.setdefault(root.instance, []).extend(path[:1])
        return {id: self._stall(r, waiting[id]) for id, r in roots.items() if now_s >= r.told_at_s}

    def _stall(self, root: Root, waiting: list[str]) -> Stall:
        record = self.whereabouts.members.instances[root.instance]
        tick = self.whereabouts.tau(root.instance) or 0 if root.tick is None else root.tick
        return Stall(
            record.operator, record.index, record.worker, root.what, root.detail, tick,
            self._at_s(root.since_s), None, tuple(waiting), root.lines,
        )  # fmt: skip

    def _at_s(self, time_s: float) -> float:
        """Seconds since the run began."""
        return time_s - self.whereabouts.members.plan.since_s
