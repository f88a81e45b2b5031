"""A stream joined with a table: every row, with the newest row of the same key in another stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from elastic.batch import Batch, Indices, Pairs, columnar, rows, take
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.failure import failed_record, row_at, user_error
from elastic.operators.steps import one_column, survivors
from elastic.operators.user_state import KeyedValues
from elastic.plan import ERRORS, OnError
from elastic.state.processing import StateTable, dict_keys

How: TypeAlias = Literal["inner", "left"]

TABLE, STREAM = 0, 1
"""The inputs. Within a tick and key group the table's rows come first, so they are all known to the stream's."""


@dataclass(frozen=True, slots=True)
class TableJoin:
    """A stream-table join of the query; ``make`` gives the processor of one instance.

    Attributes:
        function: Makes what is emitted of a row and what the table has for its key; None for the pair of them.
        how: ``inner`` leaves out rows that the table has nothing for, ``left`` joins them with None.
        on_error: What becomes of a row on which the function raises.
    """

    function: Callable[[Any, Any], Any] | None
    how: How
    on_error: OnError = "fail"

    @property
    def functions(self) -> tuple[Callable[[Any, Any], Any], ...]:
        """What may be the user's."""
        return () if self.function is None else (self.function,)

    def make(self, context: ProcessorContext) -> JoinProcessor:
        """The processor of one instance, with an empty table."""
        return JoinProcessor(self, context)


class JoinProcessor(Processor):
    """One instance of a join; its state is the table."""

    def __init__(self, join: TableJoin, context: ProcessorContext) -> None:
        self._join, self._context = join, context
        self._table = KeyedValues()

    def __len__(self) -> int:
        return len(self._table)

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Take over the table's rows, then join the stream's. The rows of a key reach it in canonical order."""
        for number, batch in tick.slices:
            if number == TABLE:
                self._update(batch)
        merged = TickInput(tick.tick, [(n, batch) for n, batch in tick.slices if n == STREAM]).merged()
        return [] if merged is None else self._joined(merged[0], tick.tick)

    def _update(self, batch: Batch) -> None:
        assert batch.keys is not None
        assert batch.values is not None
        table, keys, values = self._table, dict_keys(batch.keys), rows(batch.values)
        table.written.update(dict.fromkeys(keys))
        table.values.update(zip(keys, values, strict=True))
        if type(None) in set(map(type, values)):
            for key in keys:
                if table.values.get(key, key) is None:
                    table.values.pop(key, None)

    def _joined(self, batch: Batch, tick: int) -> list[Output]:
        assert batch.keys is not None
        assert batch.values is not None
        newest = list(map(self._table.values.get, dict_keys(batch.keys)))
        at: Indices = np.arange(len(batch))
        if self._join.how == "inner":
            at = np.flatnonzero(np.fromiter((row is not None for row in newest), bool, len(newest)))
        pairs = list(zip(rows(take(batch.values, at)), map(newest.__getitem__, at.tolist()), strict=True))
        if (function := self._join.function) is None:
            return self._output(batch, at, pairs)
        values, failures = survivors(lambda pair: function(*pair), pairs)
        told = [self._told(batch, int(at[n]), tick, error) for n, error in failures]
        self._context.failures.note(self._context.operator, self._join.on_error, told)
        bad = at[[n for n, _ in failures]]
        outputs = self._output(batch, np.setdiff1d(at, bad, assume_unique=True), values)
        if told and self._join.on_error == "divert":
            times = None if batch.times is None else batch.times[bad]
            outputs.append(Output(batch.groups[bad], told, take(batch.keys, bad), ERRORS, times=times))
        return outputs

    def _told(self, batch: Batch, at: int, tick: int, error: Exception) -> dict[str, Any]:
        """What there is to tell of a row on which the function raised.

        Raises:
            UserCodeError: It is to end the job.
        """
        record, key = row_at(batch.values, at), row_at(batch.keys, at)
        if self._join.on_error == "fail":
            raise user_error(self._context.operator, tick, record, error, key=key) from error
        return failed_record(self._context.operator, tick, record, error, key=key)

    @staticmethod
    def _output(batch: Batch, at: Indices, values: list[Any]) -> list[Output]:
        """``(key, value)`` rows, emitted by the rows at these places."""
        if not len(at):
            return []
        assert batch.keys is not None
        keys, joined = take(batch.keys, at), columnar(values)
        rows_of_both = Pairs(one_column(keys), one_column(joined))
        return [Output(batch.groups[at], rows_of_both, keys, times=None if batch.times is None else batch.times[at])]

    def delta(self) -> StateTable:
        """Rows of the table that are new or gone."""
        return self._table.delta(self._context)

    def full(self) -> StateTable:
        """The whole table."""
        return self._table.full(self._context)

    def clean(self) -> None:
        """Which rows of the table are new or gone is forgotten."""
        self._table.written.clear()

    def restore(self, table: StateTable) -> None:
        """Take over the whole table."""
        self._table.restore(table)
