"""WordCount in intervals of a second, with running counts of 100 k words, against the limit."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import expected
from benchmarks.recording import RecordingDiscard
from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.rows.wordcount import expected_counts, limit_words_per_s, once_s
from benchmarks.runtime import check, repeats, scratch
from benchmarks.streams import stream, word_count


def _words_per_s(repeat: int) -> float:
    with scratch() as directory:
        sink = RecordingDiscard(directory)
        outcome = stream(lambda context: word_count(context, sink, repeat=repeat))
        check(expected.difference(sink.last_values(), expected_counts(), repeat))
    return sum(expected_counts().values()) * repeat / outcome.report.wall_s


def _measure(effort: Effort) -> Sequence[Row]:
    repeat = repeats(effort.timed_s, once_s)
    value, limit = in_turns(effort.rounds, lambda: _words_per_s(repeat), lambda: limit_words_per_s(repeat))
    return [ratio_row("dstream_wordcount", value / 1e6, "M words/s", limit / 1e6, at_least=0.7)]


MEASUREMENT = Measurement("dstream_wordcount", "running WordCount in intervals of 1 s, by the limit", _measure)
