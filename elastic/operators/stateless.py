"""Chains: the stateless steps of an edge, its key function, and the partial aggregation before the shuffle.

A chain runs in the instance that produces the rows, on its whole tick at once. Where a function knows columns and the
rows are one, it gets the column; else it is mapped over the rows by loops that run in C. What a chain gives is a
function of its rows alone, whatever way the producer's key space is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import length_hint, truth
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elastic.batch import Batch, Column, Groups, columnar, mask, rows, sorted_batch
from elastic.errors import KeyTypeError
from elastic.functions import apply_column, row_form
from elastic.keys import groups_of, key_group
from elastic.operators.base import Output
from elastic.operators.combine import combined
from elastic.operators.failure import shortened, user_error
from elastic.plan import Edge, Step

T = TypeVar("T")

_SIZED: frozenset[type] = frozenset({list, tuple})


@dataclass(frozen=True, slots=True)
class _Flow:
    """Rows between two steps, and the key group that each was emitted from, where that is tracked."""

    column: Column
    groups: Groups | None


class Chain:
    """The producer's side of one edge.

    Args:
        edge: Its steps, key, value and partial aggregation.
        key_groups: Of the job.
        tracked: Keep the emitting group of each row; needed on an edge without keys only.
    """

    def __init__(self, edge: Edge, key_groups: int, *, tracked: bool) -> None:
        self._edge = edge
        self._key_groups = key_groups
        self._tracked = tracked or not edge.keyed

    def run(self, output: Output, tick: int, memo: dict[tuple[int, ...], Any]) -> Batch | None:
        """What the edge carries of one tick's output, sorted by key group; None for nothing.

        Args:
            output: What the producer emitted.
            tick: When.
            memo: One dict per producer and tick, in which edges that begin with the same steps share their result.

        Raises:
            UserCodeError: A function of the user's raised, or returned what its step cannot use.
        """
        flow = self._stepped(output, tick, memo)
        if not len(flow.column):
            return None
        if self._edge.keyed:
            return self._keyed(flow.column, tick)
        assert flow.groups is not None
        return Batch(flow.groups, None, self._values(flow.column, tick))

    def _stepped(self, output: Output, tick: int, memo: dict[tuple[int, ...], Any]) -> _Flow:
        flow = _Flow(output.values, output.groups if self._tracked else None)
        done: tuple[int, ...] = ()
        for step in self._edge.steps:
            done = (*done, step.identity)
            known = memo.get(done)
            if known is None or (self._tracked and known.groups is None):
                known = memo[done] = _STEPS[step.kind](step, flow, tick)
            flow = known
        return flow

    def _keyed(self, column: Column, tick: int) -> Batch:
        edge = self._edge
        keys = column if edge.key is None else mapped(edge.key_name, edge.key, column, tick)
        values = None if edge.combine == "count" else self._values(column, tick)
        if isinstance(keys, list) and edge.combine != "count":  # counting makes a column of fewer keys
            keys = columnar(keys)
        try:
            pairs = combined(edge.combine, keys, values) if edge.combine else None
            if pairs is None:
                return sorted_batch(groups_of(keys, self._key_groups), keys, values)
            return sorted_batch(groups_of(pairs.keys, self._key_groups), pairs.keys, pairs.values, partial=True)
        except KeyTypeError as error:
            at = _first_that_is_no_key(rows(keys))
            raise user_error(edge.key_name, tick, rows(column)[at], error) from error

    def _values(self, column: Column, tick: int) -> Column:
        function = self._edge.value
        values = column if function is None else mapped(self._edge.consumer, function, column, tick)
        return columnar(values) if isinstance(values, list) else values


def mapped(name: str, function: Callable[[Any], Any], column: Column, tick: int) -> Column:
    """The function's result for each row.

    Raises:
        UserCodeError: The function raised.
    """
    result = _by_column(name, function, column, tick)
    return _by_row(name, function, rows(column), tick) if result is None else result


def _map(step: Step, flow: _Flow, tick: int) -> _Flow:
    return _Flow(mapped(step.name, step.function, flow.column, tick), flow.groups)


def _filter(step: Step, flow: _Flow, tick: int) -> _Flow:
    """What is kept is decided by truth, as Python's own ``filter`` does it."""
    column, groups, function = flow.column, flow.groups, row_form(step.function)
    keep = _by_column(step.name, step.function, column, tick)
    if keep is None:
        source = rows(column)
        if groups is None:
            return _Flow(_traced(step.name, source, source, tick, lambda it: list(filter(function, it))), None)
        column, keep = source, _traced(step.name, source, source, tick, lambda it: list(map(truth, map(function, it))))
    if isinstance(keep, pa.Array) and pa.types.is_boolean(keep.type):
        flags = np.asarray(pc.fill_null(keep, False))
    else:
        flags = np.fromiter(map(truth, rows(keep)), bool, len(keep))
    return _Flow(mask(column, flags), None if groups is None else groups[flags])


