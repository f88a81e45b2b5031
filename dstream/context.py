"""Where a program begins: its settings, its sources, and how it is run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dstream.graph import StreamGraph
from dstream.job import INTERVALS, StreamJob
from dstream.model import TASKS_PER_WORKER, interval_ticks, with_whole_ticks
from dstream.outputs import Callbacks
from dstream.plan import StreamPlan
from dstream.rdd import RDD, Batch, parallelize, rdd_of
from dstream.stream import DStream
from dstream.streams.stages import source_at
from elastic.callables import add_query_room, caller, check_shippable, shortened
from elastic.connectors import sources
from elastic.connectors.base import Source
from elastic.dashboard.launch import checked, launch, reported
from elastic.errors import JobFailedError, QueryError
from elastic.plan import Plan, Settings
from elastic.report import JobOutcome, Report, report_of
from elastic.scenario.assemble import job_directory
from elastic.scenario.directory import claimed_directory
from elastic.scenario.runner import Run
from elastic.scenario.verify import context_of

add_query_room(__file__)

POLL_S = 0.05
STOP_S = 5.0
"""A job that is stopped gets so long to commit what is complete; then it is ended."""


class StreamingContext:
    """One program over streams that are cut into intervals, and the job that runs it.

    Attributes:
        model: Execution model, whatever a scenario says.

    Args:
        interval: Length of an interval: a whole number of ticks of 10 ms.
        workers: Processes that share the work.
        spares: Processes that stand by to replace one that dies.
        name: Of the job, and of its directory ``.elastic/NAME``.
        directory: The job directory, if it is to be another.
        checkpoint: State is written to the job directory after every so many intervals.
        tasks: Tasks of a stage by key in each interval; 3 for each worker if None.
        retries: How often a task is tried again after user code has raised in it.
        memory: Limit per worker that blocks in memory and unprocessed input keep to.
        settings: Those of a scenario's ``elastic`` section that are about ticks, keys and liveness.

    Raises:
        QueryError: A setting is wrong.
    """

    model = "dstream"

    def __init__(
        self, interval: str = "1s", *, workers: int = 4, spares: int = 1, name: str = "stream",
        directory: str | Path | None = None, checkpoint: int = 10, tasks: int | None = None, retries: int = 2,
        memory: str = "512MiB", **settings: Any,
    ) -> None:  # fmt: skip
        cluster = {"workers": workers, "spares": spares, "memory": memory}
        section = {"interval": interval, "checkpoint": checkpoint, "tasks": tasks, "retries": retries}
        given = checked(cluster, settings, section)
        self._cluster, self._section = given.cluster, given.dstream
        self._settings: Settings = given.elastic.settings(given.cluster.memory)
        self._ticks = interval_ticks(self._section.interval, self._settings.tick_ms)
        self._directory = job_directory(name, None if directory is None else Path(directory))
        self.graph = StreamGraph(name)
        self.outputs: Callbacks = Callbacks()
        self._history = Batch()
        self._job: StreamJob | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._outcome: JobOutcome | None = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<StreamingContext {self.graph.name!r}: every {self.interval_ms}ms>"

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

    # -- sources -------------------------------------------------------------------------------------------------------

    def source(self, source: Source, *, name: str | None = None) -> DStream:
        """The stream of a source's records: each in the interval in which it is read.

        Raises:
            QueryError: Not a source, the name is taken, or the program runs already.
        """
        if not isinstance(source, Source):
            raise QueryError(
                f"{caller()}: source() takes one of elastic.sources, such as sources.text_files('logs/*.txt'), "
                f"not {shortened(source)}"
            )
        check_shippable(f"source {source.name!r}", source)
        return DStream(self, source_at(self, source, source.name, given=name))

    def text_files(self, paths: Any, **options: Any) -> DStream:
        """The lines of text files, as ``sources.text_files`` gives them."""
        return self.source(sources.text_files(paths, **options))

    def text_file_stream(self, directory: str | Path) -> DStream:
        """The lines of all files in a directory, of those that come later, and of what is appended. Has no end."""
        return self.source(sources.text_files(str(Path(directory) / "*"), follow=True))

    def socket_text_stream(self, host: str, port: int) -> DStream:
        """The lines that a TCP server sends."""
        return self.source(sources.tcp_lines(host, port))

    # -- datasets that are all there -----------------------------------------------------------------------------------

    def parallelize(self, rows: Iterable[Any]) -> RDD:
        """The RDD of rows in memory."""
        return parallelize(rows, self._history)

    def text_file(self, paths: Any) -> RDD:
        """The RDD of the lines of text files, read when an action needs them."""
        return rdd_of(sources.text_files(paths), self._history)

    # -- running -------------------------------------------------------------------------------------------------------

    def plan(self, *, workers: int | None = None, settings: Settings | None = None, batch: bool = False) -> StreamPlan:
        """The program as stages; sources look at their input.

        Raises:
            QueryError: The program is incomplete.
            SourceError: There is nothing to read.
        """
        count = self._cluster.workers if workers is None else workers
        return self.graph.plan(
            count, with_whole_ticks(self._settings, self._ticks), interval_ticks=self._ticks,
            checkpoint_intervals=self._section.checkpoint, tasks=self._section.tasks or TASKS_PER_WORKER * count,
            retries=self._section.retries, batch=batch,
        )  # fmt: skip

    def run(self, *, display: bool = True, verify: bool = False, batch: bool = False) -> Report:
        """Run the program until its input ends, and return the report. Blocks.

        Args:
            display: Show progress while it runs and a summary at the end.
            verify: Hold the result against a run over the same input log in one process, without failures.
            batch: All input is one interval: the same program over history.

        Raises:
            QueryError: The program is incomplete, or has been started before.
            JobFailedError: The job failed; what it committed stays.
            KeyboardInterrupt: Ctrl-C or SIGTERM; what was complete is committed.
        """
        if self.outputs.all or self.outputs.on_interval:
            self.start(batch=batch)
            self.await_termination()
            assert self._outcome is not None
            return report_of(self._outcome, scenario=self.name, model="dstream")
        self._begin()
        run = Run(
            name=self.name, query=_Program(self, batch=batch), directory=self._directory, model="dstream",
            workers=self._cluster.workers, spares=self._cluster.spares, settings=self._settings, verify=verify,
        )  # fmt: skip
        return reported(launch(run, display="auto" if display else "none"))

    def on_interval(self, function: Callable[[Mapping[str, Any]], Any]) -> None:
        """Calls the function in this process with the figures of every interval that is complete, in order.

        They are those of a line of ``intervals.jsonl``. Only after ``start``, or where ``run`` has functions to call.
        """
        self.outputs.on_interval.append(function)

    def start(self, *, batch: bool = False) -> None:
        """The program runs from now on, in processes of its own; returns at once.

        Raises:
            QueryError: It is incomplete, or has been started before.
            UserError: A source or sink cannot be used, or another job runs in the directory.
        """
        plan = self.plan(batch=batch)
        self._begin()
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(claimed_directory(self._directory, resume=False))
            cluster = self._cluster
            self._job = job = StreamJob(
                plan, workers=cluster.workers, spares=cluster.spares, directory=self._directory, keep_log=False
            )
            stack.callback(job.close)
            job.start()
            figures = stack.enter_context((self._directory / INTERVALS).open("w+", encoding="utf-8"))
            self.outputs.open(lambda operator: context_of(job.plan, operator, self._directory), figures)
        except BaseException:
            stack.close()
            raise
        self._thread = threading.Thread(target=self._watch, args=(job, stack), name=f"job {self.name}", daemon=True)
        self._thread.start()

    def await_termination(self, timeout_s: float | None = None) -> bool:
        """Wait until the job has ended; whether it has.

        Raises:
            JobFailedError: It failed; what it committed stays.
            Exception: What a function of ``foreach_rdd`` raised.
        """
        if self._thread is None:
            raise QueryError(f"{caller()}: await_termination() before start()")
        if not self._ended.wait(timeout_s):
            return False
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._outcome is not None and self._outcome.status == "failed":
            raise JobFailedError(self._outcome.error or "the job failed")
        return True

    def stop(self) -> None:
        """The job ends: what was read by now is processed and committed, and functions are called with it. Blocks."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> None:
        if self.graph.frozen:
            raise QueryError(f"{caller()}: {self.name!r} was started before; a context runs once, make a new one")
        self.graph.check()
        self.graph.frozen = True

    def _watch(self, job: StreamJob, stack: contextlib.ExitStack) -> None:
        """Look on until the job has ended, and call users' functions with what was committed."""
        try:
            with stack:
                self._outcome = self._until_ended(job)
        except BaseException as error:  # noqa: BLE001 (raised by await_termination, in the thread that waits)
            self._error = error
        finally:
            self._ended.set()

    def _until_ended(self, job: StreamJob) -> JobOutcome:
        told = False
        while True:
            progress = job.poll(POLL_S)
            plan = job.plan
            tick_s = plan.settings.tick_ms / 1000
            self.outputs.call(lambda tick, plan=plan, tick_s=tick_s: plan.epoch_s + tick * tick_s)  # type: ignore[misc]
            if progress.finished:
                return job.outcome()
            if self._stopping.is_set() and not told:
                told = True
                job.stop()


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
