"""Where streams end: sinks, and functions in the process that started the job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Self

from dstream.plan import Input, Kind, Reach
from dstream.printing import PrettySink
from dstream.streams.base import S, Steps
from dstream.streams.windows import whole_intervals
from elastic.callables import add_query_room, caller, check_shippable, shortened
from elastic.connectors import sinks
from elastic.connectors.base import Sink
from elastic.errors import QueryError
from elastic.surface import surface

add_query_room(__file__)


@surface
class Outputs(Steps[S]):
    """What makes that anything is computed at all."""

    def save(self, sink: Sink, *, name: str | None = None) -> None:
        """Every row goes to the sink, in order of intervals, exactly once.

        Raises:
            QueryError: Not a sink, or the name is taken.
        """
        if not isinstance(sink, Sink):
            raise QueryError(
                f"{caller()}: save() takes one of elastic.sinks, such as sinks.stdout(), not {shortened(sink)}"
            )
        check_shippable(f"sink {sink.name!r}", sink)
        inputs = [Input(*self._at.feed(keyed=False), Reach.KEYS)]
        self._context.graph.add(sink.name, Kind.SINK, sink, inputs, given=name)

    def save_as_text_files(self, directory: str, *, name: str | None = None) -> None:
        """Every row becomes a JSON line in files of the directory, a part of some intervals each, exactly once."""
        self.save(sinks.json_lines(directory), name=name)

    def pprint(self, num: int = 10) -> None:
        """The command prints the first rows of every interval that has any, under the time of its end in the job.

        Raises:
            QueryError: ``num`` is no positive number.
        """
        if type(num) is not int or num < 1:
            raise QueryError(f"{caller()}: pprint({shortened(num)}) takes how many rows are to be printed: 1 or more")
        self.save(PrettySink(num))

    def foreach_rdd(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        """Calls the function in this process with each interval's rows as an RDD, in order, each interval once.

        It is called as ``function(rdd)``, or as ``function(time, rdd)`` if it takes two arguments; the time is that of
        the interval's end, Unix time in seconds. What it raises ends the job, and is raised by ``await_termination``.
        """
        self._context.outputs.add(self, function, name)

    def remember(self, time: str | None = None, *, name: str | None = None) -> Self:
        """The same stream, whose rows of so long are kept in this process, where ``slice`` finds them.

        Args:
            time: How long; as the context's ``remember`` says if None.
            name: Of the output, in the report.

        Raises:
            QueryError: It is no duration, or nobody says how long.
        """
        keep_ms = None if time is None else whole_intervals("remember", "time", time, self._context.interval_ms)
        keep_ms = None if keep_ms is None else keep_ms * self._context.interval_ms
        self._context.outputs.remember(self, keep_ms, name)
        return self

    def slice(self, begin: datetime | float, end: datetime | float) -> list[Any]:
        """The RDDs of the intervals that ended from ``begin`` to ``end``, of those that are complete, in order.

        Args:
            begin: A datetime, or seconds since 1970; a moment inside an interval stands for the end of the one before.
            end: The same.

        Raises:
            QueryError: The stream is not remembered, a moment is none, or some of the rows are forgotten.
        """
        found: list[Any] = self._context.outputs.slice(self, begin, end)
        return found