def _flat_map(step: Step, flow: _Flow, tick: int) -> _Flow:
    """Lists, tuples and any other iterable are unrolled, except a str or bytes, which is taken for a mistake."""
    results = _by_column(step.name, step.function, flow.column, tick)
    if isinstance(results, pa.ListArray | pa.LargeListArray) and not results.null_count:
        groups = flow.groups
        if groups is not None:
            groups = np.repeat(groups, np.asarray(pc.list_value_length(results)))
        return _Flow(results.flatten(), groups)
    source = rows(flow.column)
    lists = _by_row(step.name, step.function, source, tick) if results is None else rows(results)
    if not _SIZED.issuperset(map(type, lists)):
        lists = _traced(step.name, lists, source, tick, lambda it: list(map(_listed, it)))
    groups = flow.groups
    if groups is not None:
        groups = np.repeat(groups, np.fromiter(map(len, lists), np.int64, len(lists)))
    return _Flow(list(chain.from_iterable(lists)), groups)


_STEPS: dict[str, Callable[[Step, _Flow, int], _Flow]] = {"map": _map, "filter": _filter, "flat_map": _flat_map}


def _listed(result: Any) -> list[Any]:
    """The rows that a function returned for one row of a ``flat_map``."""
    kind = type(result).__name__
    if isinstance(result, str | bytes):
        raise TypeError(
            f"flat_map got the {kind} {shortened(result)}, and would cut it up; return a list of rows, such as [text], "
            "or list(text) if that is what is meant"
        )
    try:
        each = iter(result)
    except TypeError:
        raise TypeError(
            f"flat_map needs an iterable of rows for each row, and got {kind}; return a list, an empty one for no rows"
        ) from None
    return list(each)


def _by_column(name: str, function: Callable[[Any], Any], column: Column, tick: int) -> Column | None:
    """The function's result for the whole column; None if it wants rows."""
    try:
        return apply_column(function, column)
    except Exception as error:
        _by_row(name, function, rows(column), tick)  # names the row, if it is the row's fault
        raise user_error(name, tick, f"column of {len(column)} rows", error) from error


def _by_row(name: str, function: Callable[[Any], Any], source: list[Any], tick: int) -> list[Any]:
    by_row = row_form(function)
    return _traced(name, source, source, tick, lambda it: list(map(by_row, it)))


def _traced(name: str, source: list[Any], records: Sequence[Any], tick: int, loop: Callable[[Iterator[Any]], T]) -> T:
    """What ``loop`` makes of ``source``; if it raises, the error names the record at the place that it had come to.

    The good case pays nothing for it: a list's iterator knows how much is left of it.
    """
    items = iter(source)
    try:
        result = loop(items)
    except Exception as error:
        raise user_error(name, tick, records[len(source) - length_hint(items) - 1], error) from error
    if left := length_hint(items):  # a StopIteration of the user's ends a loop in C without a sound
        problem = RuntimeError("the function raised StopIteration, which would have dropped all rows after this one")
        raise user_error(name, tick, records[len(source) - left - 1], problem)
    return result


def _first_that_is_no_key(keys: list[Any]) -> int:
    for at, key in enumerate(keys):
        try:
            key_group(key)
        except KeyTypeError:
            return at
    return 0
