"""All that a coordinator has to know of its job, as plain values for its journal, and the way back.

Whatever is not in here, another incarnation finds out again: workers tell what runs on them, and what was measured is
measured anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from elastic.coordinator.ending import Ending
from elastic.coordinator.membership import InstanceRecord, Membership, Worker
from elastic.coordinator.procedure import Procedure
from elastic.coordinator.scaling import Target
from elastic.keys import KeyInterval
from elastic.plan import Plan

if TYPE_CHECKING:
    from elastic.coordinator.machine import Coordinator

Facts = dict[str, Any]
"""What JSON can express."""

STATE = "state"
"""The journal's entry of all that the next incarnation must know; only the newest counts."""

LOSSES = {"failed", "detected", "checkpoint_lost", "warning"}
"""Events of a loss; who resumes a job knows that all of it was gone."""


def facts_of(coordinator: Coordinator) -> Facts:
    """Everything that the coordinator's next incarnation must know."""
    members, reconfigurer = coordinator.members, coordinator.reconfigurer
    return {
        **job_facts(coordinator.plan, members, coordinator.ending),
        "deployed": coordinator.deployed,
        "announced": coordinator.announced,
        "procedures": [_procedure(p) for p in reconfigurer.running.values()],
        "last_procedure": reconfigurer.last,
        "planned": sorted(reconfigurer.planned),
        "draining": [[worker, since_s] for worker, since_s in coordinator.draining.since_s.items()],
        "targets": {
            name: [target.instances, target.before, target.since_s]
            for name, target in coordinator.scaling.targets.items()
        },
    }


def recall(coordinator: Coordinator, facts: Facts) -> None:
    """Have a new coordinator know what another one knew; it is the next incarnation of it."""
    members, reconfigurer = coordinator.members, coordinator.reconfigurer
    recall_job(facts, members, coordinator.ending)
    coordinator.deployed, coordinator.announced = facts["deployed"], facts["announced"]
    reconfigurer.last = facts["last_procedure"]
    reconfigurer.planned = set(facts["planned"])
    coordinator.draining.since_s = dict(facts["draining"])
    for body in facts["procedures"]:
        procedure = _procedure_of(body, members.instances)
        reconfigurer.running[procedure.id] = procedure
    coordinator.scaling.targets = {name: Target(*target) for name, target in facts["targets"].items()}


# -- what is the same under every execution model ----------------------------------------------------------------------


def job_facts(plan: Plan, members: Membership, ending: Ending) -> Facts:
    """When the job began, who is there, what lives where, and how it is to end."""
    return {
        "epoch": members.epoch,
        "tick_zero_s": plan.tick_zero_s,
        "since_s": plan.since_s,
        "stopping": ending.stopping,
        "patient": ending.patient,
        "finish": None if members.finish is None else list(members.finish),
        "workers": [_worker(worker) for worker in members.workers.values()],
        "instances": [_instance(record) for record in members.instances.values()],
        "versions": dict(members.versions),
        "last_id": members.last_id,
        "last_term": members.last_term,
    }


def recall_job(facts: Facts, members: Membership, ending: Ending) -> None:
    """The way back, into another incarnation."""
    members.epoch = facts["epoch"] + 1
    ending.stopping, ending.patient = facts["stopping"], facts.get("patient", False)
    members.finish = None if facts["finish"] is None else (facts["finish"][0], facts["finish"][1])
    members.workers = {body["id"]: Worker(**body) for body in facts["workers"]}
    members.instances = {body["id"]: _record(body) for body in facts["instances"]}
    members.versions = Counter(facts["versions"])
    members.last_id, members.last_term = facts["last_id"], facts["last_term"]


_WORKER = tuple(field.name for field in fields(Worker))
_INSTANCE = tuple(field.name for field in fields(InstanceRecord) if field.name != "loads")  # they are measured anew
_worker_values, _instance_values = attrgetter(*_WORKER), attrgetter(*_INSTANCE)


def _worker(worker: Worker) -> dict[str, Any]:
    return dict(zip(_WORKER, _worker_values(worker), strict=True))


def _instance(record: InstanceRecord) -> dict[str, Any]:
    found = dict(zip(_INSTANCE, _instance_values(record), strict=True))
    found["interval"] = list(record.interval)
    return found


def _record(body: dict[str, Any]) -> InstanceRecord:
    return InstanceRecord(**{**body, "interval": KeyInterval(*body["interval"])})


def _procedure(procedure: Procedure) -> dict[str, Any]:
    return {
        "id": procedure.id,
        "old": procedure.old.id,
        "successors": [[id, list(interval)] for id, interval in procedure.successors],
        "cause": procedure.cause,
        "since_s": procedure.since_s,
        "cut": procedure.cut,
        "at": procedure.at,
        "second": procedure.second,
        "term": procedure.term,
        "origin": procedure.origin,
        "tick": procedure.tick,
        "places": [[id, worker] for id, worker in procedure.places.items()],
        "version": procedure.version,
        "joined": [old.id for old in procedure.joined],
    }


def _procedure_of(body: dict[str, Any], instances: dict[int, InstanceRecord]) -> Procedure:
    return Procedure(
        id=body["id"],
        old=instances[body["old"]],
        successors=tuple((id, KeyInterval(*interval)) for id, interval in body["successors"]),
        cause=body["cause"],
        since_s=body["since_s"],
        cut=body["cut"],
        at=body["at"],
        second=body["second"],
        term=body["term"],
        origin=body["origin"],
        tick=body["tick"],
        places=dict(body["places"]),
        version=body["version"],
        joined=tuple(instances[id] for id in body["joined"]),
    )
