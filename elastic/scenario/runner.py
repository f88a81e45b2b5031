"""One run from beginning to end: start the job, watch and break it, judge what it left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from elastic.callables import did_you_mean
from elastic.operators.failure import user_trace
from elastic.plan import Plan, Settings
from elastic.report import JobOutcome, Report, Verdict, report_of, usable_cores
from elastic.scenario.control import JobControl, StartJob, Watcher
from elastic.scenario.directory import claimed_directory
from elastic.scenario.expectations import check_expectations, judge
from elastic.scenario.faults import FaultPlan, check_faults
from elastic.scenario.interrupts import Interrupts
from elastic.scenario.job import Runs
from elastic.scenario.mistakes import FieldError
from elastic.scenario.models import DStream, Expect, Fault
from elastic.scenario.printing import Printer
from elastic.scenario.verify import JobResult, contents, unreadable, verdict_of_check, verdict_of_clean_run

POLL_S = 0.2
"""So often at least it is looked what a sink has printed; whatever else there is, is news that a poll returns with."""

WORKERS_PER_CORE = 4
"""More are warned of: each is a process with an interpreter of its own, of some 50 MiB."""

STOP_S = 1.6
"""Time that a stopped job gets before it is aborted: 1 s to drain and 0.6 s to commit. What is left of the two seconds
within which the command ends goes to ending processes and printing the summary."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is run, and what is made of it.

    Attributes:
        name: Of the scenario, or of the query.
        query: The job.
        directory: The job directory.
        parameters: Handed to ``check`` and ``show``.
        check: The job's own check of its result; called with a ``JobResult``.
        show: Called with a ``JobResult``; returns lines for the summary.
        verify: Hold the result against ``check`` or a clean run, whether or not ``expect`` asks for it.
        resume: Go on with the job that was stopped or killed in the directory; its faults have been.
    """

    name: str
    query: Runs
    directory: Path
    model: str = "elastic"
    workers: int = 4
    spares: int = 1
    settings: Settings = field(default_factory=Settings)
    dstream: DStream = field(default_factory=DStream)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    expect: Expect = field(default_factory=Expect)
    check: Callable[[JobResult], Any] | None = None
    show: Callable[[JobResult], Any] | None = None
    verify: bool = False
    resume: bool = False

    @property
    def compares(self) -> bool:
        """Whether the result is held against something."""
        wanted = (self.expect.result, self.expect.lost, self.expect.duplicated)
        return self.verify or self.check is not None or any(w is not None for w in wanted)


def prepare(run: Run) -> Plan:
    """The run's plan, everything that can be known to be wrong with it before it starts having been looked at.

    Raises:
        UserError: The model, the query, a source or a fault is not as it must be.
    """
    start = _starter(run)
    plan = run.query.plan(workers=run.workers, settings=run.settings)
    if run.model != "elastic":  # made, and not started: so a model refuses what it cannot run, and cuts it in its way
        job = start(plan, workers=run.workers, spares=run.spares, directory=run.directory, keep_log=False, resume=False)
        plan = job.plan
    check_faults(run.faults, plan)
    check_expectations(run.expect, plan)
    return plan


def execute(run: Run, plan: Plan, watcher: Watcher, start: StartJob | None = None) -> Report:
    """Run the job to its end, whatever that is, and leave no process behind.

    Args:
        run: What to run.
        plan: As ``prepare`` made it.
        watcher: Told of all progress.
        start: Makes the job; the execution model's own way if None.

    Raises:
        UserError: Nothing was run, for the reason given.
        KeyboardInterrupt: Interrupted after the job itself had ended, while its result was being checked.
    """
    for warning in warnings(run, plan):
        watcher.note(f"warning: {warning}")
    faults = FaultPlan(() if run.resume else run.faults)
    with claimed_directory(run.directory, resume=run.resume):
        job = (start or _starter(run))(
            plan,
            workers=run.workers,
            spares=run.spares,
            directory=run.directory,
            keep_log=run.compares and run.check is None,
            resume=run.resume,
        )
        with Interrupts(job.wake) as interrupts:
            try:
                job.start()
                _watch(job, faults, interrupts, watcher, Printer(job.plan, run.directory))
                outcome = job.outcome()
                if interrupts.count and outcome.status == "done":  # it ended by itself while it was being stopped
                    outcome = replace(outcome, status="interrupted")
                verdict, shown = _result(run, job, outcome, interrupts, watcher)
            finally:
                job.close()
    expect = run.expect
    if run.resume and not outcome.recoveries:  # its faults have been, and with them what was to be recovered from
        expect = expect.model_copy(update={"recovery": None, "recoveries": None})
    expectations = () if outcome.status == "interrupted" else judge(expect, outcome, verdict, faults.unfired)
    return report_of(
        outcome, scenario=run.name, model=run.model, verdict=verdict, expectations=expectations, shown=shown
    )


def warnings(run: Run, plan: Plan) -> Iterator[str]:
    """What the run cannot survive with the workers it has, when they are too many, and what it cannot verify.

    One sentence each.
    """
    if run.compares and run.check is None and (sealed := unreadable(plan)):
        yield f"the result cannot be verified, since {', '.join(sealed)} cannot be read back; give the job a check"
    if run.workers == 1 and run.spares == 0:
        yield "with one worker and no spare, its state and the backup of it are lost together; use at least two"
    elif run.spares == 0:
        yield "with no spare, the work of a worker that fails waits for a new process to start; use spares: 1"
    if run.workers > (most := WORKERS_PER_CORE * usable_cores()):
        yield f"{run.workers} workers on {usable_cores()} cores mostly wait for one another; use {most} at most"


def _watch(job: JobControl, faults: FaultPlan, interrupts: Interrupts, watcher: Watcher, printer: Printer) -> None:
    """Look on until the job has ended, letting faults fire, sinks print, and passing on the wish to stop."""
    abort_at: float | None = None
    while True:
        left_s = POLL_S if abort_at is None else abort_at - time.monotonic()
        progress = job.poll(max(0.0, min(POLL_S, left_s)))
        watcher.progress(progress)
        printer.print()
        if progress.finished:
            return
        if interrupts.count == 0:
            faults.fire(progress, job)
        elif abort_at is None:
            abort_at = time.monotonic() + STOP_S
            watcher.note("stopping: what is complete is being committed; Ctrl-C again ends at once")
            job.stop()
        if abort_at is not None and (interrupts.count > 1 or time.monotonic() >= abort_at):
            job.abort()
            printer.print()
            return


def _result(
    run: Run, job: JobControl, outcome: JobOutcome, interrupts: Interrupts, watcher: Watcher
) -> tuple[Verdict, Sequence[str]]:
    """How the result compares, and the job's own lines; neither runs user code after an interrupt."""
    if outcome.status != "done" or not (run.compares or run.show):
        return Verdict(), ()
    with interrupts.raising():
        verdict = Verdict()
        result = JobResult(run.parameters, contents(job.plan, run.directory), run.directory, outcome)
        if run.compares:
            watcher.note("verifying the result")
            if run.check is not None:
                verdict = verdict_of_check(run.check, result)
            else:
                verdict = verdict_of_clean_run(job.plan, run.directory, job.log_directory)
        return verdict, _shown(run, result)


