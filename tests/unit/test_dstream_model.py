"""What a query has to be for the D-Streams model to run it."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest

from dstream import StreamingContext
from dstream.model import cut
from dstream.plan import Reach
from elastic import Operator, Query, sinks, sources
from elastic.errors import QueryError
from elastic.scenario.assemble import run_of_scenario
from elastic.scenario.load import load_scenario
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import DStream
from elastic.scenario.runner import prepare


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


QUERY = """
from elastic import Query, sinks, sources
query = Query("rows")
query.source(sources.from_list([1])).key_by().count().sink(sinks.discard())
"""
PROGRAM = """
from dstream import StreamingContext
query = StreamingContext("100ms")
query.queue_stream([[1]]).pprint()
"""


@pytest.mark.parametrize(
    ("job", "text", "problem"),
    [
        (
            QUERY,
            "model: dstream\nelastic:\n  scaling: threshold",
            "elastic.scaling: has no effect under model: dstream",
        ),
        (QUERY, "model: dstream\nelastic: {checkpoint: 1s}", "elastic.checkpoint: .*; write dstream.checkpoint"),
        (QUERY, "dstream: {interval: 1s}", "dstream: has no effect under model: elastic; write model: dstream"),
        (QUERY, "model: dstream\nfaults: [{at: 1s, scale: {operator: count, to: 2}}]", r"faults\[0\].scale: operators"),
        (
            QUERY,
            "model: dstream\nfaults: [{at: 1s, drain: {worker: 1}}]",
            r"faults\[0\].drain: workers of a job of the",
        ),
        (PROGRAM, "model: dstream\ndstream: {interval: 1s}", "dstream.interval: .* set interval there"),
        (PROGRAM, "elastic: {copies: 2}", "elastic.copies: .* settings of its own; set copies there"),
        (PROGRAM, "cluster: {memory: 1GiB}", "cluster.memory: .* settings of its own; set memory there"),
    ],
)
def test_what_has_no_effect_in_a_scenario_is_refused(tmp_path: Path, job: str, text: str, problem: str) -> None:
    file = tmp_path / f"job_{zlib.crc32((job + text).encode())}.py"  # a module of its own
    file.write_text(job)
    (tmp_path / "run.yaml").write_text(f"name: run\njob: {file.name}\n{text}\n")

    with pytest.raises(FieldError, match=problem):
        prepare(run_of_scenario(load_scenario(tmp_path / "run.yaml")))


def test_settings_of_one_model_are_refused_under_the_other() -> None:
    query = Query("rows")
    query.source(sources.from_list([1])).key_by().count().sink(sinks.discard())

    with pytest.raises(QueryError, match=r'run\(recovery_parts=…\): it has no meaning under model="dstream"'):
        query.run(model="dstream", recovery_parts=2)
    with pytest.raises(QueryError, match=r'run\(keep_going=True\): .*it is one of model="dstream"'):
        query.run(keep_going=True)
