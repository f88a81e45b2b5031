"""A user's own keyed operator, row by row or in columns: its state, its context, and what becomes of its output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Batch, Column, Groups, Indices, Pairs, concat, rows, take
from elastic.keys import groups_of, key_group, sort_order
from elastic.operators.base import (
    Operator,
    Output,
    Processor,
    ProcessorContext,
    TickInput,
)  # fmt: skip
from elastic.operators.bound_states import StateMismatchError, bind
from elastic.operators.broadcast import SHARED
from elastic.operators.failure import failed_record, kind_of, user_error
from elastic.operators.named import NamedOutputs
from elastic.operators.snapshot import copied
from elastic.operators.states import describe
from elastic.operators.timers import Timers
from elastic.operators.user_state import AllKeys, CurrentKey, KeyedValues, Remembered, TickContext, as_column
from elastic.plan import ERRORS, OnError
from elastic.state.processing import StateTable, dict_keys

_Part: TypeAlias = tuple[Groups, Column, Column]
"""Groups, keys and values of rows that are emitted."""

NO_ROWS: frozenset[type] = frozenset({str, bytes, dict, tuple})
"""Iterables that are one row rather than many; returned where ``yield`` was meant."""

NO_STREAMS = np.empty(0, np.uint8)


class _UserProcessor(Processor):
    """What all kinds of operator have in common.

    Args:
        operator: The instance's own copy.
        context: Of the instance.
        on_error: What becomes of a record on which it raises.
        timers: By clock, for an operator that has any.
    """

    def __init__(
        self,
        operator: Operator,
        context: ProcessorContext,
        on_error: OnError,
        timers: Mapping[str, Timers] | None = None,
    ) -> None:
        self._operator = operator
        self._context = context
        self._on_error = on_error
        self._kept = KeyedValues()
        self._named = NamedOutputs(context.operator, operator.outputs, context.read)
        timers = timers or {}
        self._ctx = TickContext(context, self._named, self._kept, timers)
        self._states = bind(operator, self._kept, self._ctx.present)
        self._kept.parts = {f"state {name}": cells for name, cells in self._states.items()}
        self._kept.parts |= {f"{clock} timers": each for clock, each in timers.items()}

    @property
    def ctx(self) -> TickContext:
        """What the user's code is handed beside its rows."""
        return self._ctx

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Call the user's code on the tick's rows in canonical order."""
        merged = tick.merged()
        self._ctx.enter(tick, NO_STREAMS if merged is None else merged[1])
        for state in self._states.values():
            state.sweep()
        main = None if merged is None else self._process(merged[0])
        return [*([] if main is None else [main]), *self._named.take(timed=self._context.event_time)]

    @abstractmethod
    def _process(self, batch: Batch) -> Output | None:
        """Call the user's code on the rows; what it emits on the main output."""

    def due_after(self, tick: int) -> int | None:
        """The tick at which something that has expired is thrown away."""
        times = [time for state in self._states.values() if (time := state.next_us()) is not None]
        return max(tick + 1, self._context.tick_at(min(times))) if times else None

    def _recall(self, before: Iterable[Remembered]) -> None:
        """What user code has done to these keys since has not happened, and nothing of it is emitted."""
        self._kept.recall(before)
        self._named.pending.clear()

    def _fail(self, error: Exception, record: Any, key: Any) -> None:
        """User code has failed on a record, or timer, of which nothing is left: count it, divert it if it is to be.

        Raises:
            UserCodeError: It is to end the job.
        """
        operator, tick = self._context.operator, self._ctx.tick
        if self._on_error == "fail":
            raise user_error(operator, tick, record, error, key=key) from error
        told = failed_record(operator, tick, record, error, key=key)
        if self._on_error == "divert" and ERRORS in self._context.read:
            self._named.pending.append((ERRORS, told))
            group = key_group(key, self._context.key_groups) if self._ctx.group is None else self._ctx.group
            self._named.keep(group, key, self._ctx.present.row_us, copy=self._kept.aliased)
        self._context.failures.note(operator, self._on_error, [told])

    def delta(self) -> StateTable:
        """Entries that user code has set or deleted, or could have changed in place."""
        return self._kept.delta(self._context)

    def full(self) -> StateTable:
        """All entries."""
        return self._kept.full(self._context)

    def clean(self) -> None:
        """Of which keys something was set or deleted is forgotten."""
        self._kept.written.clear()

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        self._kept.restore(table)

    def common(self) -> Any:
        """What each declared state is."""
        return {name: describe(state.declared) for name, state in self._states.items()} or None

    def restore_common(self, common: Any) -> None:
        """Check that the declared states can take over what is held.

        Raises:
            StateMismatchError: A state was another kind or held another type, or is not declared any more.
        """
        for name, held in (common or {}).items():
            if name == SHARED:
                raise StateMismatchError(self._context.operator, name, "dict", None)
            declared = describe(self._states[name].declared) if name in self._states else None
            if declared != held:
                raise StateMismatchError(self._context.operator, name, held, declared)

    def __len__(self) -> int:
        return len(self._kept)


