"""What a scheduler journals for the one after it, and the way back.

Little: where partitions live, which intervals are complete, which is safe. Where blocks lie, how far everybody is and
which tasks are left, workers tell; and what nobody has any more follows from lineage.
"""

from __future__ import annotations

from dstream.outages import Outage, Outages
from dstream.plan import Kind
from dstream.scheduler.ledger import Held, Ledger
from elastic.coordinator.ending import Ending
from elastic.coordinator.memory import Facts, job_facts, recall_job


def mark_of(ledger: Ledger, ending: Ending) -> object:
    """Differs whenever the facts do: making them for every event would cost more than what most events cost."""
    members, progress = ledger.members, ledger.progress
    told = (ledger.deployed, ledger.announced, ending.stopping, ledger.finish, len(ledger.outages.found))
    known = (members.last_id, len(members.workers), len(members.live))
    return (progress.done, progress.safe, ledger.guarded, *known, *told)


def facts_of(ledger: Ledger, ending: Ending) -> Facts:
    """Everything that the next incarnation cannot find out."""
    return {
        **job_facts(ledger.plan, ledger.members, ending),
        "stages": sorted(ledger.stage_of.items()),
        "deployed": ledger.deployed,
        "announced": ledger.announced,
        "state_reader": "dstream.kept:read_states",
        "stateful": [stage.id for stage in ledger.plan.stages if stage.kind is Kind.STATE],
        "interval_ticks": ledger.plan.interval_ticks,
        "done": ledger.progress.done,
        "safe": ledger.progress.safe,
        "outages": [[o.stage, o.channel, o.interval, o.error] for o in ledger.outages.found],
    }


def recall(ledger: Ledger, ending: Ending, facts: Facts) -> None:
    """Have a new scheduler's ledger begin where another one's was.

    Intervals through the last complete one are closed on all sources, so whoever needs their input can read it again;
    of later ones those have to tell who closed them.
    """
    recall_job(facts, ledger.members, ending)
    ledger.deployed, ledger.announced = facts["deployed"], facts["announced"]
    ledger.stage_of = dict(facts["stages"])
    done = facts["done"]
    ledger.begin_after(done)
    ledger.progress.safe = facts["safe"]
    ledger.outages = Outages(ledger.plan, [Outage(*body) for body in facts["outages"]])
    for id, record in ledger.members.instances.items():
        record.running = False
        stage = ledger.plan.stages[ledger.stage_of[id]]
        if stage.kind is Kind.SOURCE:
            ledger.closed[stage.id, record.index] = done
        else:
            ledger.held[stage.id, record.index] = Held(stage, record.index, record)
