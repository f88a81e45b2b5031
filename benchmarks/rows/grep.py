"""Grep against the limit: the lines that contain a rare word, written as JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from benchmarks import data, expected
from benchmarks.kernels import lines_with
from benchmarks.limit import Input, run_filter
from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.rows.wordcount import LINES, lines_for
from benchmarks.runtime import check, repeats, run, scratch
from elastic import Query, sinks, sources
from elastic.functions import contains


@cache
def _matches(lines: int) -> int:
    return expected.matching_lines(data.text_file(lines), data.rare_word())


def limit_lines_per_s(repeat: int, lines: int = LINES) -> float:
    """Of plain processes with the same kernels; the result is checked."""
    word = data.rare_word()
    outcome = run_filter(lambda: lines_with(word), Input(data.text_file(lines), repeat))
    check(difference(sum(outcome.results), repeat, lines))
    return lines * repeat / outcome.seconds


def _runtime(repeat: int, lines: int) -> float:
    with scratch() as directory:
        query = Query("grep")
        text = sources.text_files(data.text_file(lines), repeat=repeat)
        query.source(text).filter(contains(data.rare_word())).sink(sinks.json_lines(directory))
        report = run(query)
        written = sum(path.read_bytes().count(b"\n") for path in directory.glob("*.jsonl"))
        check(difference(written, repeat, lines))
    return lines * repeat / report.wall_s


def difference(written: int, repeat: int, lines: int = LINES) -> str | None:
    """How so many lines differ from what they should be, as a sentence; None if they do not."""
    wanted = _matches(lines) * repeat
    return None if written == wanted else f"{written} lines were written, expected {wanted}"


def _measure(effort: Effort) -> Sequence[Row]:
    lines = lines_for(effort)
    repeat = repeats(effort.timed_s, lambda: lines / limit_lines_per_s(4, lines))
    value, limit = in_turns(effort.rounds, lambda: _runtime(repeat, lines), lambda: limit_lines_per_s(repeat, lines))
    return [ratio_row("grep", value / 1e6, "M lines/s", limit / 1e6, at_least=0.7)]


MEASUREMENT = Measurement("grep", "lines with a rare word to JSON lines, by the limit of its kernels", _measure)
