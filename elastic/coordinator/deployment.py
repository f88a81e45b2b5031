"""How a job begins: every operator's first instances are placed and started."""

from __future__ import annotations

from elastic.coordinator.events import Record
from elastic.coordinator.holders import Holders
from elastic.coordinator.membership import InstanceRecord, Membership
from elastic.coordinator.orders import Orders


class Deployment:
    """The first assignment of all operators."""

    def __init__(self, members: Membership) -> None:
        self._members = members
        self._holders, self._orders = Holders(members), Orders(members)

    def begin(self, workers: list[int], spares: int) -> list[object]:
        """Place every operator's instances on the workers, round and round, and start them.

        Args:
            workers: Who is to have instances.
            spares: How many others the job wants to keep idle.
        """
        members, plan = self._members, self._members.plan
        fresh: list[InstanceRecord] = []
        for operator in plan.operators:
            members.versions[operator] = version = 1
            for n, interval in enumerate(plan.intervals(operator)):
                place = workers[(n + self._apart(operator)) % len(workers)]
                record = InstanceRecord(members.new_id(), operator, n, interval, version, place)
                members.instances[record.id] = record
                fresh.append(record)
        for record in fresh:
            if members.is_stateful(record) and plan.settings.checkpoint_ticks:
                record.holder, record.term = members.holder_for(record), members.new_term()
                record.fresh, record.second = record.holder is not None, members.second_for(record)
        return [
            *(members.journalled(operator) for operator in plan.operators),
            *(hold for record in fresh for hold in self._holders.hold(record)),
            *(self._orders.start(record) for record in fresh),
            *self._warnings(len(workers) + spares, spares),
        ]

    def _apart(self, operator: str) -> int:
        """1 for a sink behind user code: only a consumer that outlives its producer can tell that a replay differs."""
        plan = self._members.plan
        checked = any(plan.operators[e.producer].user_code for e in plan.inputs(operator))
        return int(checked and plan.operators[operator].kind == "sink")

    def _warnings(self, workers: int, spares: int) -> list[object]:
        """What this cluster cannot survive."""
        members = self._members
        if not members.plan.settings.checkpoint_ticks:
            text = "checkpoints are off: the loss of a worker with a stateful operator ends the job"
        elif workers < 2 and members.of_kind("keyed") and not members.has_disk:
            text = "one worker and no spare: a checkpoint has nowhere to go, and the loss of the worker ends the job"
        elif spares == 0:
            text = "no spare: the instances of a lost worker crowd onto the others"
        else:
            return []
        return [Record("warning", cause=text)]
