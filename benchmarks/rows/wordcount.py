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

LINES = 2_500_000


def word_count(sink: Sink, *, repeat: int = 1, rate: str | None = None, emit: str = "1s") -> Query:
    """The job; its input is ``LINES`` lines of 100 bytes, ``repeat`` times over."""
    query = Query("word-count")
    text = sources.text_files(data.text_file(LINES), repeat=repeat, rate=rate)
    query.source(text).flat_map(split()).key_by().count(emit=emit).sink(sink)
    return query


@cache
def expected_counts() -> dict[str, int]:
    """What one pass over the input must give."""
    return expected.word_counts(data.text_file(LINES))


def limit_words_per_s(repeat: int) -> float:
    """Of plain processes with the same kernels; the result is checked."""
    outcome = run_keyed(WordCount, Input(data.text_file(LINES), repeat))
    check(expected.difference(outcome.merged(), expected_counts(), repeat))
    return sum(expected_counts().values()) * repeat / outcome.seconds


def runtime_words_per_s(repeat: int, **settings: Any) -> float:
    """Of the job, ticks that fit the load and checkpoints each second unless said otherwise; the result is checked."""
    with scratch() as directory:
        sink = RecordingDiscard(directory)
        report = run(word_count(sink, repeat=repeat), **settings)
        check(expected.difference(sink.last_values(), expected_counts(), repeat))
    return sum(expected_counts().values()) * repeat / report.wall_s


def once_s() -> float:
    """Seconds in which plain processes read the input once."""
    return sum(expected_counts().values()) / limit_words_per_s(2)


def _measure(effort: Effort) -> Sequence[Row]:
    repeat = repeats(effort.timed_s, once_s)
    value, limit = in_turns(effort.rounds, lambda: runtime_words_per_s(repeat), lambda: limit_words_per_s(repeat))
    return [ratio_row("wordcount", value / 1e6, "M words/s", limit / 1e6, at_least=0.7)]


MEASUREMENT = Measurement("wordcount", "WordCount by the limit of its kernels", _measure)
