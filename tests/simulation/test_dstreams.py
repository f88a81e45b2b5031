"""Simulated jobs in intervals, under seeded faults: the sinks hold what the elastic model's reference run gives."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from operator import add
from pathlib import Path

import pytest

from dstream import StreamingContext
from dstream.testing.simulator import FAULTS, StreamSimulation, run_program, run_seed, simulate
from elastic import Query, sinks, sources, windows
from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import from_list
from elastic.plan import Settings
from elastic.scenario.models import DStream
from elastic.testing.trials import random_trial
from elastic.testing.verdict import SimulationResult

CHUNK = 25


def wrong(results: Iterable[SimulationResult]) -> list[str]:
    return [f"seed {r.seed}: {r.wrong}" for r in results if r.wrong is not None]


def test_jobs_in_intervals_end_right_whatever_fails_and_most_of_them_with_a_result() -> None:
    results = [run_seed(seed) for seed in range(12)]

    assert wrong(results) == [], "replay: dstream.testing.simulator.run_seed(…).story"
    assert sum(r.status == "done" for r in results) > 6


@pytest.mark.slow
@pytest.mark.parametrize("first", range(12, 112, CHUNK))
def test_jobs_in_intervals_end_right_for_many_seeds(first: int) -> None:
    assert wrong(run_seed(seed) for seed in range(first, first + CHUNK)) == []


def needs_more_than_keys(seed: int) -> bool:
    """Whether the seed's job has event time or a broadcast stream."""
    edges = random_trial(seed).query.plan(workers=1).edges
    return any(edge.event_time is not None or edge.route == "broadcast" for edge in edges)


def test_jobs_with_event_time_and_broadcasts_end_right_whatever_fails() -> None:
    seeds = [seed for seed in range(60) if needs_more_than_keys(seed)][:6]

    assert len(seeds) == 6
    assert wrong(map(run_seed, seeds)) == []


def test_a_seed_replays_its_history() -> None:
    assert run_seed(3).story == run_seed(3).story


@pytest.mark.parametrize("interval", ["50ms", "120ms", "5s"])
@pytest.mark.parametrize("tasks", [1, 7])
def test_however_ticks_are_cut_into_intervals_and_keys_into_tasks_the_models_agree(interval: str, tasks: int) -> None:
    """Without faults: folds that depend on order, counts, unions of streams under several keys, two sources."""
    section = DStream.model_validate({"interval": interval, "tasks": tasks, "checkpoint": 2})
    for seed in range(2):
        trial = random_trial(seed)

        result = simulate(trial.query, seed, workers=2, faults=0, settings=trial.settings, dstream=section)

        assert result.status == "done", result.error
        assert result.wrong is None
        assert any(result.expected.values())


def test_programs_with_windows_state_and_joins_end_right_whatever_fails() -> None:
    results = [run_program(seed) for seed in range(4)]

    assert wrong(results) == []
    assert sum(r.status == "done" for r in results) >= 2


def halved(row: dict[str, int]) -> int:
    return row["n"] // (row["n"] % 10 and 1)


@pytest.mark.parametrize("seed", range(2))
def test_what_sources_steps_and_sinks_divert_and_what_is_late_is_as_under_the_elastic_model(
    tmp_path: Path, seed: int
) -> None:
    """Two files of the same time in one partition: the second is not late because the first was read before."""
    lines = [f'{{"n": {n}, "at": {n // 2}}}' if n % 9 else f'{{"n": {n}' for n in range(120)]
    for name, part in (("a", lines[::2]), ("b", lines[1::2])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part))
    query = Query("diverts")
    read = query.source(sources.json_lines(str(tmp_path / "*.jsonl"), errors="divert", rate="200/s"), name="S")
    good = read.map(halved, on_error="divert")
    timed = read.event_time(lambda row: row["at"] * 1000)
    panes = timed.key_by(lambda row: row["n"] % 3).window(windows.tumbling("10s")).count()
    sums = good.key_by(lambda n: n % 5).sum(lambda n: n if n % 7 else "?", on_error="divert")
    sums.sink(sinks.discard(), name="K")
    read.output("errors").union(good.output("errors"), sums.output("errors")).sink(sinks.discard(), name="M")
    panes.sink(sinks.discard(), name="W")
    panes.output("late").sink(sinks.discard(), name="L")
    settings = Settings(tick_ms=10, key_groups=16, partitions=1)

    result = simulate(query, seed, faults=4 * seed, settings=settings)

    assert (result.wrong, result.status) == (None, "done")
    bad = [n for n in range(120) if n % 9 == 0 or n % 10 == 0 or n % 7 == 0]
    assert sum(map(len, result.expected["M"].values())) == len(bad)
    assert result.expected["W"]
    assert not any(result.expected["L"].values())


def test_a_program_has_the_records_that_its_source_cannot_read_as_a_stream(tmp_path: Path) -> None:
    lines = [f'{{"n": {n}}}' if n % 9 else f'{{"n": {n}' for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    context = StreamingContext("50ms", workers=2, key_groups=16)
    rows = context.source(sources.json_lines(tmp_path / "rows.jsonl", errors="divert", rate="200/s"))
    rows.output("errors").map(lambda bad: (bad["record"], bad["place"].rpartition(":")[2])).save(
        DiscardSink(), name="M"
    )
    rows.map(lambda row: row["n"]).save(DiscardSink(), name="K")

    result = StreamSimulation(context.plan(), 1).run(2, FAULTS, within_s=0.3)

    assert (result.wrong, result.status) == (None, "done")
    found = {name: [row for tick in sorted(ticks) for row in ticks[tick]] for name, ticks in result.sinks.items()}
    assert sorted(found["M"]) == sorted((f'{{"n": {n}', str(n + 1)) for n in range(0, 60, 9))
    assert sorted(found["K"]) == [n for n in range(60) if n % 9]


class RaisesAtFirst:
    """Gives the row itself, but not when it comes for the first time."""

    def __init__(self, *rows: int) -> None:
        self.left = set(rows)

    def __call__(self, row: int) -> int:
        if row in self.left:
            self.left.remove(row)
            raise ConnectionError("not now")
        return row


@pytest.mark.parametrize("faults", [0, 3])
def test_rows_on_which_user_code_raised_while_they_were_read_are_tried_again_by_a_task(faults: int) -> None:
    context = StreamingContext("50ms", workers=3, tasks=2, checkpoint=2, key_groups=16)
    function = RaisesAtFirst(3, 40, 90)
    numbers = context.source(from_list(list(range(120)), rate="200/s")).map(function)
    numbers.map(lambda n: (n % 7, n)).running_reduce(add).save(DiscardSink())

    result = StreamSimulation(context.plan(), 5).run(faults, FAULTS, within_s=0.5)

    assert result.wrong is None, result.wrong
    assert result.status == "done"
    assert not function.left


def test_code_that_ends_the_process_ends_the_job_with_its_line() -> None:
    context = StreamingContext("50ms", workers=2, key_groups=16)
    context.source(from_list([1, 2])).map(lambda _: sys.exit(3)).save(DiscardSink())

    result = StreamSimulation(context.plan(), 1).run(0)

    assert result.status == "failed"
    assert str(result.error).startswith("code of yours ends the process; raise an exception, or return")
    assert "test_dstreams.py" in str(result.error)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4, 28, 6))
def test_programs_end_right_for_many_seeds(first: int) -> None:
    assert wrong(run_program(seed) for seed in range(first, first + 6)) == []
