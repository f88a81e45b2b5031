"""Scaling: what number of instances each operator is to have, and which instance is cut next to get there.

It is told a target and works towards it, one ``reconfigure`` after another: what a failure calls off is begun again.

Source: SEEP §5.1, where a bottleneck operator is cut in two; the number is somebody else's decision. Scaling in,
which the paper leaves open, joins two neighbours.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from elastic.coordinator.cuts import cuttable
from elastic.coordinator.events import Journal, Record
from elastic.coordinator.joining import Joining
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.placement import WAIT_FOR_SPARE_S
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.reconfigure import Reconfigurer
from elastic.keys import KeyInterval
from elastic.policies import OperatorLoad
from elastic.units import counted, format_duration

HOPELESS_SHARE = 0.9
"""Where a cut in two leaves one part with so much of the load, no cut helps."""

PATIENCE = 6
"""So many periods in a row fewer instances must have been enough before a policy gets them."""


@dataclass(frozen=True, slots=True)
class Target:
    """So many instances are wanted, since a time when there were ``before``.

    Attributes:
        loads: By instance, how busy it was; empty where nobody measured that, and records count.
    """

    instances: int
    before: int
    since_s: float
    loads: Mapping[int, float] = field(default_factory=dict)


class Scaling:
    """Takes requests, and begins the procedures that they need.

    Attributes:
        targets: By operator, what is being worked towards.
        joining: Makes one instance of neighbours.
        lacks_worker: There is no worker for a part, since the only spare holds the checkpoint that is to be cut.
    """

    def __init__(self, members: Membership, reconfigurer: Reconfigurer) -> None:
        self._members, self._reconfigurer = members, reconfigurer
        self.joining = Joining(members, reconfigurer)
        self.targets: dict[str, Target] = {}
        self.lacks_worker = False
        self._policy = members.plan.settings.scaling
        self._warned: set[str] = set()
        self._low: Counter[str] = Counter()

    @property
    def aims(self) -> dict[str, int]:
        """By operator, the number of instances that it is on its way to."""
        return {operator: target.instances for operator, target in self.targets.items()}

    def refusal(self, operator: str, instances: int) -> str | None:
        """Why an operator cannot be brought to so many instances; None if it can."""
        plan = self._members.plan
        if (known := plan.operators.get(operator)) is None:
            return f"there is no operator {operator!r}; this job has {', '.join(plan.operators)}"
        if known.kind == "sink":
            return f"{operator!r} is a sink: only keyed operators and sources are scaled while a job runs"
        if known.kind == "keyed" and not plan.settings.checkpoint_ticks:
            return "checkpoints are off: what is cut to scale out is a checkpoint"
        now = len(self._members.assignment(operator))
        if not now:
            return "the job is still being started"
        if instances < 1:
            return f"{operator!r} needs at least one instance"
        most = len(plan.bounds(operator)) - 1
        if instances > most and known.kind == "source":
            return f"{operator!r} can have at most {most} instances, one for each partition: run with more partitions"
        if instances > most:
            return f"{operator!r} can have at most {most} instances, one for each key group"
        spares = len(self._members.spares)
        if instances - now > spares and self.aims.get(operator) != instances:  # else it is on its way there
            return (
                f"{operator!r} has {now} instances, and {instances} would need {instances - now} spares; "
                f"there {'is' if spares == 1 else 'are'} {spares}: run with more spares, or add a worker"
            )
        return None

    def request(self, operator: str, instances: int, now_s: float) -> list[object]:
        """Aim at so many instances from now on; a warning if that cannot be."""
        if (problem := self.refusal(operator, instances)) is not None:
            return [Record("warning", operator, cause=f"not scaled: {problem}")]
        if self.aims.get(operator) == instances:
            return []
        before = len(self._members.assignment(operator))
        self.targets.pop(operator, None)
        actions = self._call_off(operator) if instances == before else []
        if instances != before or self._changes(operator):
            self.targets[operator] = Target(instances, before, now_s)
        return actions

    def _changes(self, operator: str) -> list[Procedure]:
        """What is under way that changes the operator's number of instances."""
        return [p for p in self._reconfigurer.running.values() if p.scales and p.old.operator == operator]

    def _call_off(self, operator: str) -> list[object]:
        """An operator stays as it is: off with all that can still be called off, which is all but recoveries."""
        workers = self._members.workers
        alive = [p for p in self._changes(operator) if not any(workers[old.worker].lost for old in p.olds)]
        return [action for procedure in alive for action in self._reconfigurer.abort(procedure)]

    def measured(self, loads: Mapping[str, OperatorLoad], now_s: float) -> list[object]:
        """Ask the policy, and aim at what it says as far as spares go; a policy that raises is asked no more."""
        if self._policy is None:
            return []
        try:
            wanted = dict(self._policy.decide(loads))
        except Exception as error:  # noqa: BLE001 (it may be a class of the user's)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return self._dismiss(f"raised: {frame.filename}, line {frame.lineno}: {type(error).__name__}: {error}")
        for name, number in wanted.items():
            if not isinstance(number, int):
                return self._dismiss(f"decided {number!r} for {name!r}: expected a whole number")
        actions: list[object] = []
        self._low = Counter({name: self._low[name] for name in wanted})
        for operator, instances in wanted.items():
            load = loads.get(operator)
            if load is None or operator in self.targets or load.kind == "sink":
                continue
            actions += self._aim(load, min(instances, self._policy.at_most), now_s)
        return actions

    def _dismiss(self, why: str) -> list[object]:
        """A policy that does not work is asked no more: a job goes on without it."""
        self._policy = None
        return [Record("warning", cause=f"the scaling policy is asked no more, since it {why}")]

    def _aim(self, load: OperatorLoad, instances: int, now_s: float) -> list[object]:
        """Aim at so many instances, or as many as spares allow; what stands in the way is said once."""
        now, spares = len(self._members.assignment(load.name)), len(self._members.spares)
        if instances < now:
            return self._aim_lower(load, max(1, instances), now, now_s)
        self._low.pop(load.name, None)
        if instances == now:
            return []
        if (hot := self._hot_spot(load)) is not None:
            return self._warn_once(load.name, hot)
        if not spares:
            return self._warn_once(load.name, f"needs {instances} instances, and there is no spare to scale out to")
        reachable = min(instances, now + spares)
        if (problem := self.refusal(load.name, reachable)) is not None:
            return self._warn_once(load.name, f"not scaled: {problem}")
        self._warned.discard(load.name)
        self.targets[load.name] = Target(reachable, now, now_s, {i.instance: i.busy for i in load.instances})
        return []

    def _hot_spot(self, load: OperatorLoad) -> str | None:
        """What to say if the busiest instance is busy with what cannot be cut; None if it is not."""
        hottest = max(load.instances, key=lambda i: i.busy, default=None)
        record = None if hottest is None else self._members.instances.get(hottest.instance)
        if hottest is None or record is None:
            return None
        whole = cuttable(self._members.plan, record)
        what, why = ("partition", "give the source more") if load.kind == "source" else (
            "key group", "is one key very frequent?"
        )  # fmt: skip
        if whole.most == 1:
            return f"{hottest.busy:.0%} busy with a single {what}, which cannot be cut: {why}"
        if whole.largest_share(2) <= HOPELESS_SHARE:
            return None
        at, share = whole.hottest
        return f"{hottest.busy:.0%} busy, {share:.0%} of it with {what} {at}, which cannot be cut: {why}"

    def _aim_lower(self, load: OperatorLoad, instances: int, now: int, now_s: float) -> list[object]:
        """Fewer instances only once they have been enough for long: a cut costs more than an idle instance."""
        self._low[load.name] += 1
        if self._low[load.name] >= PATIENCE:
            del self._low[load.name]
            self.targets[load.name] = Target(instances, now, now_s, {i.instance: i.busy for i in load.instances})
        return []

    def _warn_once(self, operator: str, text: str) -> list[object]:
        if operator in self._warned:
            return []
        self._warned.add(operator)
        return [Record("warning", operator, cause=text)]

    @property
    def busy(self) -> bool:
        """Whether some operator is on its way to another number of instances."""
        return bool(self.targets)

    def progress(self, now_s: float) -> list[object]:
        """Begin what is to be done next for each operator, and say which of them are there."""
        actions: list[object] = []
        self.lacks_worker = False
        for operator, target in list(self.targets.items()):
            instances = self._members.assignment(operator)
            busy = any(p.old.operator == operator for p in self._reconfigurer.running.values())
            if busy or not all(i.running for i in instances):
                continue
            if len(instances) == target.instances:
                del self.targets[operator]
                actions += self._reached(operator, target, now_s)
            elif len(instances) > target.instances:
                actions += self._join_next(instances, target, now_s)
            else:
                actions += self._cut_next(instances, target, now_s)
        return actions

    def _reached(self, operator: str, target: Target, now_s: float) -> list[object]:
        if target.instances == target.before:  # a change that could not be called off was undone
            return []
        took_s = now_s - target.since_s
        body = {"operator": operator, "from": target.before, "to": target.instances}
        text = f"{target.before} to {counted(target.instances, 'instance')} in {format_duration(took_s)}"
        return [
            Journal("scaled", {**body, "since_s": target.since_s, "took_s": took_s}),
            Record("scaled_out" if target.instances > target.before else "scaled_in", operator, cause=text),
        ]

    def _join_next(self, instances: Sequence[InstanceRecord], target: Target, now_s: float) -> list[object]:
        """Join the two neighbours with least load between them, or with fewest key groups."""
        weights = _weights(instances, target)

        def burden(pair: tuple[InstanceRecord, InstanceRecord]) -> tuple[float, int]:
            return sum(weights[i.id] for i in pair), sum(_width(i.interval) for i in pair)

        first, second = min(pairwise(instances), key=burden)
        if not self._is_ready(first) or not self._is_ready(second):
            return []
        cause = f"scaling {first.operator} in to {target.instances}"
        return self.joining.begin((first, second), cause, now_s)

    def _cut_next(self, instances: Sequence[InstanceRecord], target: Target, now_s: float) -> list[object]:
        """Cut the instances with most load, or with most key groups, into as many parts as are missing."""
        parts = {i.id: 1 for i in instances}
        wholes = {i.id: cuttable(self._members.plan, i) for i in instances}
        weights = _weights(instances, target)

        def burden(i: InstanceRecord) -> tuple[float, float, int]:
            """What the busiest part has to do, if there can be more of them; then its key groups."""
            whole, count = wholes[i.id], parts[i.id]
            heavy = weights[i.id] * whole.largest_share(count) if count < whole.most else -1.0
            return heavy, _width(i.interval) / count, -i.interval.low

        for _ in range(target.instances - len(instances)):
            parts[max(instances, key=burden).id] += 1
        actions: list[object] = []
        spares = list(self._members.spares)
        for old in instances:
            if parts[old.id] > 1 and self._is_ready(old):
                actions += self._cut(old, parts[old.id], target, spares, now_s)
        return actions

    def _is_ready(self, record: InstanceRecord) -> bool:
        """Whether what an instance could start again from is in place; a source's is in its log."""
        return not self._members.is_stateful(record) or record.can_be_cut

    def _cut(self, old: InstanceRecord, count: int, target: Target, spares: list[int], now_s: float) -> list[object]:
        """Cut one instance; its first part stays where it is, the others go to spares, or to the idlest workers.

        None goes to a holder: until a part was backed up again, its loss would be that of state and copy together.
        Where there are too few places, there are fewer parts, and the rest comes later.
        """
        places = [old.worker]
        late = now_s - target.since_s > WAIT_FOR_SPARE_S
        while len(places) < count and (place := self._place(old, places, spares, late=late)) is not None:
            places.append(place)
        if len(places) == 1:
            self.lacks_worker = True
            return []
        cause = f"scaling {old.operator} out to {target.instances}"
        parts = list(zip(cuttable(self._members.plan, old).cut(len(places)), places, strict=True))
        return self._reconfigurer.begin(old, cause, now_s, parts) or []

    def _place(self, old: InstanceRecord, places: Sequence[int], spares: list[int], *, late: bool) -> int | None:
        """A worker for one more part: a spare, which leaves ``spares``; when it is late, the idlest other one."""
        if (spare := next((s for s in spares if s not in (old.holder, old.second)), None)) is not None:
            spares.remove(spare)
            return spare
        if not late:
            return None  # one is being started
        return self._members.idlest(w for w in self._members.usable if w not in (old.holder, *places))


def _width(interval: KeyInterval) -> int:
    return interval.high - interval.low


def _weights(instances: Sequence[InstanceRecord], target: Target) -> dict[int, float]:
    """What each instance has to do: how busy it was, else how many records it took in, else how many key groups."""
    if target.loads:
        return {i.id: target.loads.get(i.id, 0.0) for i in instances}
    records = {i.id: float(i.loads.sum()) for i in instances if i.loads is not None}
    if len(records) == len(instances) and any(records.values()):
        return records
    return {i.id: float(_width(i.interval)) for i in instances}
