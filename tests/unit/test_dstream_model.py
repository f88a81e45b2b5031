"""What a query has to be for the D-Streams model to run it."""

from __future__ import annotations

from typing import Any

from dstream import StreamingContext
from dstream.model import cut
from dstream.plan import Reach
from elastic import Operator, Query, sinks, sources
from elastic.scenario.models import DStream


class Rules(Operator):
    """Has a broadcast input."""

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Any:
        yield key, value

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: Any) -> None:
        shared[value] = True


def test_every_partition_of_an_operator_reads_all_of_what_is_broadcast_to_it() -> None:
    query = Query("rules")
    rules = query.source(sources.from_list([1]), name="rules")
    rows = query.source(sources.from_list([1]), name="rows").key_by()
    rows.union(rules.broadcast()).apply(Rules()).sink(sinks.discard())

    stages = cut(query.plan(workers=2), 2, DStream()).stages

    (keyed,) = [stage for stage in stages if stage.operator == "Rules"]
    reach = {stages[i.stage].operator: i.reach for i in keyed.inputs}
    assert reach == {"rows": Reach.KEYS, "rules": Reach.ALL}


def test_what_becomes_of_a_task_that_fails_is_set_in_the_same_words_in_a_scenario_and_in_a_program() -> None:
    query = Query("rows")
    query.source(sources.from_list([1])).sink(sinks.discard())
    program = StreamingContext("1s", retries=0, keep_going=True)
    program.source(sources.from_list([1])).save(sinks.discard())

    plans = [cut(query.plan(workers=2), 2, DStream.model_validate({"retries": 0, "keep_going": True})), program.plan()]

    assert [(plan.retries, plan.keep_going) for plan in plans] == [(0, True)] * 2
    assert not cut(query.plan(workers=2), 2, DStream()).keep_going
