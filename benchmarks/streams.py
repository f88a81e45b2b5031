"""Running programs over DStreams: to the end of their input, with or without faults, and what each interval took."""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.runtime import WORKERS, scratch
from dstream import StreamingContext
from dstream.job import INTERVALS
from elastic import Report, sources
from elastic.connectors.base import Sink
from elastic.functions import split

LINES = 2_500_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that ended well.

    Attributes:
        intervals: What is told of each in ``intervals.jsonl``, in order.
    """

    report: Report
    intervals: Sequence[dict[str, Any]]

    def full(self, skip: int = 2) -> list[dict[str, Any]]:
        """Intervals with rows, without the first few and the last, which may be cut short."""
        return [told for told in self.intervals if told["records"]][skip:-1]

    def median_ms(self, figure: str = "processing_ms", skip: int = 2) -> float:
        """The median of a figure over full intervals."""
        return float(statistics.median(told[figure] for told in self.full(skip)))


def stream(build: Callable[[StreamingContext], Any], interval: str = "1s", **options: Any) -> Outcome:
    """Run a program to the end of its input.

    Raises:
        UserError: It failed.
    """
    with scratch() as directory:
        context = StreamingContext(interval, workers=WORKERS, directory=directory / "job", **options)
        build(context)
        report = context.run(display=False)
        return Outcome(report, _intervals(directory / "job"))


def _intervals(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / INTERVALS).read_text().splitlines()]


def word_count(context: StreamingContext, sink: Sink, *, repeat: int = 1, rate: str | None = None) -> None:
    """Running counts of words; the input is ``LINES`` lines of 100 bytes, ``repeat`` times over."""
    text = context.source(sources.text_files(data.text_file(LINES), repeat=repeat, rate=rate))
    text.flat_map(split()).count_by_value().running_reduce(operator.add, name="count").save(sink)
