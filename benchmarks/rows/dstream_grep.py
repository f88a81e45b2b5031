"""Grep in intervals of a second: the lines that contain a rare word, written as JSON lines, against the limit."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import data
from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.rows import grep
from benchmarks.runtime import check, repeats, scratch
from benchmarks.streams import LINES, stream
from dstream import StreamingContext
from elastic import sinks, sources
from elastic.functions import contains


def _lines_per_s(repeat: int) -> float:
    with scratch() as directory:

        def build(context: StreamingContext) -> None:
            text = context.source(sources.text_files(data.text_file(LINES), repeat=repeat))
            text.filter(contains(data.rare_word())).save(sinks.json_lines(directory))

        report = stream(build).report
        written = sum(path.read_bytes().count(b"\n") for path in directory.glob("*.jsonl"))
        check(grep.difference(written, repeat))
    return LINES * repeat / report.wall_s


def _measure(effort: Effort) -> Sequence[Row]:
    repeat = repeats(effort.timed_s, lambda: LINES / grep.limit_lines_per_s(4))
    value, limit = in_turns(effort.rounds, lambda: _lines_per_s(repeat), lambda: grep.limit_lines_per_s(repeat))
    return [ratio_row("dstream_grep", value / 1e6, "M lines/s", limit / 1e6, at_least=0.7)]


MEASUREMENT = Measurement("dstream_grep", "lines with a rare word in intervals of 1 s, by the limit", _measure)
