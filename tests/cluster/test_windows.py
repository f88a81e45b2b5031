"""Windows and timers by event time through SIGKILL: the sinks end with what a loop over the rows would give."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dstream.model import start_job
from elastic import Context, ListState, Operator, Query, Timer, ValueState, sinks, sources, windows
from elastic.cluster.job import LocalJob
from elastic.functions import field
from elastic.scenario.models import DStream
from tests.cluster.driving import Breaker, drive, kill_both, kill_owner, kinds

pytestmark = pytest.mark.cluster

CLICKS = [{"page": n * n % 41, "at": n / 500 - n * 7919 % 1000 / 1000} for n in range(12_000)]


class Reminders(Operator):
    """Two seconds after each click, by event time, gives how many clicks the page has had until then."""

    times = ListState(float)

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> None:
        self.times.append(value["at"])
        ctx.set_timer(value["at"] + 2, f"{value['at']}", clock="event")

    def on_timer(self, key: Any, timer: Timer, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield key, timer.time, sum(time <= timer.time for time in self.times)


def clicks(directory: Path) -> Query:
    """Clicks per page, in windows that overlap, and two seconds after each."""
    query = Query("clicks")
    timed = query.source(sources.from_list(CLICKS, rate="6k/s")).event_time(field("at"), slack="3s")
    counted = timed.key_by(field("page")).window(windows.sliding("4s", "1s")).count(name="windows")
    counted.sink(sinks.sqlite(directory / "clicks.db", table="windows"))
    reminded = timed.filter(_is_rare).key_by(field("page")).apply(Reminders(), name="reminders")
    columns = ("page", "time", "count")
    reminded.sink(sinks.sqlite(directory / "clicks.db", table="reminders", columns=columns))
    return query


def _is_rare(row: dict[str, Any]) -> bool:
    return bool(round(row["at"] * 1000) % 997 < 3)


def expected() -> tuple[Counter[Any], Counter[Any]]:
    """The rows of both tables, by a loop over the clicks."""
    counts: Counter[Any] = Counter()
    for click in CLICKS:
        last = int(click["at"] // 1)
        counts.update((click["page"], float(start)) for start in range(last - 3, last + 1))
    rare = [click for click in CLICKS if _is_rare(click)]
    reminders = {
        (click["page"], round(click["at"] + 2, 6)): sum(
            other["page"] == click["page"] and other["at"] <= click["at"] + 2 for other in rare
        )
        for click in rare
    }
    return Counter((*key, count) for key, count in counts.items()), Counter(
        (*k, count) for k, count in reminders.items()
    )


def rows_in(directory: Path, select: str) -> Counter[Any]:
    """What was committed."""
    with closing(sqlite3.connect(directory / "clicks.db")) as connection:
        return Counter(connection.execute(select).fetchall())


@pytest.mark.parametrize(("operator", "instance"), [("windows", 0), ("reminders", 1), ("from_list", 2)])
def test_windows_and_timers_are_right_after_a_kill_at_a_random_moment(
    tmp_path: Path, operator: str, instance: int
) -> None:
    moment = random.Random(operator).randrange(9_000)

    outcome = drive(clicks(tmp_path), tmp_path, kill_owner(operator, instance, after_records=moment), checkpoint_ms=300)

    assert outcome.status == "done", outcome.error
    windowed, reminders = expected()
    assert rows_in(tmp_path, "SELECT key, start, value FROM windows") == windowed
    assert rows_in(tmp_path, "SELECT page, round(time, 6), count FROM reminders") == reminders
    assert not outcome.failures, "no row is late"


@pytest.mark.parametrize("model", ["elastic", "dstream"])
@pytest.mark.parametrize(
    ("copies", "strike"),
    [
        (1, kill_owner("windows", 0, after_records=5_000, checkpoints=48)),
        (2, kill_both(("windows", 0), ("reminders", 1), after_records=5_000, checkpoints=48)),
    ],
)
def test_without_a_disk_windows_and_state_are_the_same_in_both_models_after_as_many_losses_as_there_are_copies(
    tmp_path: Path, copies: int, strike: Breaker, model: str
) -> None:
    section = DStream.model_validate({"interval": "100ms", "checkpoint": 2})
    start: Any = LocalJob if model == "elastic" else partial(start_job, settings=section)

    outcome = drive(
        clicks(tmp_path), tmp_path, strike, start=start, workers=4, checkpoint_ms=200, disk="off", copies=copies
    )

    assert (outcome.status, outcome.error) == ("done", None)
    windowed, reminders = expected()
    assert rows_in(tmp_path, "SELECT key, start, value FROM windows") == windowed
    assert rows_in(tmp_path, "SELECT page, round(time, 6), count FROM reminders") == reminders
    assert kinds(outcome).count("detected") == copies
    assert any(e.kind == "restored" and not (e.cause or "").startswith("0 keys") for e in outcome.events)


def test_no_row_is_late_because_another_file_of_the_same_hour_was_read_before(tmp_path: Path) -> None:
    """Six logs of one time on two workers, each of which reads three of them one after the other."""
    for n in range(6):
        lines = [json.dumps(click) for click in CLICKS[n::6]]
        (tmp_path / f"server-{n}.jsonl").write_text("\n".join(lines))
    query = Query("logs")
    timed = query.source(sources.json_lines(f"{tmp_path}/*.jsonl", rate="9k/s")).event_time(field("at"), slack="3s")
    counted = timed.key_by(field("page")).window(windows.sliding("4s", "1s")).count(name="windows")
    counted.sink(sinks.sqlite(tmp_path / "clicks.db", table="windows"))

    outcome = drive(query, tmp_path, kill_owner("json_lines", 1, after_records=7_000), workers=2, checkpoint_ms=300)

    assert outcome.status == "done", outcome.error
    assert rows_in(tmp_path, "SELECT key, start, value FROM windows") == expected()[0]
    assert not outcome.failures, "no row is late"
