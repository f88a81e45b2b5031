"""A program over DStreams whose processes are killed again and again, held against a plain computation.

One output tells which rows each interval has read. Everything else, windows, state, time-outs, joins with the past and
with static data, is computed from that anew, by code that knows nothing of the system, and has to be equal, row by row.

It takes some seconds. ``make soak`` runs it for minutes (``SOAK_S=3600 make soak`` for an hour), each time from another
seed, which a failure names.
"""

from __future__ import annotations

import json
import operator
import os
import random
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dstream import StreamingContext
from dstream.job import StreamJob
from dstream.model import start_job
from elastic import sinks, sources
from elastic.scenario.models import DStream as Section
from tests.cluster.driving import DEADLINE_S, Held

SECONDS = float(os.environ.get("SOAK_S", "4"))
SEED = int(os.environ.get("SOAK_SEED", "7"))

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(4 * SECONDS + 400)]

INTERVAL_MS = 200
RATE = 2_000
KEYS = 40
NAMES = [(key, f"key {key}") for key in range(0, KEYS, 3)]
LEAST_KILLS = 2
WINDOW, SLIDE, BACK, TIMEOUT = 6, 2, 3, 4

Rows = dict[int, dict[int, int]]
"""The sum of each key's values, by interval."""


def keyed(at: float, pair: tuple[int, Any]) -> list[Any]:
    return [at, *pair]


def started(_: int, value: int) -> int:
    return value


def went_on(_: int, state: int, value: int) -> int | None:
    return None if value % 11 == 0 else state + value


