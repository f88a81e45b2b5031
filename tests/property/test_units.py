"""What is shown can be read again, and means nearly the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic.units import (
    UnitError,
    format_count,
    format_duration,
    format_size,
    parse_count,
    parse_duration_ms,
    parse_duration_s,
    parse_rate,
    parse_size_bytes,
)

PARSERS = [parse_duration_ms, parse_duration_s, parse_size_bytes, parse_count, parse_rate]


@given(st.integers(0, 1 << 50))
def test_a_shown_size_or_count_is_read_back_to_three_digits(amount: int) -> None:
    assert parse_size_bytes(format_size(amount)) == pytest.approx(amount, rel=0.006, abs=1)
    assert parse_count(format_count(amount)) == pytest.approx(amount, rel=0.006, abs=1)


@given(st.floats(0.001, 59.9))
def test_a_shown_duration_is_read_back_to_three_digits(seconds: float) -> None:
    assert parse_duration_s(format_duration(seconds)) == pytest.approx(seconds, rel=0.006)


ANYTHING = st.text() | st.floats() | st.integers() | st.booleans() | st.none() | st.lists(st.none())


@given(st.sampled_from(PARSERS), ANYTHING)
def test_anything_is_either_read_or_refused_with_what_to_write(
    parse: Callable[[object], object], value: object
) -> None:
    refusal = None
    try:
        parse(value)
    except UnitError as error:
        refusal = str(error)

    assert refusal is None or "; write " in refusal


@given(st.integers(1, 10**9), st.sampled_from(["k", "M", "", "KiB", "MiB", "B"]))
def test_what_a_refusal_suggests_is_accepted(number: int, unit: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_rate(f"{number}{unit}")

    parse_rate(caught.value.suggestion)
