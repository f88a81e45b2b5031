"""What the scaling policy is shown: how busy instances were over one of its periods, from the workers' reports."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from elastic.connectors.base import Rate
from elastic.coordinator.membership import Membership
from elastic.plan import Plan
from elastic.policies import InstanceLoad, OperatorLoad
from elastic.wire.control import WorkerReport


@dataclass(frozen=True, slots=True)
class _Reading:
    """Counters of one instance at one time."""

    at_s: float
    busy_s: float
    records_in: int


class Loads:
    """Collects reports; once a period has passed, says what it looked like."""

    def __init__(self, plan: Plan, members: Membership, period_s: float) -> None:
        self._plan, self._members, self._period_s = plan, members, period_s
        self._newest: dict[int, _Reading] = {}
        self._before: dict[int, _Reading] = {}
        self._spans: dict[int, tuple[_Reading, _Reading]] = {}
        self._due_s: float | None = None

    def report(self, report: WorkerReport) -> None:
        """Take a worker's report in."""
        for stats in report.instances:
            self._newest[stats.instance] = _Reading(report.at_s, stats.busy_s, stats.records_in)

    def over(self, now_s: float) -> dict[str, OperatorLoad] | None:
        """Loads over the period that has just ended, producers first; None while it has not."""
        if self._due_s is None:
            self._begin(now_s)
        assert self._due_s is not None
        if now_s < self._due_s:
            return None
        loads = self._measured(now_s)
        self._begin(now_s)
        return loads

    def _begin(self, now_s: float) -> None:
        self._due_s = now_s + self._period_s
        self._newest = {id: r for id, r in self._newest.items() if id in self._members.instances}
        self._before = dict(self._newest)

    def _measured(self, now_s: float) -> dict[str, OperatorLoad]:
        """An idle worker reports seldom: of whom nothing was heard in a period, what was measured last still holds."""
        for id, before in self._before.items():
            if id in self._newest and self._newest[id].at_s > before.at_s:
                self._spans[id] = before, self._newest[id]
        self._spans = spans = {id: span for id, span in self._spans.items() if id in self._members.instances}
        busy = {id: _share(*span) for id, span in spans.items()}
        workers: defaultdict[int, float] = defaultdict(float)
        for id, share in busy.items():
            workers[self._members.instances[id].worker] += share
        loads = {}
        for name, operator in self._plan.operators.items():
            records = [r for r in self._members.assignment(name) if r.id in busy]
            instances = [
                InstanceLoad(
                    r.id, r.worker, r.interval.high - r.interval.low, busy[r.id], min(1.0, workers[r.worker]),
                    _records_per_s(*spans[r.id]),
                )
                for r in records
            ]  # fmt: skip
            limit = operator.logic.rate if operator.kind == "source" else None
            offered = self._offered(limit, now_s) if limit is not None and limit.unit == "records" else None
            inputs = tuple(e.producer for e in self._plan.inputs(name))
            loads[name] = OperatorLoad(name, operator.kind, inputs, tuple(instances), offered)
        return loads

    def _offered(self, rate: Rate, now_s: float) -> float:
        """Records a second that a rate let through over the period that ends now."""
        elapsed_s = now_s - self._members.plan.tick_zero_s
        return (rate.due(elapsed_s) - rate.due(elapsed_s - self._period_s)) / self._period_s


def _share(before: _Reading, after: _Reading) -> float:
    return min(1.0, max(0.0, (after.busy_s - before.busy_s) / (after.at_s - before.at_s)))


def _records_per_s(before: _Reading, after: _Reading) -> float:
    return (after.records_in - before.records_in) / (after.at_s - before.at_s)
