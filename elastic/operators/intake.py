"""Rows that aggregates add up: their values by the user's function, and what becomes of those on which code raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from elastic.batch import Batch, Column, Indices, columnar, concat, rows
from elastic.errors import UserCodeError
from elastic.functions import row_form
from elastic.operators.accumulator import Accumulator
from elastic.operators.base import Output, ProcessorContext
from elastic.operators.failure import RowError, failed_record, row_at
from elastic.operators.folding import Unresolved
from elastic.operators.steps import mapped, survivors
from elastic.plan import ERRORS, OnError

PIECE_ROWS = 64
"""Once a row has failed, the others of its batch are added so many at a time, so that the next costs only its piece."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What an aggregate does to its rows.

    Attributes:
        value: From a row to what is added up; None where the edge has done that already, or rows are their own values.
        on_error: What becomes of a row on which that function fails, or the aggregate's own.
    """

    value: Callable[[Any], Any] | None = None
    on_error: OnError = "fail"

    @property
    def functions(self) -> tuple[Any, ...]:
        """What may be the user's."""
        return () if self.value is None else (self.value,)


AS_IT_IS = Taking()


class Intake:
    """Hands rows to the accumulator of one instance; holds what is diverted until the tick is emitted."""

    def __init__(self, taking: Taking, context: ProcessorContext) -> None:
        self._value, self._on_error, self._context = taking.value, taking.on_error, context
        self._diverts = taking.on_error == "divert" and ERRORS in context.read
        self._diverted: list[tuple[Batch, list[dict[str, Any]]]] = []

    @property
    def careful(self) -> bool:
        """Whether a row on which code raises may not end the job, so that nothing must be left of it."""
        return self._on_error != "fail"

    def add(self, into: Accumulator, slots: Indices, batch: Batch, tick: int) -> npt.NDArray[np.bool_] | None:
        """Add each row to its slot, in order; which of them were, if some were not.

        Raises:
            UserCodeError: A row cannot be added, and is to end the job then.
        """
        if self._on_error == "fail":
            into.add(slots, self._valued(batch, tick), tick)
            return None
        bad: dict[int, Exception] = {}
        at: Indices = np.arange(len(batch))
        try:
            valued = self._valued(batch, tick)
        except UserCodeError:
            assert self._value is not None
            results, failures = survivors(row_form(self._value), rows(_of(batch.values)))
            bad = dict(failures)
            at = np.setdiff1d(at, list(bad))
            valued = replace(batch.ordered(at), values=columnar(results))
        bad |= {int(at[n]): error for n, error in _salvaged(into, slots[at], valued, tick)}
        if not bad:
            return None
        numbers = np.array(sorted(bad), np.int64)
        self.fail(batch.ordered(numbers), [bad[n] for n in numbers.tolist()], tick)
        added = np.ones(len(batch), bool)
        added[list(bad)] = False
        return added

    def _valued(self, batch: Batch, tick: int) -> Batch:
        """The batch with values in place of its rows.

        Raises:
            UserCodeError: The user's function raised.
        """
        if self._value is None:
            return batch
        values = mapped(self._context.operator, self._value, _of(batch.values), tick)
        return replace(batch, values=columnar(values) if isinstance(values, list) else values)

    def fail(self, batch: Batch, errors: Sequence[Exception], tick: int) -> None:
        """These rows were not added, or nothing could be made of what stands in their place."""
        operator = self._context.operator
        told = [
            failed_record(operator, tick, row_at(batch.values, n), error, key=row_at(batch.keys, n))
            for n, error in enumerate(errors)
        ]
        self._context.failures.note(operator, self._on_error, told)
        if self._diverts:
            if batch.times is None and self._context.event_time:  # what has no time of its own has the tick's
                batch = replace(batch, times=np.full(len(batch), self._context.now_us(tick)))
            self._diverted.append((batch, told))

    def unresolved(self, results: Column) -> dict[int, Exception]:
        """The places of those that are no results, where that is not to end the job, and why."""
        if not self.careful or not isinstance(results, list):
            return {}
        return {n: value.error for n, value in enumerate(results) if type(value) is Unresolved}

    def take(self) -> Iterator[Output]:
        """What the tick has diverted, in canonical order."""
        if not self._diverted:
            return
        parts, self._diverted = self._diverted, []
        groups = np.concatenate([batch.groups for batch, _ in parts])
        order = np.argsort(groups, kind="stable")
        told = [record for _, records in parts for record in records]
        times = [batch.times for batch, _ in parts if batch.times is not None]
        yield Output(
            groups[order], [told[n] for n in order.tolist()], concat([_of(b.keys) for b, _ in parts]), ERRORS,
            times=np.concatenate(times)[order] if times and self._context.event_time else None,
        )  # fmt: skip


def _salvaged(into: Accumulator, slots: Indices, batch: Batch, tick: int) -> list[tuple[int, Exception]]:
    """Add the rows that can be added; where the others are, and what was raised on them."""
    bad: list[tuple[int, Exception]] = []
    start, size = 0, len(batch)
    while start < len(batch):
        end = min(start + size, len(batch))
        piece = batch if size == len(batch) else batch.ordered(np.arange(start, end))
        try:
            into.add(slots[start:end], piece, tick)
            start = end
        except RowError as error:
            cause = error.__cause__
            bad.append((start + error.at, cause if isinstance(cause, Exception) else error))
            start, size = start + error.at + 1, PIECE_ROWS
    return bad


def _of(column: Column | None) -> Column:
    assert column is not None, "an edge to an aggregate that looks at rows carries keys and values"
    return column
