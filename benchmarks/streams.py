"""Running programs over DStreams: to the end of their input, with or without faults, and what each interval took."""

from __future__ import annotations

import json
import operator
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.runtime import WORKERS, scratch
from dstream import StreamingContext
from dstream.interval_file import INTERVALS
from elastic import Report, sinks, sources
from elastic.connectors.base import Sink
from elastic.dashboard.launch import launch
from elastic.functions import split
from elastic.plan import Settings
from elastic.scenario.models import Fault
from elastic.scenario.runner import Run

LINES = 2_500_000

Build = Callable[[StreamingContext], Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that ended well.

    Attributes:
        intervals: What is told of each in ``intervals.jsonl``, in order.
    """

    report: Report
    intervals: Sequence[dict[str, Any]]

    def figures(self, name: str, since: int = 3) -> list[float]:
        """A figure of all intervals that have rows, from the given one on; without the last, which is cut short."""
        found = [float(told[name]) for told in self.intervals if told["records"] and told["interval"] >= since]
        return found[:-1]


@contextmanager
def job(build: Build, interval: str = "1s", **options: Any) -> Iterator[tuple[StreamingContext, Path]]:
    """A program that has not been started, and its job directory, which is gone afterwards."""
    with scratch() as directory:
        context = StreamingContext(interval, workers=WORKERS, directory=directory / "job", **options)
        build(context)
        yield context, directory / "job"


def stream(build: Build, interval: str = "1s", *, verify: bool = False, **options: Any) -> Outcome:
    """Run a program to the end of its input.

    Args:
        build: Adds everything to a context.
        interval: Of the context.
        verify: Hold the result against a run in one process.
        options: Of the context.

    Raises:
        UserError: It failed.
        RuntimeError: Its result is wrong.
    """
    with job(build, interval, **options) as (context, directory):
        report = context.run(display=False, verify=verify)
        if verify and report.status != "done":
            raise RuntimeError(f"the result is wrong: {report.error}")
        return Outcome(report, intervals(directory))


def broken(build: Build, faults: tuple[Fault, ...], interval: str = "1s", **options: Any) -> Outcome:
    """The same with faults.

    Raises:
        RuntimeError: The job did not end well.
    """
    with job(build, interval, **options) as (context, directory):
        run = Run(
            context.name, context, directory, model="dstream", workers=WORKERS, spares=1, settings=Settings(),
            faults=faults,
        )  # fmt: skip
        report = launch(run, display="none")
        if report.status != "done":
            raise RuntimeError(f"{context.name}: {report.status}: {report.error}")
        return Outcome(report, intervals(directory))


def intervals(directory: Path) -> list[dict[str, Any]]:
    """What is told of every interval that was complete by now."""
    *whole, _ = (directory / INTERVALS).read_text().split("\n")
    return [json.loads(line) for line in whole]


def word_count(context: StreamingContext, sink: Sink, *, repeat: int = 1, rate: str | None = None) -> None:
    """Running counts of words; the input is ``LINES`` lines of 100 bytes, ``repeat`` times over."""
    text = context.source(sources.text_files(data.text_file(LINES), repeat=repeat, rate=rate))
    text.flat_map(split()).count_by_value().running_reduce(operator.add, name="count").save(sink)


def maximum_lines_per_s(seconds: float) -> float:
    """As fast as WordCount in intervals of a second goes, over about so many seconds."""
    repeat = 4
    once = stream(lambda context: word_count(context, sinks.discard(), repeat=repeat)).report
    if once.wall_s > seconds:
        return once.records_per_s
    repeat = max(1, round(repeat * seconds / once.wall_s))
    return stream(lambda context: word_count(context, sinks.discard(), repeat=repeat)).report.records_per_s


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
