"""Scaling: what number of instances each operator is to have, and which instance is cut next to get there.

It is told a target and works towards it, one ``reconfigure`` after another: what a failure calls off is begun again.

Source: SEEP §5.1, where a bottleneck operator is cut in two; the number is somebody else's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elastic.coordinator.events import Journal, Record
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.keys import KeyInterval


@dataclass(frozen=True, slots=True)
class Target:
    """So many instances are wanted, since a time when there were ``before``."""

    instances: int
    before: int
    since_s: float


class Scaling:
    """Takes requests, and begins the procedures that they need."""

    def __init__(self, members: Membership, reconfigurer: Reconfigurer) -> None:
        self._members, self._reconfigurer = members, reconfigurer
        self._targets: dict[str, Target] = {}

    def refusal(self, operator: str, instances: int) -> str | None:
        """Why an operator cannot be brought to so many instances; None if it can."""
        plan = self._members.plan
        if (known := plan.operators.get(operator)) is None:
            return f"there is no operator {operator!r}; this job has {', '.join(plan.operators)}"
        if known.kind != "keyed":
            return f"{operator!r} is a {known.kind}: only keyed operators are scaled while a job runs"
        if not plan.settings.checkpoint_ticks:
            return "checkpoints are off: what is cut to scale out is a checkpoint"
        now = len(self._members.assignment(operator))
        if instances < now:
            return f"{operator!r} has {now} instances; a running operator cannot be given fewer"
        if instances > plan.settings.key_groups:
            return f"{operator!r} can have at most {plan.settings.key_groups} instances, one for each key group"
        spares = len(self._members.spares)
        if instances - now > spares:
            return (
                f"{operator!r} has {now} instances, and {instances} would need {instances - now} spares; "
                f"there are {spares}: run with more spares"
            )
        return None

    def request(self, operator: str, instances: int, now_s: float) -> list[object]:
        """Aim at so many instances from now on; a warning if that cannot be."""
        if (problem := self.refusal(operator, instances)) is not None:
            return [Record("warning", operator, cause=f"not scaled: {problem}")]
        before = len(self._members.assignment(operator))
        if instances != before:
            self._targets[operator] = Target(instances, before, now_s)
        return []

    def progress(self, now_s: float) -> list[object]:
        """Begin what is to be done next for each operator, and say which of them are there."""
        actions: list[object] = []
        for operator, target in list(self._targets.items()):
            instances = self._members.assignment(operator)
            busy = any(p.old.operator == operator for p in self._reconfigurer.running.values())
            if busy or not all(i.running for i in instances):
                continue
            if len(instances) >= target.instances:
                del self._targets[operator]
                actions += self._reached(operator, target, now_s)
            else:
                actions += self._cut_next(instances, target, now_s)
        return actions

    def _reached(self, operator: str, target: Target, now_s: float) -> list[object]:
        took_s = now_s - target.since_s
        body = {"operator": operator, "from": target.before, "to": target.instances}
        text = f"{target.before} to {target.instances} instances in {took_s:.2f} s"
        return [
            Journal("scaled", {**body, "since_s": target.since_s, "took_s": took_s}),
            Record("scaled_out", operator, cause=text),
        ]

    def _cut_next(self, instances: Sequence[InstanceRecord], target: Target, now_s: float) -> list[object]:
        """Cut the instances with most key groups into as many parts as are missing."""
        parts = {i.id: 1 for i in instances}
        for _ in range(target.instances - len(instances)):
            widest = max(instances, key=lambda i: (_width(i.interval) / parts[i.id], -i.interval.low))
            parts[widest.id] += 1
        actions: list[object] = []
        spares = list(self._members.spares)
        for old in instances:
            if parts[old.id] > 1 and old.can_be_cut:
                actions += self._cut(old, parts[old.id], target, spares, now_s)
        return actions

    def _cut(self, old: InstanceRecord, count: int, target: Target, spares: list[int], now_s: float) -> list[object]:
        """Cut one instance; its first part stays where it is, the others go to spares, or to the idlest workers."""
        places = [old.worker]
        for _ in range(count - 1):
            place = next((s for s in spares if s != old.holder), None)
            if place is None:
                load = self._members.load()
                others = [w for w in self._members.live if w not in (old.holder, *places)]
                if not others:
                    return []  # a worker is being started, or none will ever be: the target stays
                place = min(others, key=lambda w: (load[w], w))
            else:
                spares.remove(place)
            places.append(place)
        cause = f"scaling {old.operator} out to {target.instances}"
        parts = list(zip(_cut_evenly(old.interval, count), places, strict=True))
        return self._reconfigurer.begin(old, cause, now_s, parts) or []


def _width(interval: KeyInterval) -> int:
    return interval.high - interval.low


def _cut_evenly(interval: KeyInterval, count: int) -> list[KeyInterval]:
    low, width = interval.low, _width(interval)
    return [KeyInterval(low + n * width // count, low + (n + 1) * width // count) for n in range(count)]
