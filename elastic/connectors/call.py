"""A function of the user's as a sink: called again where nobody knows whether a call had its effect."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from elastic.batch import Batch, Column, merge, rows
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.claims import progress_ticks
from elastic.connectors.commit_log import CommitLog, log_path
from elastic.errors import ElasticError
from elastic.keys import KeyInterval
from elastic.operators.failure import user_error


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the function is called with.

    Attributes:
        column: The rows as they came: a list, an Arrow array, or pairs.
        tick: The last tick of which there are rows in it.
        token: The same for the same rows, and another for any others: whoever has seen it has seen them.
    """

    column: Column
    tick: int
    token: str

    @property
    def rows(self) -> list[Any]:
        """The rows as Python objects."""
        return rows(self.column)

    def __len__(self) -> int:
        return len(self.column)


@dataclass(frozen=True)
class CallSink(Sink):
    """Rows are handed to a function; see ``elastic.sinks.call``.

    Attributes:
        period_ms: Rows of so long are handed over at once; 0 for those of each tick.
        accepts: Raises on a row that the function could not take.
    """

    function: Callable[[Delivery], Any]
    period_ms: int = 0
    parallel: bool = True
    accepts: Callable[[Any], Any] | None = None
    name = "call"
    locks = True  # whoever is in the middle of a call has ended before another one calls in his place

    @property
    def checks(self) -> bool:  # type: ignore[override]
        """Where it was said what the function accepts."""
        return self.accepts is not None

    def check(self, column: Column) -> None:
        if self.accepts is not None:
            deque(map(self.accepts, rows(column)), maxlen=0)

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return CallWriter(self, context, interval, generation)


class CallWriter(Writer):
    """Calls the function for one key interval, and notes each call in the job directory when it has returned."""

    def __init__(self, sink: CallSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._sink, self._operator = sink, context.operator
        self._token = f"{context.run_id}/{context.operator}/{interval.low}-{interval.high}"
        self._period_ticks = max(1, sink.period_ms // context.tick_ms)
        self._progress_ticks = progress_ticks(context.tick_ms)
        self._kept: list[tuple[int, Batch]] = []
        self._log = CommitLog(log_path(context, context.directory), interval, generation)
        self._through = min(tick for _, tick in self._log.committed())

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        self._kept += [(tick, batch) for tick, batch in ticks if len(batch)]
        end = through if final else through - through % self._period_ticks
        for before, last, batches in self._due(end):
            self._log.commit(max(self._through, before), None)  # refused, if it is another's turn by now
            self._call(batches, last)
            self._log.commit(last, None)
            self._through = last
        if final or end >= self._through + self._progress_ticks:
            self._log.commit(end, None)
            self._through = end
        return self._through

    def close(self) -> None:
        self._log.close()

    def _due(self, end: int) -> Iterator[tuple[int, int, list[Batch]]]:
        """Of every period that is over: the tick before it, its last one, and its rows."""
        over = [(tick, batch) for tick, batch in self._kept if tick <= end]
        self._kept = self._kept[len(over) :]
        for period, group in groupby(over, key=lambda item: -(-item[0] // self._period_ticks)):
            first = (period - 1) * self._period_ticks
            yield first, min(first + self._period_ticks, end), [batch for _, batch in group]

    def _call(self, batches: list[Batch], tick: int) -> None:
        column = merge(batches).values
        assert column is not None, "a sink's input carries its rows"
        try:
            self._sink.function(Delivery(column, tick, f"{self._token}/{tick}"))
        except ElasticError:
            raise
        except Exception as error:
            raise user_error(self._operator, tick, rows(column), error) from error
