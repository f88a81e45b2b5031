"""A user's own keyed operator, row by row or in columns: its state, its context, and what becomes of its output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from elastic.batch import Batch, Column, Groups, Pairs, rows, take
from elastic.errors import UserCodeError
from elastic.keys import groups_of, sort_order
from elastic.operators.base import (
    Operator,
    Output,
    Processor,
    ProcessorContext,
    TickInput,
)  # fmt: skip
from elastic.operators.bound_states import StateMismatchError, bind
from elastic.operators.failure import user_error
from elastic.operators.named import NamedOutputs
from elastic.operators.snapshot import copied
from elastic.operators.states import describe
from elastic.operators.timers import Timers
from elastic.operators.user_state import AllKeys, CurrentKey, KeyedValues, TickContext, as_column
from elastic.state.processing import StateTable, dict_keys

NO_ROWS: frozenset[type] = frozenset({str, bytes, dict, tuple})
"""Iterables that are one row rather than many; returned where ``yield`` was meant."""

NO_STREAMS = np.empty(0, np.uint8)


class _UserProcessor(Processor):
    """What all kinds of operator have in common.

    Args:
        timers: By clock, for an operator that has any.
    """

    def __init__(
        self, operator: Operator, context: ProcessorContext, timers: Mapping[str, Timers] | None = None
    ) -> None:
        self._operator = operator
        self._context = context
        self._kept = KeyedValues()
        self._named = NamedOutputs(context.operator, operator.outputs, context.read)
        timers = timers or {}
        self._ctx = TickContext(context, self._named, self._kept, timers)
        self._states = bind(operator, self._kept, self._ctx.present)
        self._kept.parts = {f"state {name}": cells for name, cells in self._states.items()}
        self._kept.parts |= {f"{clock} timers": each for clock, each in timers.items()}

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Call the user's code on the tick's rows in canonical order."""
        merged = tick.merged()
        self._ctx.enter(tick, NO_STREAMS if merged is None else merged[1])
        for state in self._states.values():
            state.sweep()
        main = None if merged is None else self._process(merged[0])
        return [*([] if main is None else [main]), *self._named.take()]

    @abstractmethod
    def _process(self, batch: Batch) -> Output | None:
        """Call the user's code on the rows; what it emits on the main output."""

    def due_after(self, tick: int) -> int | None:
        """The tick at which something that has expired is thrown away."""
        times = [time for state in self._states.values() if (time := state.next_us()) is not None]
        return max(tick + 1, self._context.tick_at(min(times))) if times else None

    def delta(self) -> StateTable:
        """Entries that user code has set or deleted, or could have changed in place."""
        return self._kept.delta(self._context)

    def full(self) -> StateTable:
        """All entries."""
        return self._kept.full(self._context)

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
            declared = describe(self._states[name].declared) if name in self._states else None
            if declared != held:
                raise StateMismatchError(self._context.operator, name, held, declared)

    def __len__(self) -> int:
        return len(self._kept)


class RowProcessor(_UserProcessor):
    """One instance of an operator that overrides ``process``."""

    def __init__(
        self, operator: Operator, context: ProcessorContext, timers: Mapping[str, Timers] | None = None
    ) -> None:
        super().__init__(operator, context, timers)
        self._state = CurrentKey(self._kept)

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
        process, state, ctx, kept = self._operator.process, self._state, self._ctx, self._kept
        present = ctx.present
        named = self._named.pending
        keys, values = dict_keys(_of(batch.keys)), rows(_of(batch.values))
        times = repeat(present.watermark_us, len(batch)) if batch.times is None else batch.times.tolist()
        key = value = result = None
        try:
            for key, value, group, stream, present.row_us in zip(
                keys, values, batch.groups.tolist(), ctx.inputs.tolist(), times, strict=True
            ):
                kept.key, ctx.group, ctx.input = key, group, stream
                result = process(key, value, state, ctx)
                if result is not None:
                    out.extend(result if type(result) not in NO_ROWS else refused(result))
                    if kept.aliased:
                        self._copy(out, ends)
                if named:
                    self._named.keep(group, key, copy=kept.aliased)
                ends.append(len(out))
        except Exception as error:
            raise self._failure(error, key, value, result) from error

    def _copy(self, out: list[Any], ends: list[int]) -> None:
        """Make what the last call emitted independent of the state that it may be part of."""
        start = ends[-1] if ends else 0
        out[start:] = copied(self._context.operator, [self._kept.key] * (len(out) - start), out[start:])

    def _failure(self, error: Exception, key: Any, record: Any, result: Any) -> UserCodeError:
        if isinstance(error, TypeError) and result is not None and not hasattr(result, "__iter__"):
            error = _not_rows(result)
        return user_error(self._context.operator, self._ctx.tick, record, error, key=key)


class ColumnProcessor(_UserProcessor):
    """One instance of an operator that overrides ``process_columns``."""

    def __init__(self, operator: Operator, context: ProcessorContext) -> None:
        super().__init__(operator, context)
        self._state = AllKeys(self._kept)

    def _process(self, batch: Batch) -> Output | None:
        operator, tick = self._context.operator, self._ctx.tick
        self._ctx.group = None
        given = _of(batch.keys)
        if not isinstance(given, pa.Array) or pa.types.is_floating(given.type):
            given = dict_keys(given)  # so that user code, too, takes every NaN for one key
        try:
            result = self._operator.process_columns(given, _of(batch.values), self._state, self._ctx)
            for name, emitted in self._named.pending:
                self._named.keep_columns(name, *self._emitted(batch, f"ctx.emit_columns({name!r})", emitted))
            self._named.pending.clear()
            if result is None:
                return None
            groups, keys, values = self._emitted(batch, "process_columns", result)
        except Exception as error:
            raise user_error(operator, tick, f"columns of {len(batch)} rows", error) from error
        if not len(groups):
            return None
        order = sort_order(groups, keys)
        keys, values = take(keys, order), take(values, order)
        return Output(groups[order], Pairs(keys, values), keys)

    def _emitted(self, batch: Batch, call: str, result: Any) -> tuple[Groups, Column, Column]:
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


def _of(column: Column | None) -> Column:
    assert column is not None, "an edge to a user's operator carries keys and values"
    return column


def refused(result: Any) -> NoReturn:
    """Refuse what was returned where rows are expected."""
    raise _not_rows(result)


def _not_rows(result: Any) -> TypeError:
    kind = type(result).__name__
    return TypeError(
        f"process returned a {kind}, which is not taken for rows; write `yield row`, or return a list of rows, such as "
        "[(key, value)]"
    )


def _checked(call: str, result: Any) -> tuple[Column, Column]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"{call} gives a {type(result).__name__}; return (keys, values), or None for no rows")
    keys, values = map(as_column, result)
    if len(keys) != len(values):
        raise ValueError(f"{call} gives {len(keys)} keys for {len(values)} values; give one key for each")
    return keys, values
