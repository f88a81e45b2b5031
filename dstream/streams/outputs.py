"""Where streams end: sinks, and functions in the process that started the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dstream.plan import Input, Kind, Reach
from dstream.streams.base import S, Steps
from elastic.callables import add_query_room, caller, check_shippable, shortened
from elastic.connectors import sinks
from elastic.connectors.base import Sink
from elastic.errors import QueryError

add_query_room(__file__)


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

    def pprint(self) -> None:
        """The command prints every row on a line, once it is committed."""
        self.save(sinks.stdout())

    def foreach_rdd(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        """Calls the function in this process with each interval's rows as an RDD, in order, each interval once.

        It is called as ``function(rdd)``, or as ``function(time, rdd)`` if it takes two arguments; the time is that of
        the interval's end, Unix time in seconds. What it raises ends the job, and is raised by ``await_termination``.
        """
        self._context.outputs.add(self, function, name)
