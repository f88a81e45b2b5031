"""Simulated jobs under seeded faults: whatever fails, the sinks hold what the clean run over the same log gives."""

from __future__ import annotations

import pytest

from elastic.testing.__main__ import run_seed, wrong_in

CHUNK = 50


def test_simulated_jobs_end_right_whatever_fails() -> None:
    found = [text for seed in range(CHUNK) if (text := wrong_in(seed)) is not None]

    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(CHUNK, 500, CHUNK))
def test_simulated_jobs_end_right_for_many_seeds(first: int) -> None:
    found = [text for seed in range(first, first + CHUNK) if (text := wrong_in(seed)) is not None]

    assert not found, "\n".join(found)


def test_a_seed_replays_its_history() -> None:
    assert run_seed(3).story == run_seed(3).story


def test_most_seeds_end_with_a_result_and_not_with_an_excuse() -> None:
    results = [run_seed(seed) for seed in range(30)]

    assert sum(r.status == "done" for r in results) >= 15
    assert all(r.faults >= 2 for r in results)
    assert all(max(r.expected["K"]) >= 20 for r in results if r.status == "done")
