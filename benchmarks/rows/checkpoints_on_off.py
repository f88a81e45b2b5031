"""What checkpoints cost: WordCount with one each second against the same without any; 100 k keys."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.result import Effort, Measurement, Row, in_turns, ratio_row
from benchmarks.rows.wordcount import lines_for, once_s, runtime_words_per_s
from benchmarks.runtime import repeats


def _measure(effort: Effort) -> Sequence[Row]:
    lines = lines_for(effort)
    repeat = repeats(effort.timed_s, lambda: once_s(lines))
    value, without = in_turns(
        effort.rounds,
        lambda: runtime_words_per_s(repeat, lines, checkpoint="1s"),
        lambda: runtime_words_per_s(repeat, lines, checkpoint="off"),
    )
    return [ratio_row("checkpoints_on_off", value / 1e6, "M words/s", without / 1e6, at_least=0.95)]


MEASUREMENT = Measurement("checkpoints_on_off", "WordCount with checkpoints each second, by without", _measure)
