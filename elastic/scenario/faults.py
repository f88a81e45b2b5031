"""Faults on schedule: which of a scenario's faults are due, and whom they hit."""

from __future__ import annotations

from collections.abc import Sequence

from elastic.callables import did_you_mean
from elastic.plan import OperatorPlan, Plan
from elastic.report import Progress
from elastic.scenario.control import JobControl
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import Fault, Target


class FaultPlan:
    """The faults of a run that have not fired yet. A fault fires once, at the first look at which it is due.

    A fault whose target nobody holds at that moment (its instance is just being restored) waits until somebody does.
    One that names a worker by its number waits until that one has joined.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._pending = list(faults)
        self._paused: dict[Target, int] = {}
        self._joined: set[int | None] = set()

    @property
    def unfired(self) -> tuple[Fault, ...]:
        """What has not happened; after the run, what could not happen."""
        return tuple(self._pending)

    def fire(self, progress: Progress, job: JobControl) -> None:
        """All faults that are due have been done to the job, in the scenario's order."""
        self._joined |= {e.worker for e in progress.events if e.kind in {"joined", "spare_started"}}
        for fault in [f for f in self._pending if _is_due(f, progress)]:
            if fault.scale is not None:
                job.scale(fault.scale.operator, fault.scale.to)
            elif fault.target is None:
                job.join()
            elif fault.target.coordinator:
                (job.pause_coordinator if fault.action == "pause" else job.kill_coordinator)()
            elif (worker := self._worker(fault, fault.target, job)) is not None:
                self._hit(fault, fault.target, worker, job)
            else:
                continue
            self._pending.remove(fault)

    def _hit(self, fault: Fault, target: Target, worker: int, job: JobControl) -> None:
        match fault.action:
            case "kill":
                job.kill(worker)
            case "pause":
                self._paused[target] = worker
                job.pause(worker)
            case "drain":
                job.drain(worker)
            case _:
                job.resume(worker)

    def _worker(self, fault: Fault, target: Target, job: JobControl) -> int | None:
        if target.owner_of is None:
            return target.worker if target.worker in self._joined else None
        if fault.action == "resume":  # the instance has moved on to a worker that was never paused
            return self._paused.get(target)
        return job.owner_of(target.owner_of, target.instance)


def check_faults(faults: Sequence[Fault], plan: Plan) -> None:
    """Return if every fault can be, and names an operator and an instance that the plan has.

    Raises:
        FieldError: One does not.
    """
    most: dict[str, int] = {name: operator.parallelism for name, operator in plan.operators.items()}
    for i, fault in enumerate(faults):
        at = ("faults", i, fault.action)
        if (problem := plan.refused.get(fault.action)) is not None:
            raise FieldError(at, problem)
        if fault.scale is not None:
            operator = _operator(plan, fault.scale.operator, (*at, "operator"))
            if operator.kind == "sink":
                problem = f"{operator.name} is a sink: only keyed operators and sources are scaled while a job runs"
                raise FieldError((*at, "operator"), problem)
            most[operator.name] = max(most[operator.name], fault.scale.to)
    for i, fault in enumerate(faults):
        target = fault.target
        if target is None or target.owner_of is None:
            continue
        at = ("faults", i, fault.action)
        operator = _operator(plan, target.owner_of, (*at, "owner_of"))
        if target.instance >= most[operator.name]:
            raise FieldError(
                (*at, "instance"),
                f"{operator.name} has instances 0 to {most[operator.name] - 1}, not {target.instance}",
            )


def _operator(plan: Plan, name: str, at: tuple[str | int, ...]) -> OperatorPlan:
    if (operator := plan.operators.get(name)) is None:
        hint = did_you_mean(name, plan.operators)
        raise FieldError(at, f'the query has no operator "{name}"{hint} Operators: {", ".join(plan.operators)}')
    return operator


def _is_due(fault: Fault, progress: Progress) -> bool:
    if fault.at is not None:
        return progress.at_s >= fault.at
    assert fault.after is not None
    return progress.records_in >= fault.after
