"""Rates: constant, in steps, as ramps, with bursts; and what is due by them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.connectors.base import Rate
from elastic.connectors.rate import as_rate
from elastic.units import UnitError

STEPS = [["3s", "1k/s"], ["5s", "8k/s"], ["2s", "2k/s"]]
BURSTS = {"base": "1k/s", "peak": "10k/s", "every": "10s", "lasting": "1s"}


def due(written: Any, seconds: float) -> float:
    rate = as_rate(written)
    assert rate is not None
    return rate.due(seconds)


@pytest.mark.parametrize(
    ("written", "seconds", "amount"),
    [
        ("2k/s", 3, 6_000),
        ("2k/s", -1, 0),
        ("1MiB/s", 2, 2 << 20),
        (STEPS, 3, 3_000),
        (STEPS, 4, 11_000),
        (STEPS, 8, 43_000),
        (STEPS, 20, 43_000 + 12 * 2_000),  # the last speed stays
        ([["10s", "0.001k/s to 10.001k/s"]], 10, 10 * 5_001),
        ([["10s", "0.001k/s to 10.001k/s"]], 5, 5 * 2_501),
        (BURSTS, 9, 9_000),
        (BURSTS, 9.5, 14_000),
        (BURSTS, 25, 2 * 19_000 + 5_000),
    ],
)
def test_what_is_due_is_what_the_speeds_add_up_to(written: Any, seconds: float, amount: float) -> None:
    assert due(written, seconds) == pytest.approx(amount)


speeds = st.integers(1, 100).map(lambda n: f"{n}k/s")
steps = st.lists(
    st.tuples(st.integers(1, 20).map(lambda n: f"{n}00ms"), speeds | st.tuples(speeds, speeds).map(" to ".join)),
    min_size=1,
    max_size=5,
)


@given(steps, st.lists(st.floats(0, 12), min_size=2, max_size=2))
def test_what_is_due_never_falls_and_never_grows_faster_than_the_highest_speed(
    written: Any, times: list[float]
) -> None:
    early, late = sorted(times)
    rate = as_rate(written)
    assert rate is not None

    growth = rate.due(late) - rate.due(early)

    assert -1e-6 <= growth <= rate.fastest * (late - early) + 1e-6


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("fast", "is not a rate"),
        (5, "is not a rate"),
        ([], "is not a rate"),
        ([["3s", "1k/s"], "4k/s"], "is not a step of a rate"),
        ([["3s", "1k/s"], ["3s", "1MiB/s"]], "all of it in records, or all of it in bytes"),
        ([["0s", "1k/s"]], "one above zero"),
        ([["3s", "1k/s to 2k/s to 3k/s"]], "two rates"),
        ({"base": "1k/s"}, "is not a rate with bursts"),
        ({**BURSTS, "lasting": "10s"}, "less than every, 10s"),
        ({**BURSTS, "peak": "1MiB/s"}, "all of it in records, or all of it in bytes"),
    ],
)
def test_what_is_no_rate_is_refused_with_one_that_would_be(written: Any, problem: str) -> None:
    with pytest.raises(UnitError) as caught:
        as_rate(written)

    assert problem in str(caught.value)


def test_a_rate_is_taken_as_it_is() -> None:
    rate = Rate(5.0, "bytes")

    assert as_rate(rate) is rate
    assert as_rate(None) is None
