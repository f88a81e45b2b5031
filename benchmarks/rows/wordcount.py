"""WordCount against the limit: 100-byte lines, Zipf words, 100 k of them different, emitted each second to discard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from benchmarks import data, expected
from benchmarks.kernels import WordCount
from benchmarks.limit import Input, run_keyed
from benchmarks.recording import RecordingDiscard
from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.runtime import check, repeats, run, scratch
from elastic import Query, sources
from elastic.connectors.base import Sink
from elastic.functions import split

LINES, QUICK_LINES = 2_500_000, 500_000
"""Of the input of 100-byte lines, in a full run and in a quick one; it is read as often as the time needs."""


def lines_for(effort: Effort) -> int:
    """How many lines the input has."""
    return QUICK_LINES if effort.quick else LINES


def word_count(sink: Sink, lines: int, *, repeat: int = 1, rate: str | None = None, emit: str = "1s") -> Query:
    """The job; its input is so many lines of 100 bytes, ``repeat`` times over."""
    query = Query("word-count")
    text = sources.text_files(data.text_file(lines), repeat=repeat, rate=rate)
    query.source(text).flat_map(split()).key_by().count(emit=emit).sink(sink)
    return query


@cache
def expected_counts(lines: int = LINES) -> dict[str, int]:
    """What one pass over the input must give."""
    return expected.word_counts(data.text_file(lines))


def limit_words_per_s(repeat: int, lines: int = LINES) -> float:
    """Of plain processes with the same kernels; the result is checked."""
    outcome = run_keyed(WordCount, Input(data.text_file(lines), repeat))
    check(expected.difference(outcome.merged(), expected_counts(lines), repeat))
    return sum(expected_counts(lines).values()) * repeat / outcome.seconds


def runtime_words_per_s(repeat: int, lines: int, **settings: Any) -> float:
    """Of the job, ticks that fit the load and checkpoints each second unless said otherwise; the result is checked."""
    with scratch() as directory:
        sink = RecordingDiscard(directory)
        report = run(word_count(sink, lines, repeat=repeat), **settings)
        check(expected.difference(sink.last_values(), expected_counts(lines), repeat))
    return sum(expected_counts(lines).values()) * repeat / report.wall_s


@cache
def once_s(lines: int = LINES) -> float:
    """Seconds in which plain processes read the input once."""
    return sum(expected_counts(lines).values()) / limit_words_per_s(2, lines)


def _measure(effort: Effort) -> Sequence[Row]:
    lines = lines_for(effort)
    repeat = repeats(effort.timed_s, lambda: once_s(lines))
    value, limit = in_turns(
        effort.rounds, lambda: runtime_words_per_s(repeat, lines), lambda: limit_words_per_s(repeat, lines)
    )
    return [ratio_row("wordcount", value / 1e6, "M words/s", limit / 1e6, at_least=0.7)]


MEASUREMENT = Measurement("wordcount", "WordCount by the limit of its kernels", _measure)
