"""What a program begins with: streams of sources and of queues, streams put together, datasets that are all there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dstream.graph import StreamGraph
from dstream.outputs import Callbacks
from dstream.queued import QueueSource
from dstream.rdd import RDD, Workers, lines_of, parallelize
from dstream.stream import DStream
from dstream.streams.by_key import checked_partitions
from dstream.streams.spelling import Spelling
from dstream.streams.stages import source_at
from dstream.transforms import all_at_once, arity
from elastic.callables import add_query_room, caller, check_shippable, shortened
from elastic.connectors import sources
from elastic.connectors.base import Source
from elastic.errors import QueryError
from elastic.surface import surface

add_query_room(__file__)


@surface
class Inputs(Spelling, ABC):
    """The part of a context that makes streams and RDDs.

    Attributes:
        graph: The stages so far.
        outputs: What is called in this process.
    """

    graph: StreamGraph
    outputs: Callbacks
    _workers: Workers

    @property
    @abstractmethod
    def interval_ms(self) -> int:
        """Length of an interval, milliseconds."""

    @property
    @abstractmethod
    def key_groups(self) -> int:
        """Units in which key space is cut."""

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

    def queue_stream(self, items: Iterable[Any], *, one_at_a_time: bool = True, default: Any = None) -> DStream:
        """The stream of rows in memory: in each interval those of the next item, in order.

        Args:
            items: Iterables of rows, or RDDs. What is added to them later is not seen.
            one_at_a_time: An item for each interval; if False, all of them are in one.
            default: The rows of every interval after the last item; the input ends with that if None.

        Raises:
            QueryError: An item cannot be sent to the workers.
        """
        found = [_rows_of(item) for item in items]
        found = found if one_at_a_time else [[row for item in found for row in item]]
        return self.source(QueueSource(found, None if default is None else _rows_of(default)))

    # -- several streams -----------------------------------------------------------------------------------------------

    def union(self, *streams: DStream) -> DStream:
        """The rows of all the streams.

        Raises:
            QueryError: There are none, or one belongs to another context.
        """
        if not streams:
            raise QueryError(f"{caller()}: union() of no streams")
        return streams[0].union(*streams[1:])

    def transform(self, streams: Sequence[DStream], function: Callable[..., Any]) -> DStream:
        """What ``function(rdds)`` or ``function(time, rdds)`` makes of the streams' datasets, in each interval.

        Raises:
            QueryError: It takes other arguments, cannot be shipped, or returns something else.
        """
        if not streams:
            raise QueryError(f"{caller()}: transform() of no streams")
        takes_time = arity("transform", function, {1: "(rdds)", 2: "(time, rdds)"}) == 2
        first = streams[0]
        return first._transformed(  # noqa: SLF001 (a stream of this context)
            "transform", function, all_at_once, list(streams), takes_time=takes_time
        )

    # -- datasets that are all there -----------------------------------------------------------------------------------

    def parallelize(self, rows: Iterable[Any], partitions: int | None = None) -> RDD:
        """The RDD of rows in memory, in so many partitions; in 4 of them if None.

        Raises:
            QueryError: ``partitions`` is no positive number.
        """
        return parallelize(rows, self._workers, checked_partitions("parallelize", partitions))

    def text_file(self, paths: Any) -> RDD:
        """The RDD of the lines of text files, read when an action needs them; in ``transform``, in every interval."""
        return lines_of(paths, self._workers)


def _rows_of(item: Any) -> list[Any]:
    if isinstance(item, RDD):
        return item.collect()
    if isinstance(item, Iterable) and not isinstance(item, str | bytes):
        return list(item)
    raise QueryError(f"{caller()}: queue_stream() takes lists of rows, or RDDs, not {shortened(item)}")
