"""Outputs that end in the user's own process: functions that are called with each interval's rows."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from dstream.rdd import RDD, parallelize
from dstream.stream import DStream
from elastic import pickling
from elastic.batch import Batch, rows
from elastic.callables import add_query_room, caller, describe, shortened
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.commit_log import CommitLog, CommitLogReader, log_path
from elastic.errors import QueryError
from elastic.keys import KeyInterval

add_query_room(__file__)


@dataclass(frozen=True)
class HandOver(Sink):
    """Rows are recorded in the job directory, interval by interval, for the process that started the job."""

    name = "foreach_rdd"
    parallel = False

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return HandOverWriter(context, interval, generation)

    def contents(self, context: SinkContext) -> Any:
        return [row for _, found in self.since(CommitLogReader(log_path(context, context.directory))) for row in found]

    def expected(self, batches: Sequence[Batch]) -> Any:
        return [row for batch in batches for row in rows(batch.values or [])]

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        """Missing and surplus rows; where as many are there, but others, all that is certain is one of each."""
        if len(expected) == len(contents):
            return (0, 0) if expected == contents else (1, 1)
        return max(0, len(expected) - len(contents)), max(0, len(contents) - len(expected))

    def since(self, reader: CommitLogReader) -> Iterator[tuple[int, list[Any]]]:
        """(last tick of an interval, its rows), of all that was committed since the reader was read last."""
        for entry in reader.read():
            for tick, data in entry.payload:
                yield tick, pickling.loads(bytes.fromhex(data))


class HandOverWriter(Writer):
    """One commit is one record."""

    def __init__(self, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._log = CommitLog(log_path(context, context.directory), interval, generation, keep=True)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        self._log.commit(through, [[tick, pickling.dumps(rows(batch.values or [])).hex()] for tick, batch in ticks])
        return through

    def close(self) -> None:
        self._log.close()


@dataclass(slots=True)
class Callback:
    """A user's function, and how far it was called.

    Attributes:
        operator: Name of the sink that hands rows over.
        timed: Whether it takes the interval's time too.
    """

    operator: str
    function: Callable[..., Any]
    timed: bool
    sink: HandOver
    reader: CommitLogReader | None = None


@dataclass(eq=False)
class Callbacks:
    """All functions of one program that are called in the user's process."""

    all: list[Callback] = field(default_factory=list)
    on_interval: list[Callable[[Mapping[str, Any]], Any]] = field(default_factory=list)
    _figures: TextIO | None = None
    _line: str = ""

    def add(self, stream: DStream, function: Any, name: str | None) -> None:
        """Have the function called with each interval's rows.

        Raises:
            QueryError: It is no function of one or two arguments.
        """
        if not callable(function):
            raise QueryError(f"{caller()}: foreach_rdd() takes a function, not {shortened(function)}")
        sink = HandOver()
        stream.save(sink, name=name)
        self.all.append(Callback(stream.context.graph.drafts[-1].name, function, _arguments(function) == 2, sink))

    def open(self, context_of: Callable[[str], SinkContext], figures: TextIO) -> None:
        """The job is about to start.

        Args:
            context_of: Gives the identity of a sink.
            figures: Gets a line for each interval that is complete.
        """
        self._figures = figures
        for callback in self.all:
            context = context_of(callback.operator)
            callback.reader = CommitLogReader(log_path(context, context.directory))

    def call(self, time_of: Callable[[int], float]) -> None:
        """Call every function with what was committed since; what it raises goes to the caller."""
        for callback in self.all:
            assert callback.reader is not None
            for tick, found in callback.sink.since(callback.reader):
                rdd: RDD = parallelize(found)
                callback.function(*((time_of(tick), rdd) if callback.timed else (rdd,)))
        for told in self._intervals():
            for function in self.on_interval:
                function(told)

    def _intervals(self) -> Iterator[Mapping[str, Any]]:
        """Figures of the intervals that were written down since; a line may still be under way."""
        assert self._figures is not None
        *whole, self._line = (self._line + self._figures.read()).split("\n")
        yield from map(json.loads, whole)


def _arguments(function: Any) -> int:
    """How many arguments it takes, 1 or 2.

    Raises:
        QueryError: Another number.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a built-in
        return 1
    for count in (1, 2):
        try:
            signature.bind(*[None] * count)
        except TypeError:
            continue
        return count
    raise QueryError(f"{caller()}: foreach_rdd({describe(function)}) calls its function with (rdd) or (time, rdd)")
