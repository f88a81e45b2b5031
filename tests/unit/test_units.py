"""Durations, sizes, rates and counts: what is accepted, and what a refusal suggests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from elastic.errors import UserError
from elastic.units import (
    UnitError,
    counted,
    format_count,
    format_duration,
    format_size,
    parse_count,
    parse_duration_ms,
    parse_duration_s,
    parse_rate,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10ms", 0.01), ("5s", 5.0), ("1m", 60.0), ("2h", 7200.0), ("1.5s", 1.5), (" 5 s ", 5.0), ("0", 0.0), (0, 0.0)],
)
def test_a_duration_is_read_in_its_unit(text: object, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("512B", 512), ("64KiB", 65536), ("64MiB", 64 << 20), ("1.5GiB", 3 << 29)]
)
def test_a_size_is_read_in_powers_of_1024(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("0.02/s", (0.02, "records")),
        ("1.5 records/s", (1.5, "records")),
        ("200k/s", (200_000, "records")),
        ("200k records/s", (200_000, "records")),
        ("1.5M/s", (1_500_000, "records")),
        ("10/s", (10, "records")),
        ("4MiB/s", (4 << 20, "bytes")),
        ("512 KiB/s", (512 << 10, "bytes")),
    ],
)
def test_a_rate_counts_records_unless_its_unit_is_of_bytes(text: str, rate: tuple[float, str]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "count"), [(7, 7), ("7", 7), ("200k", 200_000), ("200k records", 200_000), ("1 record", 1), ("2.5k", 2500)]
)
def test_a_count_is_read_with_or_without_its_noun(text: object, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_size_bytes, "64MB", '"64MB" is not a size; write 64MiB'),
        (parse_size_bytes, "64mib", '"64mib" is not a size; write 64MiB'),
        (parse_size_bytes, 64, "64 is not a size; write 64MiB"),
        (parse_duration_s, 10, "10 is not a duration; write 10s"),
        (parse_duration_s, "5 seconds", '"5 seconds" is not a duration; write 5s'),
        (parse_duration_s, "soon", '"soon" is not a duration; write 10ms, 5s or 1m'),
        (parse_duration_s, True, "True is not a duration; write 10ms, 5s or 1m"),
        (parse_duration_ms, "0.1ms", '"0.1ms" is not a whole number of milliseconds; write 1ms'),
        (parse_rate, "200k", '"200k" is not a rate; write 200k/s'),
        (parse_rate, "4MB/s", '"4MB/s" is not a rate; write 4MiB/s'),
        (parse_rate, "4MiB/m", '"4MiB/m" is not a rate; write 4MiB/s'),
        (parse_count, "10K", '"10K" is not a count; write 10k'),
        (parse_count, -3, "-3 is not a count; write 200000, 200k or 1M records"),
    ],
)
def test_a_refusal_says_what_was_given_and_what_to_write(
    parse: Callable[[object], object], text: object, message: str
) -> None:
    with pytest.raises(UnitError) as caught:
        parse(text)

    assert str(caught.value) == message
    assert isinstance(caught.value, (UserError, ValueError))


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(UnitError, match="above zero"):
        parse_rate("0/s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0123, "12.3ms"),
        (0.85, "850ms"),
        (0.9999, "1s"),
        (1.523, "1.52s"),
        (59.97, "1m00s"),
        (125, "2m05s"),
        (3720, "1h02m"),
    ],
)
def test_a_duration_is_shown_with_three_digits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_sizes_and_counts_are_shown_in_the_largest_unit_that_fits() -> None:
    assert [format_size(n) for n in (0, 512, 1536, 64 << 20)] == ["0B", "512B", "1.5KiB", "64MiB"]
    assert [format_count(n) for n in (0, 950, 999.7, 12_345, 999_960, 4_560_000)] == [
        "0", "950", "1k", "12.3k", "1M", "4.56M",
    ]  # fmt: skip


def test_a_count_in_a_sentence_has_its_noun_in_the_number_that_it_takes() -> None:
    assert [counted(n, "record") for n in (0, 1, 2, 58_599)] == ["0 records", "1 record", "2 records", "58,599 records"]
