"""Connected streams and stream-table joins on real processes, of which some are killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic import Operator, Query, sinks, sources
from tests.cluster.driving import drive, kill_owner, kinds

pytestmark = pytest.mark.cluster

USERS = 50
CLICKS = [(n % USERS, n) for n in range(6000)]


class Balance(Operator):
    """Counts what comes on each of its inputs, and emits both counts with every click."""

    inputs = ("users", "clicks")

    def process_users(self, key: Any, value: Any, state: Any, ctx: Any) -> None:
        users, clicks = state.get() or (0, 0)
        state.set((users + 1, clicks))

    def process_clicks(self, key: Any, value: Any, state: Any, ctx: Any) -> Iterator[Any]:
        users, clicks = state.get() or (0, 0)
        state.set((users, clicks + 1))
        yield key, users, clicks + 1


def rows(directory: Path) -> list[Any]:
    """What a JSON lines sink holds."""
    parts = [p for p in directory.rglob("*.jsonl") if not p.name.startswith(".")]
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def test_a_join_and_connected_streams_lose_and_repeat_nothing_when_workers_die(tmp_path: Path) -> None:
    query = Query("joins")
    users = query.source(sources.from_list([(user, f"name {user}") for user in range(USERS)]), name="users")
    users_by_key = users.key_by(lambda row: row[0])
    clicks = query.source(sources.from_list(CLICKS, rate="3k/s"), name="clicks").key_by(lambda row: row[0])
    joined = clicks.join(users_by_key, lambda click, user: [click[1], user and user[1]], how="left", name="joined")
    joined.map(lambda row: row[1]).sink(sinks.json_lines(tmp_path / "joined", commit="200ms"), name="K")
    users_by_key.connect(clicks).apply(Balance(), name="met").sink(
        sinks.json_lines(tmp_path / "met", commit="200ms"), name="L"
    )

    outcome = drive(
        query, tmp_path, kill_owner("joined", 0, after_records=1500), kill_owner("met", 1, after_records=4000),
        workers=3, spares=2, checkpoint_ms=200,
    )  # fmt: skip

    assert outcome.status == "done", outcome.error
    assert kinds(outcome).count("failed") == 2
    found = rows(tmp_path / "joined")
    assert sorted(n for n, _ in found) == list(range(len(CLICKS)))
    unknown = {n for n, name in found if name is None}  # clicks of ticks before the one that read the table
    assert len(unknown) < len(CLICKS)
    for first in range(0, len(CLICKS), len(CLICKS) // 3):  # of each of the three partitions
        for user in range(USERS):
            known = [n not in unknown for n in range(first + user, first + len(CLICKS) // 3, USERS)]
            assert known == sorted(known), "once there is a name for a user, there always is"
    assert all(name in (None, f"name {n % USERS}") for n, name in found)
    met = Counter((key, count) for key, _, count in rows(tmp_path / "met"))
    assert met == Counter({(user, n): 1 for user in range(USERS) for n in range(1, len(CLICKS) // USERS + 1)})
    assert {users for _, users, _ in rows(tmp_path / "met")} <= {0, 1}
