"""A run with somebody looking on: what ``Query.run`` and ``elastic run`` do."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from elastic.callables import did_you_mean
from elastic.connectors.stdout import StdoutSink
from elastic.dashboard.lines import LineProgress, NoProgress
from elastic.errors import JobFailedError, NondeterminismError, QueryError, StateLostError
from elastic.query import Query
from elastic.report import Failure, JobOutcome, Report
from elastic.scenario.assemble import Overrides, run_of_query
from elastic.scenario.control import StartJob, Watcher
from elastic.scenario.models import DStream, Elastic, Scenario
from elastic.scenario.runner import Run, execute, prepare
from elastic.scenario.wording import problem

Display: TypeAlias = Literal["auto", "lines", "none"]

FAILURES: Mapping[Failure | None, type[JobFailedError]] = {
    "state_lost": StateLostError,
    "nondeterminism": NondeterminismError,
}
"""What ``Query.run`` raises for a failure that has a name."""


def run_query(
    query: Query,
    *,
    workers: int = 4,
    spares: int = 1,
    memory: str = "512MiB",
    directory: str | Path | None = None,
    display: bool = True,
    verify: bool = False,
    resume: bool = False,
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
        resume: Go on with the job that was stopped or killed in the directory.
        settings: As in a scenario's ``elastic`` section: ``tick="10ms"``, ``checkpoint="1s"``, ``key_groups=256`` …

    Raises:
        QueryError: A mistake in the query or in an argument.
        JobFailedError: The job failed; what it committed stays.
        StateLostError: The kind of it for state of which every copy is gone.
        NondeterminismError: The kind of it for a replay that gave other rows than the first time.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was complete is committed.
    """
    cluster = {"workers": workers, "spares": spares, "memory": memory}
    run = run_with(query, cluster, settings, {}, directory=directory, verify=verify, resume=resume)
    return reported(launch(run, display="auto" if display else "none"))


def run_with(
    query: Query, cluster: Mapping[str, Any], elastic: Mapping[str, Any], dstream: Mapping[str, Any],
    *, directory: str | Path | None, verify: bool, resume: bool = False,
) -> Run:  # fmt: skip
    """A run of a query, its settings written as in a scenario's sections.

    Raises:
        QueryError: One of them is wrong.
    """
    found = checked(cluster, elastic, dstream, ("directory", "display", "verify", "resume"))
    where = None if directory is None else Path(directory)
    overrides = Overrides(found.cluster.workers, found.cluster.spares, where, verify=verify, resume=resume)
    run = run_of_query(query, overrides, settings=found.elastic.settings(found.cluster.memory))
    return replace(run, dstream=found.dstream)


def failure(of: Report | JobOutcome) -> JobFailedError:
    """The error of a job that has failed; its kind says how, where there is a name for it."""
    return FAILURES.get(of.failure, JobFailedError)(of.error or "the job failed")


def reported(report: Report) -> Report:
    """The report of a run that is done.

    Raises:
        JobFailedError: It failed; the kind of the error says how, where there is a name for it.
        KeyboardInterrupt: It was interrupted.
    """
    if report.status == "failed":
        raise failure(report)
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
    redraws = sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    if display == "lines" or not redraws:
        return LineProgress(sys.stderr, name)
    from elastic.dashboard.live import LiveProgress

    return LiveProgress(sys.stderr, name)


def checked(
    cluster: Mapping[str, Any], settings: Mapping[str, Any], dstream: Mapping[str, Any], others: Sequence[str]
) -> Scenario:
    """The arguments as the sections of a scenario that they are.

    Args:
        cluster: What was given for that section.
        settings: The same for ``elastic``; only here may be names that there are not.
        dstream: The same for ``dstream``; empty under another model.
        others: Names of the call's arguments that are in none of them.

    Raises:
        QueryError: One of them is wrong; in the words in which a scenario's mistake is told.
    """
    try:
        return Scenario.model_validate(
            {"name": "run", "job": "run", "cluster": dict(cluster), "elastic": dict(settings), "dstream": dict(dstream)}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = first["loc"][:2]
        said = problem(first, location)
        if first["type"] == "extra_forbidden":  # who writes a call knows of no sections
            known = list(dict.fromkeys((*cluster, *others, *dstream, *Elastic.model_fields)))
            other = location[-1] in DStream.model_fields
            hint = '; it is one of model="dstream".' if other else did_you_mean(str(location[-1]), known)
            said = f"there is no such argument{hint} There are: {', '.join(known)}"
        raise QueryError(f"run({location[-1]}={first['input']!r}): {said}") from None
