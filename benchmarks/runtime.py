"""Running a job of a measurement: without a display, in a job directory that is gone afterwards."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from elastic import Query, Report
from elastic.dashboard.launch import launch
from elastic.plan import Settings
from elastic.scenario.models import Fault
from elastic.scenario.runner import Run

WORKERS = 4


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="elastic-bench-") as directory:
        yield Path(directory)


def run(query: Query, *, workers: int = WORKERS, **options: Any) -> Report:
    """``query.run``, to the end of its input.

    Raises:
        UserError: The job failed.
    """
    with scratch() as directory:
        report: Report = query.run(workers=workers, display=False, directory=directory / "job", **options)
        return report


def run_broken(
    query: Query, faults: tuple[Fault, ...], settings: Settings, *, workers: int = WORKERS, spares: int = 1
) -> Report:
    """The same with faults, and with spares.

    Raises:
        RuntimeError: The job did not end well.
    """
    with scratch() as directory:
        plan = Run(query.name, query, directory / "job", workers=workers, spares=spares, settings=settings)
        report = launch(replace(plan, faults=faults), display="none")
    if report.status != "done":
        raise RuntimeError(f"{query.name}: {report.status}: {report.error}")
    return report


def repeats(seconds: float, once: Callable[[], float]) -> int:
    """How often an input has to be read for a run of that length, if ``once`` is how long it takes to read it once."""
    return max(1, math.ceil(1.1 * seconds / once()))


def check(problem: str | None) -> None:
    """Return if there is no problem.

    Raises:
        RuntimeError: The result is wrong, so that its speed says nothing.
    """
    if problem:
        raise RuntimeError(f"the result is wrong: {problem}")
