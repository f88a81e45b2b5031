"""Broadcast rows through SIGKILL and scaling: every key knows every rule from the tick on at which it was broadcast."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic import Operator, Query, sinks, sources
from tests.cluster.driving import drive, kill_owner, scale, see

pytestmark = pytest.mark.cluster

KEYS, ROWS, RULES = 40, 100, 200


class Rules(Operator):
    """Emits each row with how many rules there are, and at the last row of a key all of them."""

    def process_broadcast(self, value: Any, shared: dict[Any, Any], ctx: Any) -> None:
        shared[value] = shared.get(value, 0) + 1

    def process(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        count, most = state.get() or (0, 0)
        assert len(ctx.shared) >= most, "a rule was forgotten"
        state.set((count + 1, len(ctx.shared)))
        yield key, count, sorted(ctx.shared.items()) if count == ROWS - 1 else None


def ruled(directory: Path) -> Query:
    """Rows of many keys for two seconds; rules for the first of them."""
    query = Query("ruled")
    rows = [(n % KEYS, n) for n in range(KEYS * ROWS)]
    rules = query.source(sources.from_list(list(range(RULES)), rate="200/s"), name="rules")
    keyed = query.source(sources.from_list(rows, rate="1600/s"), name="rows").key_by(lambda row: row[0])
    keyed.union(rules.broadcast()).apply(Rules(), name="ruled").sink(
        sinks.json_lines(directory / "out", commit="200ms")
    )
    return query


def found_in(directory: Path) -> list[Any]:
    """What was committed."""
    parts = [p for p in (directory / "out").rglob("*.jsonl") if not p.name.startswith(".")]
    return sorted(json.loads(line) for part in parts for line in part.read_text().splitlines())


def expected() -> list[Any]:
    """Every row once, and with the last one of each key every rule once."""
    everything = [[rule, 1] for rule in range(RULES)]
    return [[key, n, everything if n == ROWS - 1 else None] for key in range(KEYS) for n in range(ROWS)]


@pytest.mark.parametrize(("operator", "instance"), [("ruled", 1), ("rules", 0), ("ruled", 0)])
def test_every_key_knows_every_rule_once_after_a_kill(tmp_path: Path, operator: str, instance: int) -> None:
    moment = random.Random(f"{operator}{instance}").randrange(500, 3_500)

    outcome = drive(ruled(tmp_path), tmp_path, kill_owner(operator, instance, after_records=moment), checkpoint_ms=200)

    assert outcome.status == "done", outcome.error
    assert len(outcome.recoveries) == 1
    assert found_in(tmp_path) == expected()


@pytest.mark.slow
def test_instances_that_are_added_know_every_rule_once(tmp_path: Path) -> None:
    asked = scale("ruled", 5, after_records=800), see("scaled_out")
    outcome = drive(ruled(tmp_path), tmp_path, *asked, spares=2, checkpoint_ms=200)

    assert outcome.status == "done", outcome.error
    assert [(s.operator, s.before, s.after) for s in outcome.scale_outs] == [("ruled", 3, 5)]
    assert found_in(tmp_path) == expected()
