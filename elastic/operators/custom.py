"""A user's own keyed operator, row by row or in columns: its state, its context, and what becomes of its output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from elastic.batch import Batch, Column, Groups, Pairs, rows, take
from elastic.keys import groups_of, sort_order
from elastic.operators.base import (
    Operator,
    Output,
    Processor,
    ProcessorContext,
    TickInput,
)  # fmt: skip
from elastic.operators.failure import user_error
from elastic.operators.named import NamedOutputs
from elastic.operators.snapshot import copied
from elastic.operators.user_state import AllKeys, CurrentKey, KeyedValues, TickContext, as_column
from elastic.state.processing import StateTable, dict_keys

_NO_ROWS: frozenset[type] = frozenset({str, bytes, dict, tuple})
"""Iterables that are one row rather than many; returned where ``yield`` was meant."""


@dataclass(frozen=True, slots=True)
class Apply:
    """A user's operator in the query; ``make`` gives the processor of one instance."""

    operator: Operator

    def make(self, context: ProcessorContext) -> Processor:
        """The processor of one instance, with its own copy of the operator and no state."""
        by_columns = type(self.operator).process_columns is not Operator.process_columns
        return (ColumnProcessor if by_columns else RowProcessor)(deepcopy(self.operator), context)


class _UserProcessor(Processor):
    """What both kinds of operator have in common."""

    def __init__(self, operator: Operator, context: ProcessorContext) -> None:
        self._operator = operator
        self._context = context
        self._kept = KeyedValues()
        self._named = NamedOutputs(context.operator, operator.outputs, context.read)
        self._ctx = TickContext(context, self._named)

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Call the user's code on the tick's rows in canonical order."""
        merged = tick.merged()
        if merged is None:
            return []
        batch, streams = merged
        self._ctx.enter(tick.tick, streams)
        main = self._process(batch)
        return [*([] if main is None else [main]), *self._named.take()]

    @abstractmethod
    def _process(self, batch: Batch) -> Output | None:
        """Call the user's code on the rows; what it emits on the main output."""

    def delta(self) -> StateTable:
        """Entries that user code has set or deleted, or could have changed in place."""
        return self._kept.delta(self._context)

    def full(self) -> StateTable:
        """All entries."""
        return self._kept.full(self._context)

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        self._kept.restore(table)

    def __len__(self) -> int:
        return len(self._kept.values)


class RowProcessor(_UserProcessor):
    """One instance of an operator that overrides ``process``."""

    def __init__(self, operator: Operator, context: ProcessorContext) -> None:
        super().__init__(operator, context)
        self._state = CurrentKey(self._kept)

    def _process(self, batch: Batch) -> Output | None:
        process, state, ctx, kept = self._operator.process, self._state, self._ctx, self._kept
        named = self._named.pending
        keys, values = dict_keys(_of(batch.keys)), rows(_of(batch.values))
        out: list[Any] = []
        ends: list[int] = []  # length of the output after each row
        key = value = result = None
        try:
            for key, value, group, stream in zip(keys, values, batch.groups.tolist(), ctx.inputs.tolist(), strict=True):
                state.key, ctx.group, ctx.input = key, group, stream
                result = process(key, value, state, ctx)
                if result is not None:
                    out.extend(result if type(result) not in _NO_ROWS else _refused(result))
                    if kept.aliased:
                        start = ends[-1] if ends else 0
                        out[start:] = copied(self._context.operator, [key] * (len(out) - start), out[start:])
                if named:
                    self._named.keep(group, key, copy=kept.aliased)
                ends.append(len(out))
        except Exception as error:
            if isinstance(error, TypeError) and result is not None and not hasattr(result, "__iter__"):
                error = _not_rows(result)
            raise user_error(self._context.operator, ctx.tick, value, error, key=key) from error
        if not out:
            return None
        emitted_by = np.repeat(np.arange(len(batch)), np.diff(ends, prepend=0))
        return Output(batch.groups[emitted_by], out, take(_of(batch.keys), emitted_by))


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


def _refused(result: Any) -> NoReturn:
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
