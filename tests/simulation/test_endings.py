"""How simulated jobs end: with their input, stopped, given up for a reason, or over a mistake of the user's."""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from elastic import Context, Operator, Query, ValueState, sinks, sources
from elastic.plan import Settings
from elastic.testing.faults import FaultKind
from elastic.testing.operators import Fold
from elastic.testing.simulator import Simulation, simulate
from elastic.testing.verdict import SimulationResult

SMALL = Settings(tick_ms=10, checkpoint_ms=100, key_groups=16)


class Noise(Operator):
    """Not deterministic: its randomness is not the context's."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield key, random.random()


class Dice(Operator):
    """Random, and deterministic all the same."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield key, ctx.random.random(), ctx.now


class Fussy(Operator):
    """Raises at one record."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        yield key, 1 / (value - 77)


class Leaver(Operator):
    """Ends its process at one record, or tries to."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[Any]:
        if value == 77:
            sys.exit("enough")
        yield key, value


def job(operator: Operator) -> Query:
    query = Query("job")
    (
        query.source(sources.from_list(range(150), rate="200/s"))
        .key_by(lambda n: n % 7)
        .apply(operator, name="first")
        .key_by(lambda row: row[0] % 3)
        .apply(Fold(), name="second")
        .sink(sinks.discard(), name="out")
    )
    return query


def with_crashes(operator: Operator, seeds: range, settings: Settings = SMALL) -> Iterator[SimulationResult]:
    return (simulate(job(operator), seed, faults=2, kinds=("crash",), settings=settings) for seed in seeds)


def test_a_job_without_faults_ends_with_what_the_reference_run_gives() -> None:
    result = simulate(job(Fold()), 0, faults=0)

    assert (result.status, result.wrong) == ("done", None)
    assert sum(map(len, result.sinks["out"].values())) == 150


def test_a_job_that_is_stopped_commits_all_that_was_read() -> None:
    simulation = Simulation(job(Fold()).plan(workers=3, settings=SMALL), seed=0)
    result = simulation.run(faults=0, stop_at_s=0.4)

    assert (result.status, result.wrong) == ("interrupted", None)
    logged = [entry for log in simulation.machine.logs.values() for entry in log.entries]
    assert sum(map(len, result.sinks["out"].values())) == sum(entry.records for entry in logged)
    assert 50 < sum(entry.records for entry in logged) < 150
    assert not any(entry.final for entry in logged)


@pytest.mark.parametrize("seed", range(6))
def test_a_job_that_is_stopped_while_it_fails_commits_whole_ticks_in_time(seed: int) -> None:
    result = simulate(job(Fold()), seed, faults=3, within_s=0.4, stop_at_s=0.3)

    assert result.wrong is None
    assert result.history.lines[-1].at_s < 0.3 + 1.2


def test_an_operator_that_is_not_deterministic_is_named_with_tick_and_key() -> None:
    errors = [r.error or "" for r in with_crashes(Noise(), range(12)) if r.status == "failed" and not r.excused]

    assert len(errors) >= 4
    assert all(
        re.match(r"operator '(first|second)'.* is not deterministic: tick \d+, key \d+ gave ", e) for e in errors
    )
    assert all("'first'" in error for error in errors)  # by itself, or as the one that may be behind it
    assert any(error.startswith("operator 'first'") for error in errors)


def test_an_operator_that_is_not_deterministic_is_only_told_of_if_the_job_says_so() -> None:
    results = list(with_crashes(Noise(), range(5), replace(SMALL, nondeterminism="warn")))

    assert {r.status for r in results if not r.excused} == {"done"}
    assert any("kind=nondeterminism" in line for r in results for line in r.story)


def test_randomness_and_time_of_the_context_are_the_same_in_every_replay() -> None:
    assert [r.wrong for r in with_crashes(Dice(), range(5))] == [None] * 5


def test_a_record_that_user_code_cannot_take_ends_the_job_with_operator_key_and_line() -> None:
    result = simulate(job(Fussy()), 0, faults=0)

    assert result.status == "failed"
    assert "operator 'first' failed on record 77, key 0" in (result.error or "")
    assert "ZeroDivisionError" in (result.error or "").splitlines()[-1]


def leave(row: int) -> int:
    return sys.exit("enough") if row == 77 else row


@pytest.mark.parametrize("place", ["operator", "chain"])
def test_code_that_would_end_its_process_ends_the_job_and_is_shown(place: str) -> None:
    query = Query("job")
    rows = query.source(sources.from_list(range(150), rate="200/s"))
    keyed = (rows.map(leave) if place == "chain" else rows).key_by(lambda n: n % 7)
    keyed.apply(Leaver() if place == "operator" else Fold(), name="first").sink(sinks.discard())

    result = simulate(query, 0, faults=0)

    lines = (result.error or "").splitlines()
    assert result.status == "failed"
    assert re.match(r"operator '(first|from_list)' failed after tick \d+: code of yours ends the process", lines[0])
    assert 'sys.exit("enough")' in (result.error or "")
    assert lines[-1] == "SystemExit: enough"


def cancel(row: int) -> int:
    if row == 77:
        raise asyncio.CancelledError("enough")
    return row


def test_an_exception_that_is_none_to_python_ends_the_job_as_any_other_does() -> None:
    query = Query("job")
    query.source(sources.from_list(range(150), rate="200/s")).map(cancel).sink(sinks.discard())

    result = simulate(query, 0, faults=0)

    assert result.status == "failed"
    assert (result.error or "").splitlines()[-1] == "asyncio.exceptions.CancelledError: enough"


@pytest.mark.parametrize("kinds", [("crash at the end",), ("crash at the end", "break link", "hang")])
def test_a_stream_ends_once_whatever_fails_while_it_does(kinds: tuple[FaultKind, ...]) -> None:
    results = [simulate(job(Fold()), seed, kinds=kinds, faults=2, spares=2) for seed in range(6)]

    assert [r.wrong for r in results] == [None] * len(results)
    assert sum(r.status == "done" for r in results) >= len(results) // 2


def test_a_job_whose_state_is_gone_with_its_only_worker_says_so() -> None:
    results = [
        simulate(
            job(Fold()),
            seed,
            workers=1,
            spares=0,
            faults=1,
            kinds=("crash",),
            within_s=0.6,
            settings=replace(SMALL, disk="off"),
        )
        for seed in range(4)
    ]

    assert {r.status for r in results} == {"failed"}
    assert all("is lost" in (r.error or "") and "run with more workers" in (r.error or "") for r in results)
    assert all(r.excused for r in results)


def test_one_worker_and_a_spare_survive_the_worker() -> None:
    results = [
        simulate(job(Fold()), seed, workers=1, spares=1, faults=1, kinds=("crash",), within_s=0.6) for seed in range(8)
    ]

    assert [r.wrong for r in results] == [None] * 8
    assert all(r.status == "done" for r in results)


def test_a_seed_that_goes_wrong_tells_the_story_of_who_is_concerned() -> None:
    result = next(r for r in with_crashes(Noise(), range(12)) if r.status == "done" and r.wrong)

    told = result.story_of_what_is_wrong
    assert any("FAULT worker" in line for line in told)
    assert all(re.match(r" *\d+\.\d{4} #\d+", line) for line in told)
