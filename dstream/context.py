"""Where a program begins: its settings, its sources, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dstream.attended import AttendedJob
from dstream.graph import StreamGraph
from dstream.history import JobWorkers
from dstream.inputs import Inputs
from dstream.listeners import StreamingListener
from dstream.model import TASKS_PER_WORKER, interval_ticks, with_whole_ticks
from dstream.outputs import Callbacks
from dstream.plan import StreamPlan
from dstream.rdd import RDD, lines_of, parallelize
from dstream.running import Running
from dstream.streams.spelling import Spelling
from dstream.streams.windows import whole_intervals
from elastic.callables import add_query_room, caller, refuse_while_imported, shortened
from elastic.dashboard.launch import checked, launch, reported
from elastic.errors import QueryError
from elastic.plan import Plan, Settings
from elastic.report import Report
from elastic.scenario.assemble import job_directory
from elastic.scenario.models import ELASTIC_ALONE
from elastic.scenario.runner import Run
from elastic.surface import surface
from elastic.units import parse_duration_s

add_query_room(__file__)


@surface
class StreamingContext(Inputs):
    """One program over streams that are cut into intervals, and the job that runs it.

    Attributes:
        model: Execution model, whatever a scenario says.

    Args:
        interval: Length of an interval: a whole number of ticks of 10 ms.
        workers: Processes that share the work.
        spares: Processes that stand by to replace one that dies.
        name: Of the job, and of its directory ``.elastic/NAME``.
        directory: The job directory, if it is to be another.
        checkpoint: After every so many intervals a version of state is kept, on other workers and in the job directory.
        tasks: Tasks of a stage by key in each interval; 3 for each worker if None.
        retries: How often a task is tried again after user code has raised in it.
        keep_going: If it still raises, only the outputs that need the task fail; the job fails at its end.
        memory: Limit per worker that blocks in memory and unprocessed input keep to.
        settings: Those of a scenario's ``elastic`` section that are about ticks, keys, liveness, disk and copies.

    Raises:
        QueryError: A setting is wrong, or is one of the elastic model alone.
    """

    model = "dstream"

    def __init__(
        self, interval: str = "1s", *, workers: int = 4, spares: int = 1, name: str = "stream",
        directory: str | Path | None = None, checkpoint: int = 10, tasks: int | None = None, retries: int = 2,
        keep_going: bool = False, memory: str = "512MiB", **settings: Any,
    ) -> None:  # fmt: skip
        if idle := sorted((ELASTIC_ALONE | {"on_error"}) & settings.keys()):
            raise QueryError(f"{caller()}: StreamingContext({idle[0]}=…): it has no meaning for DStreams; leave it out")
        cluster = {"workers": workers, "spares": spares, "memory": memory}
        section = {
            "interval": interval, "checkpoint": checkpoint, "tasks": tasks, "retries": retries,
            "keep_going": keep_going,
        }  # fmt: skip
        try:
            given = checked(cluster, settings, section, ("name", "directory"))
            self._cluster, self._section = given.cluster, given.dstream
            self._settings: Settings = given.elastic.settings(given.cluster.memory)
            self._ticks = interval_ticks(self._section.interval, self._settings.tick_ms)
        except QueryError as error:
            raise QueryError(f"{caller()}: {str(error).replace('run(', 'StreamingContext(', 1)}") from None
        self._directory = job_directory(name, None if directory is None else Path(directory))
        self.graph = StreamGraph(name)
        self._workers = JobWorkers(self._cluster.workers, self._settings, self._section.retries)
        self.outputs: Callbacks = Callbacks(self._workers)
        self._running: Running | None = None

    def __repr__(self) -> str:
        return f"<StreamingContext {self.graph.name!r}: every {self.interval_ms}ms>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Elsewhere, ()

    @property
    def name(self) -> str:
        """Name of the job."""
        return self.graph.name

    @property
    def interval_ms(self) -> int:
        """Length of an interval, milliseconds."""
        return int(self._section.interval)

    @property
    def key_groups(self) -> int:
        """Units in which key space is cut."""
        return self._settings.key_groups

    # -- settings ------------------------------------------------------------------------------------------------------

    def checkpoint(self, directory: str | Path) -> None:
        """The job directory is this one: there state is checkpointed, and everything else of the job is too.

        Raises:
            QueryError: The program runs already.
        """
        self.graph.refuse_started("checkpoint")
        self._directory = job_directory(self.name, Path(directory))

    def remember(self, time: str) -> None:
        """Rows that reach this process can be used for so long: those given to ``foreach_rdd``, and for ``slice``.

        Raises:
            QueryError: It is no whole number of intervals, or the program runs already.
        """
        self.graph.refuse_started("remember")
        self.outputs.keep_ms = whole_intervals("remember", "time", time, self.interval_ms) * self.interval_ms

    def add_listener(self, listener: StreamingListener) -> None:
        """Has the listener told of intervals, outputs and receivers, in this process.

        Raises:
            QueryError: It is no listener, or the program runs already.
        """
        self.graph.refuse_started("add_listener")
        if not isinstance(listener, StreamingListener):
            raise QueryError(f"{caller()}: add_listener() takes a dstream.StreamingListener, not {shortened(listener)}")
        self.outputs.listeners.append(listener)

    def on_interval(self, function: Callable[[Mapping[str, Any]], Any]) -> None:
        """Calls the function in this process with the figures of every interval that is complete, in order.

        They are those of a line of ``intervals.jsonl``.
        """
        self.outputs.on_interval.append(function)

    # -- running -------------------------------------------------------------------------------------------------------

    def plan(self, *, workers: int | None = None, settings: Settings | None = None, batch: bool = False) -> StreamPlan:
        """The program as stages; sources look at their input.

        Raises:
            QueryError: The program is incomplete; or it has functions to call, and is not run by this object.
            SourceError: There is nothing to read.
        """
        if settings is not None and self.outputs.any:
            raise QueryError(
                f"job {self.name!r} calls functions in the process that started it (foreach_rdd, remember, listeners); "
                "run it from a script, with context.run() or context.start()"
            )
        count = self._cluster.workers if workers is None else workers
        plan = self.graph.plan(
            count, with_whole_ticks(self._settings, self._ticks), interval_ticks=self._ticks,
            checkpoint_intervals=self._section.checkpoint, tasks=self._section.tasks or TASKS_PER_WORKER * count,
            retries=self._section.retries, keep_going=self._section.keep_going, batch=batch,
        )  # fmt: skip
        return replace(plan, heard=bool(self.outputs.listeners))

    def run(self, *, display: bool = True, verify: bool = False, batch: bool = False, resume: bool = False) -> Report:
        """Run the program until its input ends, and return the report. Blocks.

        Args:
            display: Show progress while it runs and a summary at the end.
            verify: Hold the result against a run over the same input log in one process, without failures.
            batch: All input is one interval: the same program over history.
            resume: Go on with the job that was stopped or killed in the job directory.

        Raises:
            QueryError: The program is incomplete, or has been started before.
            UserError: There is nothing to resume, or its state does not fit the program.
            JobFailedError: The job failed; what it committed stays.
            KeyboardInterrupt: Ctrl-C or SIGTERM; what was complete is committed.
            Exception: What a function of ``foreach_rdd`` raised.
        """
        self._begin("run")
        run = Run(
            name=self.name, query=_Program(self, batch=batch), directory=self._directory, model="dstream",
            workers=self._cluster.workers, spares=self._cluster.spares, settings=self._settings, verify=verify,
            resume=resume,
        )  # fmt: skip
        start = self._attended if self.outputs.any else None
        return reported(launch(run, display="auto" if display else "none", start=start))

    def start(self, *, batch: bool = False, resume: bool = False) -> None:
        """The program runs from now on, in processes of its own; returns at once.

        Args:
            batch: All input is one interval.
            resume: Go on with the job that was stopped or killed in the job directory.

        Raises:
            QueryError: It is incomplete, or has been started before.
            UserError: A source or sink cannot be used, another job runs in the directory, or none can be resumed.
        """
        plan = self.plan(batch=batch)
        self._begin("start")
        cluster = self._cluster
        self._running = Running(
            lambda: self._attended(
                plan, workers=cluster.workers, spares=cluster.spares, directory=self._directory, keep_log=False,
                resume=resume,
            ),
            self._directory,
            resume=resume,
        )  # fmt: skip

    def await_termination(self, timeout: str | float | None = None) -> bool:
        """Wait until the job has ended; whether it has.

        Args:
            timeout: How long to wait at most: such as ``"30s"``, or seconds. As long as it takes if None.

        Raises:
            JobFailedError: It failed; what it committed stays.
            KeyboardInterrupt: Ctrl-C, while it waited: the job is stopped first, and what had been read is committed.
            Exception: What a function of ``foreach_rdd`` raised.
        """
        timeout_s = parse_duration_s(timeout) if isinstance(timeout, str) else timeout
        return self._started("await_termination").wait(timeout_s)

    def stop(self, *, graceful: bool = True) -> None:
        """The job ends. Blocks until it has.

        Args:
            graceful: What was read by now is processed and committed, and functions are called with it. Else all
                processes are ended at once: what was committed stays, and nothing else.
        """
        self._started("stop").stop(graceful=graceful)

    def _started(self, call: str) -> Running:
        if self._running is None:
            raise QueryError(f"{caller()}: {call}() before start()")
        return self._running

    def _begin(self, call: str) -> None:
        refuse_while_imported(call)
        if self.graph.frozen:
            raise QueryError(f"{caller()}: {self.name!r} was started before; a context runs once, make a new one")
        self.graph.check()
        self.graph.frozen = True

    def _attended(
        self, plan: Plan, *, workers: int, spares: int, directory: Path, keep_log: bool, resume: bool = False
    ) -> AttendedJob:
        assert isinstance(plan, StreamPlan)
        return AttendedJob(
            plan, self.outputs, workers=workers, spares=spares, directory=directory, keep_log=keep_log, resume=resume
        )


class Elsewhere(Spelling):
    """What functions have of a context in another process: RDDs that are computed there."""

    def parallelize(self, rows: Iterable[Any], partitions: int | None = None) -> RDD:
        """The RDD of rows in memory."""
        return parallelize(rows, partitions=partitions)

    def text_file(self, paths: Any) -> RDD:
        """The RDD of the lines of text files."""
        return lines_of(paths)


class _Program:
    """A context where a query is expected: what has a name and gives a plan."""

    def __init__(self, context: StreamingContext, *, batch: bool) -> None:
        self._context, self._batch = context, batch

    @property
    def name(self) -> str:
        """Name of the job."""
        return self._context.name

    def plan(self, *, workers: int, settings: Settings) -> Plan:
        """The program as stages."""
        return self._context.plan(workers=workers, batch=self._batch)
