"""What windows emit: rows that carry their window, rows that came too late, and what a function makes of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from elastic.batch import Batch, Column, Groups, Indices, Times, columnar, concat, rows, take
from elastic.keys import sort_order
from elastic.operators.base import Output
from elastic.operators.failure import Failures, kind_of, row_at, shortened, user_error
from elastic.operators.timestamps import seconds
from elastic.report import FailedRecords
from elastic.state.processing import dict_keys
from elastic.windows import Window

How: TypeAlias = Literal["inner", "left", "right", "outer"]

LATE = "late"
"""The output of rows that came after all of their windows were closed for good."""


@dataclass(frozen=True, slots=True)
class Windowful:
    """Results of some windows of some keys, in any order; times in microseconds."""

    groups: Groups
    keys: Column
    starts: Times
    ends: Times
    values: Column

    def at(self, places: Indices) -> Windowful:
        """Those at some places."""
        values = columnar(rows(take(self.values, places)))
        return Windowful(self.groups[places], take(self.keys, places), self.starts[places], self.ends[places], values)

    def ordered(self) -> Windowful:
        """The same by key group, key and start."""
        by_start = np.argsort(self.starts, kind="stable")
        order = by_start[sort_order(self.groups[by_start], take(self.keys, by_start))]
        keys, values = take(self.keys, order), take(self.values, order)
        return Windowful(self.groups[order], keys, self.starts[order], self.ends[order], values)

    def output(self, *, timed: bool) -> Output:
        """One row for each: a dict, or a struct where keys and values have types."""
        names = ["key", "start", "end", "value"]
        times = [pa.array(self.starts / 1e6), pa.array(self.ends / 1e6)]
        if isinstance(self.keys, pa.Array) and isinstance(self.values, pa.Array):
            column: Column = pa.StructArray.from_arrays([self.keys, *times, self.values], names)
        else:
            each = zip(rows(self.keys), *(t.to_pylist() for t in times), rows(self.values), strict=True)
            column = [dict(zip(names, row, strict=True)) for row in each]
        return Output(self.groups, column, self.keys, times=self.ends - 1 if timed else None)

    def applied(
        self, function: WindowFunction, operator: str, tick: int, *, timed: bool, bad: dict[int, Exception] | None
    ) -> Output | None:
        """The rows that the user's function makes of each window.

        Args:
            function: Of the user's.
            operator: Whose it is.
            tick: When.
            timed: Rows have event times.
            bad: Takes the places of windows on which it fails, of which nothing is emitted; None if that is an error.

        Raises:
            UserCodeError: It raised, or returned no rows.
        """
        out: list[Any] = []
        counts: list[int] = []
        each = zip(rows(self.keys), self.starts.tolist(), self.ends.tolist(), rows(self.values), strict=True)
        for key, start, end, values in each:
            window, before = Window(seconds(start), seconds(end)), len(out)
            try:
                out.extend(_rows_of(function(key, values, window)))
            except Exception as error:
                if bad is None:
                    raise user_error(operator, tick, f"{len(values)} values of {window}", error, key=key) from error
                bad[len(counts)] = error
                del out[before:]
            counts.append(len(out) - before)
        if not out:
            return None
        by = np.repeat(np.arange(len(counts)), counts)
        return Output(self.groups[by], out, take(self.keys, by), times=(self.ends - 1)[by] if timed else None)


WindowFunction: TypeAlias = Callable[[Any, list[Any], Window], Iterable[Any] | None]


def _rows_of(result: Any) -> Iterable[Any]:
    if result is None:
        return ()
    if isinstance(result, str | bytes | dict | tuple) or not isinstance(result, Iterable):
        raise TypeError(f"the function of a window returned {kind_of(result)}; yield rows, or return a list of them")
    return result


@dataclass(frozen=True, slots=True)
class Pairing:
    """Makes rows of what two streams have for a key in a window: one of each pair, or of a side that is alone.

    Attributes:
        function: (left value, right value) to the row's value; the tuple of both if None.
        how: Which of the sides may be alone; the other's value is None then.
    """

    function: Callable[[Any, Any], Any] | None
    how: How

    def __call__(self, key: Any, values: list[Any], window: Window) -> Iterable[Any]:
        """``values`` are (side, value)."""
        left: list[Any] = [value for side, value in values if side == 0]
        right: list[Any] = [value for side, value in values if side == 1]
        if not right and self.how in ("left", "outer"):
            right = [None]
        if not left and self.how in ("right", "outer"):
            left = [None]
        for pair in product(left, right):
            value = pair if self.function is None else self.function(*pair)
            yield {"key": key, "start": window.start, "end": window.end, "value": value}


class LateRows:
    """Rows of one tick that came too late, until they are emitted; counted among the records that are left out.

    Args:
        operator: Whose they are.
        failures: Where they are counted: as diverted if somebody reads them, else as skipped.
        is_read: Whether somebody does.
    """

    def __init__(self, operator: str, failures: Failures, *, is_read: bool) -> None:
        self._where, self._failures, self._is_read = f"{operator}: late", failures, is_read
        self._parts: list[tuple[Batch, Times]] = []

    def add(self, batch: Batch, times: Times, rows_: Indices, watermark_us: int) -> None:
        """These rows of the batch were late."""
        late, when = batch.ordered(rows_), times[rows_]
        count = int(np.asarray(late.values).sum()) if late.partial else len(late)
        example = (
            f"event time {seconds(int(when[-1]))!r} of key {shortened(row_at(late.keys, len(late) - 1))}, "
            f"when event time had come to {seconds(watermark_us)!r}"
        )
        skipped, diverted = (0, count) if self._is_read else (count, 0)
        self._failures.add([FailedRecords(self._where, skipped, diverted, example)])
        if self._is_read:
            self._parts.append((late, when))

    def take(self, watermark_us: int, *, timed: bool) -> list[Output]:
        """The rows, with how late they were; in canonical order, each key's in the order in which they came."""
        if not self._parts:
            return []
        parts, self._parts = self._parts, []
        groups = np.concatenate([batch.groups for batch, _ in parts])
        keys = columnar(dict_keys(concat([batch.keys for batch, _ in parts if batch.keys is not None])))
        values = [value for batch, _ in parts for value in rows(batch.values)]
        times = np.concatenate([times for _, times in parts])
        order = sort_order(groups, keys)
        late_by = ((watermark_us - times) / 1e6).tolist()
        given = zip(rows(keys), values, (times / 1e6).tolist(), late_by, strict=True)
        every = [{"key": k, "value": v, "time": t, "late_by": by} for k, v, t, by in given]
        column = take(every, order)
        return [Output(groups[order], column, take(keys, order), LATE, times=times[order] if timed else None)]