def program(directory: Path, chance: random.Random) -> StreamingContext:
    context = StreamingContext(
        f"{INTERVAL_MS}ms",
        workers=2,
        spares=1,
        checkpoint=chance.choice((2, 5)),
        tasks=2,
        partitions=2,
        directory=directory,
    )
    # few keys in each stretch, so that others time out meanwhile
    rows = [((n // 900 + n % 7) % KEYS, n) for n in range(int(RATE * SECONDS))]
    pairs = context.source(Held(sources.from_list(rows, rate=f"{RATE}/s"), directory.parent / "struck"), name="pairs")
    sums = pairs.reduce_by_key(operator.add)
    window = sums.reduce_by_key_and_window(
        operator.add, f"{WINDOW * INTERVAL_MS}ms", f"{SLIDE * INTERVAL_MS}ms", inverse=operator.sub, name="window"
    )
    sessions = sums.track(started, went_on, f"{TIMEOUT * INTERVAL_MS}ms", name="sessions")
    joined = sums.delayed(f"{BACK * INTERVAL_MS}ms").join(sums).left_outer_join(context.parallelize(NAMES))
    outputs = {
        "raw": pairs, "window": window, "totals": sums.running_reduce(operator.add, name="totals"),
        "sessions": sessions.snapshots(), "joined": joined,
    }  # fmt: skip
    for name, stream in outputs.items():
        sink = sinks.json_lines(directory.parent / name, commit="400ms")
        stream.map_with_time(keyed).save(sink, name=f"to-{name}")
    return context


def survive(context: StreamingContext, directory: Path, chance: random.Random) -> int:
    """Run the program to its end, killing a worker or the coordinator whenever it has gone on; how often."""
    directory.mkdir()
    plan = context.plan()
    start = partial(start_job, settings=Section())
    job = start(plan, workers=2, spares=1, directory=directory, keep_log=False, resume=False)
    places = [(name, n) for name, o in plan.operators.items() for n in range(o.parallelism)]
    deadline, kills, done = time.monotonic() + 3 * SECONDS + DEADLINE_S, 0, 0
    next_s, spared_until_s = 0.5, chance.uniform(0.5, SECONDS / 2)
    try:
        job.start()
        while not (progress := job.poll(0.02)).finished:
            assert time.monotonic() < deadline, progress
            complete = len(intervals_of(directory))
            if kills >= LEAST_KILLS:  # until then the input does not end
                (directory.parent / "struck").touch()
            to_come = progress.records_in < RATE * SECONDS or kills < LEAST_KILLS
            if progress.at_s > next_s and complete > done and to_come:
                kill_some(job, places, chance, coordinator=progress.at_s > spared_until_s)
                if progress.at_s > spared_until_s:
                    spared_until_s = progress.at_s + chance.uniform(15, 40)  # one that dies too often is given up
                next_s, done, kills = progress.at_s + chance.uniform(0.3, 1.2), complete, kills + 1
        outcome = job.outcome()
    finally:
        job.close()
    assert outcome.status == "done", outcome.error
    return kills


def kill_some(job: StreamJob, places: list[tuple[str, int]], chance: random.Random, *, coordinator: bool) -> None:
    """SIGKILL for one process, or for two at once."""
    if coordinator:
        job.kill_coordinator()
    for _ in range(chance.choice((0, 1) if coordinator else (1, 1, 2))):
        if (worker := job.owner_of(*chance.choice(places))) is not None:
            job.kill(worker)


def intervals_of(directory: Path) -> list[float]:
    """When each complete interval ended."""
    file = directory / "intervals.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["ended_s"] for line in lines if line.endswith("}")]


def output(directory: Path, name: str, tick_zero_s: float) -> Counter[tuple[Any, ...]]:
    """(interval, key, value) of all rows of an output."""
    parts = (directory / name).glob("*.jsonl")
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    return Counter(
        (-int(-round((at - tick_zero_s) * 1000 / INTERVAL_MS, 3) // 1), key, json.dumps(value))
        for at, key, value in rows
    )


def expected(raw: Counter[tuple[Any, ...]], last: int) -> dict[str, Counter[tuple[Any, ...]]]:
    """What the other outputs must be, given what each interval has read."""
    sums: Rows = defaultdict(lambda: defaultdict(int))
    for (interval, key, value), count in raw.items():
        sums[interval][key] += int(value) * count
    found: dict[str, Counter[tuple[Any, ...]]] = defaultdict(Counter)
    totals: dict[int, int] = defaultdict(int)
    sessions: dict[int, tuple[int, int]] = {}  # by key: state, and when it was last heard of
    names = dict(NAMES)
    for now in range(1, last + 1):
        here = sums.get(now, {})
        if now % SLIDE == 0 or now == last:
            window: Counter[int] = Counter()
            for then in range(now - WINDOW + 1, now + 1):
                window.update(sums.get(then, {}))
            found["window"].update((now, key, json.dumps(value)) for key, value in window.items())
        for key, value in here.items():
            totals[key] += value
            found["totals"][now, key, json.dumps(totals[key])] += 1
        sessions = {key: (s, at) for key, (s, at) in sessions.items() if key in here or now - at < TIMEOUT}
        for key, value in here.items():
            state = went_on(key, sessions[key][0], value) if key in sessions else started(key, value)
            if state is None:
                sessions.pop(key)
            else:
                sessions[key] = state, now
        found["sessions"].update((now, key, json.dumps(state)) for key, (state, _) in sessions.items())
        for key, value in sums.get(now - BACK, {}).items():
            if key in here:
                found["joined"][now, key, json.dumps([[value, here[key]], names.get(key)])] += 1
    return found


def test_windows_state_and_joins_are_exact_though_processes_are_killed_all_the_time(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    context = program(tmp_path / "job", chance)

    kills = survive(context, tmp_path / "job", chance)

    ended = intervals_of(tmp_path / "job")
    tick_zero_s = ended[0] - INTERVAL_MS / 1000
    raw = output(tmp_path, "raw", tick_zero_s)
    assert Counter(int(value) for _, _, value in raw.elements()) == Counter(range(int(RATE * SECONDS)))
    for name, rows in expected(raw, len(ended)).items():
        found = output(tmp_path, name, tick_zero_s)
        assert found == rows, f"{name}, seed {SEED}: {sorted((found - rows).items())[:3]} for {(rows - found)}"
    assert kills >= LEAST_KILLS, f"seed {SEED}"