class RowProcessor(_UserProcessor):
    """One instance of an operator that overrides ``process``."""

    def __init__(
        self,
        operator: Operator,
        context: ProcessorContext,
        on_error: OnError,
        timers: Mapping[str, Timers] | None = None,
    ) -> None:
        super().__init__(operator, context, on_error, timers)
        self._state = CurrentKey(self._kept)
        self._process_row = _by_input(operator)

    def _process(self, batch: Batch) -> Output | None:
        out: list[Any] = []
        ends: list[int] = []
        self._call(batch, out, ends)
        if not out:
            return None
        emitted_by = np.repeat(np.arange(len(batch)), np.diff(ends, prepend=0))
        times = None if batch.times is None else batch.times[emitted_by]
        return Output(batch.groups[emitted_by], out, take(_of(batch.keys), emitted_by), times=times)

    def _call(self, batch: Batch, out: list[Any], ends: list[int]) -> None:
        """Hand every row to the user's code; add what it emits to ``out``, and the length of it after each to ``ends``.

        Raises:
            UserCodeError: It raised.
        """
        process, state, ctx, kept = self._process_row, self._state, self._ctx, self._kept
        present = ctx.present
        named, may_fail = self._named.pending, self._on_error != "fail"
        keys, values = dict_keys(_of(batch.keys)), rows(_of(batch.values))
        times = repeat(present.watermark_us, len(batch)) if batch.times is None else batch.times.tolist()
        rest = zip(keys, values, batch.groups.tolist(), ctx.inputs.tolist(), times, strict=True)
        key = value = result = before = None
        remember, operator, until = kept.remember_one, self._context.operator, len(ends) + len(batch)
        while len(ends) < until:
            try:
                for key, value, group, stream, present.row_us in rest:
                    kept.key, ctx.group, ctx.input = key, group, stream
                    if may_fail:
                        before = remember(operator, key)
                    result = process(key, value, state, ctx)
                    if result is not None:
                        out.extend(result if type(result) not in NO_ROWS else refused(result))
                        if kept.aliased:
                            self._copy(out, ends)
                    if named:
                        self._named.keep(group, key, present.row_us, copy=kept.aliased)
                    ends.append(len(out))
            except Exception as error:  # noqa: BLE001 (whatever a user's operator raises is the record's)
                self._undo(before, out, ends)
                self._fail(whose(error, result), value, key)
                result = None

    def _copy(self, out: list[Any], ends: list[int]) -> None:
        """Make what the last call emitted independent of the state that it may be part of."""
        start = ends[-1] if ends else 0
        out[start:] = copied(self._context.operator, [self._kept.key] * (len(out) - start), out[start:])

    def _undo(self, before: Remembered | None, out: list[Any], ends: list[int]) -> None:
        """Of the last call nothing is left."""
        if before is not None:
            self._recall([before])
        del out[ends[-1] if ends else 0 :]
        ends.append(len(out))


