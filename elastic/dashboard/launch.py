"""A run with somebody looking on: what ``Query.run`` and ``elastic run`` do."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from elastic.connectors.stdout import StdoutSink
from elastic.dashboard.lines import LineProgress, NoProgress
from elastic.errors import JobFailedError, QueryError
from elastic.query import Query
from elastic.report import Report
from elastic.scenario.assemble import Overrides, run_of_query
from elastic.scenario.control import StartJob, Watcher
from elastic.scenario.models import Cluster, Elastic
from elastic.scenario.runner import Run, execute, prepare

Display: TypeAlias = Literal["auto", "lines", "none"]


def run_query(
    query: Query,
    *,
    workers: int = 4,
    spares: int = 1,
    memory: str = "512MiB",
    directory: str | Path | None = None,
    display: bool = True,
    verify: bool = False,
    **settings: Any,
) -> Report:
    """Run a query to the end of its input and return the report. Blocks; an entry point of ``elastic.models``.

    Args:
        query: What runs.
        workers: Processes that share the work.
        spares: Processes that stand by to replace one that dies.
        memory: Limit per worker that credit and buffers keep to.
        directory: The job directory; ``.elastic/NAME`` if None.
        display: Show progress while it runs and a summary at the end.
        verify: Hold the result against a clean run over the same input.
        settings: As in a scenario's ``elastic`` section: ``tick="10ms"``, ``checkpoint="1s"``, ``key_groups=256`` …

    Raises:
        QueryError: A mistake in the query or in an argument.
        JobFailedError: The job failed; what it committed stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was complete is committed.
    """
    try:
        cluster = Cluster.model_validate({"workers": workers, "spares": spares, "memory": memory})
        section = Elastic.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise QueryError(f"run({first['loc'][0]}={first['input']!r}): {_said(first)}") from None
    where = None if directory is None else Path(directory)
    overrides = Overrides(cluster.workers, cluster.spares, where, verify=verify)
    run = run_of_query(query, overrides, settings=section.settings(cluster.memory))
    report = launch(run, display="auto" if display else "none")
    if report.status == "failed":
        raise JobFailedError(report.error or "the job failed")
    if report.status == "interrupted":
        raise KeyboardInterrupt
    return report


def launch(run: Run, *, display: Display = "auto", start: StartJob | None = None) -> Report:
    """Execute a run, with its progress on stderr and its summary on stdout.

    Where the job itself prints rows to stdout, the summary goes to stderr too, and progress is shown in lines: stdout
    then holds rows and nothing else.

    Args:
        run: What to run.
        display: ``auto`` draws a screen where stderr is a terminal and writes lines where it is not.
        start: Makes the job; the execution model's own way if None.

    Raises:
        UserError: Nothing was run, for the reason given.
    """
    plan = prepare(run)
    prints = any(o.kind == "sink" and isinstance(o.logic, StdoutSink) for o in plan.operators.values())
    with contextlib.closing(_watcher(run.name, "lines" if prints and display == "auto" else display)) as watcher:
        report = execute(run, plan, watcher, start)
    if display != "none":
        from elastic.dashboard.summary import print_summary

        print_summary(report, sys.stderr if prints else sys.stdout)
    return report


def _watcher(name: str, display: Display) -> Watcher:
    if display == "none":
        return NoProgress()
    if display == "lines" or not sys.stderr.isatty():
        return LineProgress(sys.stderr, name)
    from elastic.dashboard.live import LiveProgress

    return LiveProgress(sys.stderr, name)


def _said(error: Any) -> str:
    """The problem in our words where they are ours, in pydantic's where not."""
    if error["type"] == "extra_forbidden":
        known = ["workers", "spares", "memory", "directory", "display", "verify", *Elastic.model_fields]
        return f"there is no such argument; there are {', '.join(known)}"
    context = error.get("ctx", {})
    return str(context.get("error", error["msg"]))
