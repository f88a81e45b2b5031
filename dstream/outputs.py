"""What a program has called in the user's own process: functions of datasets, and listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from dstream.hand_over import HandOver
from dstream.listeners import StreamingListener, tell
from dstream.news import Lines, NewsReader
from dstream.rdd import RDD, Workers
from dstream.recordings import Perform, Recording, moment_s
from dstream.stream import DStream
from dstream.streams.base import at_of
from dstream.streams.stages import At
from dstream.transforms import arity
from elastic.callables import add_query_room, caller
from elastic.connectors.base import SinkContext
from elastic.errors import QueryError

add_query_room(__file__)


@dataclass(eq=False)
class Callbacks:
    """All that is called for one program, or kept for it.

    Attributes:
        keep_ms: How long datasets can be used; until the function returns if None.
    """

    workers: Workers | None = None
    keep_ms: int | None = None
    recordings: list[Recording] = field(default_factory=list)
    on_interval: list[Callable[[Mapping[str, Any]], Any]] = field(default_factory=list)
    listeners: list[StreamingListener] = field(default_factory=list)
    _recorded: list[tuple[At, Recording]] = field(default_factory=list)
    _figures: Lines | None = None
    _news: NewsReader | None = None

    @property
    def any(self) -> bool:
        """Whether there is anything to call or to keep."""
        return bool(self.recordings or self.on_interval or self.listeners)

    def add(self, stream: DStream, function: Any, name: str | None) -> None:
        """Have the function called with each interval's rows.

        Raises:
            QueryError: It is no function of one or two arguments.
        """
        timed = arity("foreach_rdd", function, {1: "(rdd)", 2: "(time, rdd)"}) == 2
        self._record(stream, HandOver(), name, function=function, timed=timed)

    def remember(self, stream: DStream, keep_ms: int | None, name: str | None) -> None:
        """Keep what the stream has for so long, for ``slice``; for as long as the program says if None."""
        if keep_ms is None and self.keep_ms is None:
            raise QueryError(
                f"{caller()}: remember() for how long? Write remember('5m'), or call context.remember before"
            )
        recording = self._record(stream, HandOver("remember"), name, keep_ms=keep_ms)
        self._recorded.append((at_of(stream), recording))

    def _record(self, stream: DStream, sink: HandOver, name: str | None, **options: Any) -> Recording:
        stream.save(sink, name=name)
        context = stream.context
        recording = Recording(context.graph.drafts[-1].name, sink, context.interval_ms, workers=self.workers, **options)
        self.recordings.append(recording)
        return recording

    def slice(self, stream: DStream, begin: Any, end: Any) -> list[RDD]:
        """The datasets of the stream's intervals that ended between two moments, both included.

        A moment inside an interval stands for the end of the one before.

        Raises:
            QueryError: The stream is not remembered, the moments are none, or rows are forgotten.
        """
        begin_s, end_s = moment_s("slice", "begin", begin), moment_s("slice", "end", end)
        recording = next((r for at, r in self._recorded if at is at_of(stream)), None)
        if recording is None:
            raise QueryError(
                f"{caller()}: slice() of a stream that is not remembered; call remember('5m') on it before start()"
            )
        return recording.between(begin_s, end_s)

    # -- while the job runs --------------------------------------------------------------------------------------------

    def open(self, context_of: Callable[[str], SinkContext], figures: TextIO, news: NewsReader) -> None:
        """The job is about to start.

        Args:
            context_of: Gives the identity of a sink.
            figures: Gets a line for each interval that is complete.
            news: Of all that listeners are told.
        """
        self._figures, self._news = Lines(figures), news
        for recording in self.recordings:
            recording.keep_ms = self.keep_ms if recording.keep_ms is None else recording.keep_ms
            recording.open(context_of(recording.operator))

    def call(self, tick_zero_s: float, perform: Perform) -> None:
        """Call everything with what has happened since; what it raises goes to the caller."""
        assert self._figures is not None
        assert self._news is not None
        for recording in self.recordings:
            recording.read(tick_zero_s, perform)
        for told in self._figures.read():
            for function in self.on_interval:
                perform("on_interval", told["interval"], function, told)
        for note in self._news.read():
            for listener in self.listeners:
                perform(type(listener).__name__, note.get("interval", 0), tell, listener, note)