def _shown(run: Run, result: JobResult) -> list[str]:
    """The job's own lines; an error in making them is shown in their place, since the job itself is done."""
    if run.show is None:
        return []
    try:
        return [str(line) for line in run.show(result)]
    except Exception as error:  # noqa: BLE001 (user code raises what it likes)
        return ["the job's own summary raised:", *user_trace(error).splitlines()]


def _starter(run: Run) -> StartJob:
    """How the run's model starts jobs; other models than ``elastic`` are entry points of the group ``elastic.jobs``.

    Raises:
        FieldError: There is no such model.
    """
    if run.model == "elastic":
        return _start_elastic
    points = {point.name: point for point in entry_points(group="elastic.jobs")}
    if run.model not in points:
        known = ["elastic", *sorted(points)]
        hint = did_you_mean(run.model, known)
        raise FieldError(("model",), f'there is no execution model "{run.model}"{hint} Write {" or ".join(known)}')
    return partial(points[run.model].load(), settings=run.dstream)


def _start_elastic(
    plan: Plan, *, workers: int, spares: int, directory: Path, keep_log: bool, resume: bool
) -> JobControl:
    from elastic.cluster.job import LocalJob

    return LocalJob(plan, workers=workers, spares=spares, directory=directory, keep_log=keep_log, resume=resume)