class ColumnProcessor(_UserProcessor):
    """One instance of an operator that overrides ``process_columns``."""

    def __init__(self, operator: Operator, context: ProcessorContext, on_error: OnError) -> None:
        super().__init__(operator, context, on_error)
        self._state = AllKeys(self._kept)

    def _process(self, batch: Batch) -> Output | None:
        self._ctx.group = None
        parts = [part for part in self._called(batch, self._ctx.inputs) if len(part[0])]
        if not parts:
            return None
        groups = np.concatenate([part[0] for part in parts])
        keys, values = concat([part[1] for part in parts]), concat([part[2] for part in parts])
        order = sort_order(groups, keys)
        keys, values = take(keys, order), take(values, order)
        return Output(groups[order], Pairs(keys, values), keys)

    def _called(self, batch: Batch, streams: npt.NDArray[np.uint8]) -> list[_Part]:
        """What the user's code gives for the rows; where it fails on some and may, as if those had not come.

        What it gives for a key depends on that key's rows only, so rows may be given in parts that keep keys together.
        """
        if self._on_error == "fail":
            try:
                return self._call(batch, streams)
            except Exception as error:
                rows_of = f"columns of {len(batch)} rows"
                raise user_error(self._context.operator, self._ctx.tick, rows_of, error) from error
        before = self._remembered(batch)
        try:
            return self._call(batch, streams)
        except Exception:  # noqa: BLE001 (whatever it is, it will come again on a smaller part)
            self._recall(before)
        if not (halves := _halves(batch)):
            return self._salvaged(batch, streams)
        return [part for half in halves for part in self._called(batch.ordered(half), streams[half])]

    def _salvaged(self, batch: Batch, streams: npt.NDArray[np.uint8]) -> list[_Part]:
        """The same for rows of one key that fail together: those that fail by themselves are found and left out."""
        before = self._remembered(batch)
        bad = dict(self._bad(batch, streams, np.arange(len(batch))))
        self._recall(before)
        good = np.array([n for n in range(len(batch)) if n not in bad], np.int64)
        parts: list[_Part] = []
        try:
            parts = self._call(batch.ordered(good), streams[good]) if len(good) else []
        except Exception as error:  # noqa: BLE001 (one by one they did not fail: so whose fault it is cannot be told)
            self._recall(before)
            bad |= dict.fromkeys(good.tolist(), error)
        keys, values = dict_keys(_of(batch.keys)), rows(_of(batch.values))
        for n in sorted(bad):
            if batch.times is not None:
                self._ctx.present.row_us = int(batch.times[n])
            self._fail(bad[n], values[n], keys[n])
        return parts

    def _bad(self, batch: Batch, streams: npt.NDArray[np.uint8], at: Indices) -> list[tuple[int, Exception]]:
        """Positions of rows on which the user's code fails when the good ones before them are processed."""
        part = batch.ordered(at)
        before = self._remembered(part)
        try:
            self._give(part, streams[at])
        except Exception as error:  # noqa: BLE001 (whatever a user's operator raises is the record's)
            self._recall(before)
            if len(at) == 1:
                return [(int(at[0]), error)]
            middle = len(at) // 2
            return self._bad(batch, streams, at[:middle]) + self._bad(batch, streams, at[middle:])
        return []

    def _remembered(self, batch: Batch) -> list[Remembered]:
        """What the keys of the rows have before user code is called."""
        return self._kept.remember(self._context.operator, dict.fromkeys(dict_keys(_of(batch.keys))))

    def _call(self, batch: Batch, streams: npt.NDArray[np.uint8]) -> list[_Part]:
        """What the user's code gives for the rows; what it emits on named outputs is kept."""
        main, named = self._give(batch, streams)
        for name, part in named:
            self._named.keep_columns(name, *part)
        return main

    def _give(self, batch: Batch, streams: npt.NDArray[np.uint8]) -> tuple[list[_Part], list[tuple[str, _Part]]]:
        given = _of(batch.keys)
        if not isinstance(given, pa.Array) or pa.types.is_floating(given.type):
            given = dict_keys(given)  # so that user code, too, takes every NaN for one key
        self._ctx.inputs = streams
        result = self._operator.process_columns(given, _of(batch.values), self._state, self._ctx)
        named = [
            (name, self._emitted(batch, f"ctx.emit_columns({name!r})", emitted))
            for name, emitted in self._named.pending
        ]
        self._named.pending.clear()
        return [] if result is None else [self._emitted(batch, "process_columns", result)], named

    def _emitted(self, batch: Batch, call: str, result: Any) -> _Part:
        """Groups, keys and values of what a call gave, if it may; values as they are now."""
        keys, values = _checked(call, result)
        groups = self._groups(batch, call, keys)
        if self._kept.aliased and isinstance(values, list):
            values = copied(self._context.operator, rows(keys), values)
        return groups, keys, values

    def _groups(self, batch: Batch, call: str, keys: Column) -> Groups:
        """The groups that emit the rows: those of their keys, which must be groups that the batch has rows of."""
        groups = groups_of(keys, self._context.key_groups)
        given = np.zeros(self._context.key_groups, bool)
        given[batch.groups] = True
        if not given[groups].all():
            key = rows(keys)[int(np.argmin(given[groups]))]
            raise ValueError(
                f"{call} gives the key {key!r}, of which the tick had no row; emit only keys that were "
                "given, or key the stream by the other key after this operator"
            )
        return groups


def _halves(batch: Batch) -> list[Indices]:
    """Two parts of the rows, each with all rows of its keys; none if there is one key only."""
    numbers: dict[Any, int] = {}
    each = np.array([numbers.setdefault(key, len(numbers)) for key in dict_keys(_of(batch.keys))])
    if len(numbers) == 1:
        return []
    first = each < len(numbers) // 2
    return [np.flatnonzero(first), np.flatnonzero(~first)]


def _by_input(operator: Operator) -> Callable[..., Any]:
    """What is called for a row: ``process``, or what the operator has for the input that the row came on."""
    each = [getattr(operator, f"process_{name}", operator.process) for name in operator.inputs]
    if all(method == operator.process for method in each):
        return operator.process
    return lambda key, value, state, ctx: each[ctx.input](key, value, state, ctx)


def _of(column: Column | None) -> Column:
    assert column is not None, "an edge to a user's operator carries keys and values"
    return column


def refused(result: Any) -> NoReturn:
    """Refuse what was returned where rows are expected."""
    raise _not_rows(result)


def whose(error: Exception, result: Any) -> Exception:
    """The error, in words about what was returned if that is what is wrong."""
    if isinstance(error, TypeError) and result is not None and not hasattr(result, "__iter__"):
        return _not_rows(result)
    return error


def _not_rows(result: Any) -> TypeError:
    return TypeError(
        f"process returned {kind_of(result)}, which is not taken for rows; write `yield row`, or return a list of "
        "rows, such as [(key, value)]"
    )


def _checked(call: str, result: Any) -> tuple[Column, Column]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{call} gives {kind_of(result)}; return (keys, values), or None for no rows")
    keys, values = map(as_column, result)
    if len(keys) != len(values):
        raise ValueError(f"{call} gives {len(keys)} keys for {len(values)} values; give one key for each")
    return keys, values
