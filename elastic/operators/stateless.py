"""Chains: the stateless steps of an edge, its key function, and the partial aggregation before the shuffle.

A chain runs in the instance that produces the rows, on its whole tick at once. What it gives is a function of its rows
alone, whatever way the producer's key space is cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elastic.batch import Batch, Column, columnar, rows, sorted_batch
from elastic.errors import KeyTypeError
from elastic.keys import groups_of, key_group
from elastic.operators.base import Output
from elastic.operators.combine import combined
from elastic.operators.failure import user_error
from elastic.operators.steps import Flow, mapped, stepped
from elastic.plan import Edge


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
            return self._keyed(flow, tick)
        assert flow.groups is not None
        return Batch(flow.groups, None, self._values(flow.column, tick))

    def _stepped(self, output: Output, tick: int, memo: dict[tuple[int, ...], Any]) -> Flow:
        flow = Flow(output.values, output.groups if self._tracked else None)
        done: tuple[int, ...] = ()
        for step in self._edge.steps:
            done = (*done, step.identity)
            known = memo.get(done)
            if known is None or (self._tracked and known.groups is None):
                known = memo[done] = stepped(step, flow, tick)
            flow = known
        return flow

    def _keyed(self, flow: Flow, tick: int) -> Batch | None:
        edge = self._edge
        keys = flow.column if edge.key is None else mapped(edge.key_name, edge.key, flow.column, tick)
        if edge.value_steps:
            flow = replace(flow, keys=columnar(keys) if isinstance(keys, list) else keys)
            for step in edge.value_steps:
                flow = stepped(step, flow, tick)
            if not len(flow.column):
                return None
            assert flow.keys is not None
            keys = flow.keys
        values = None if edge.combine == "count" else self._values(flow.column, tick)
        if isinstance(keys, list) and edge.combine != "count":  # counting makes a column of fewer keys
            keys = columnar(keys)
        try:
            pairs = combined(edge.combine, keys, values) if edge.combine else None
            if pairs is None:
                return sorted_batch(groups_of(keys, self._key_groups), keys, values)
            return sorted_batch(groups_of(pairs.keys, self._key_groups), pairs.keys, pairs.values, partial=True)
        except KeyTypeError as error:
            at = _first_that_is_no_key(rows(keys))
            raise user_error(edge.key_name, tick, rows(flow.column)[at], error) from error

    def _values(self, column: Column, tick: int) -> Column:
        function = self._edge.value
        values = column if function is None else mapped(self._edge.consumer, function, column, tick)
        return columnar(values) if isinstance(values, list) else values


def _first_that_is_no_key(keys: list[Any]) -> int:
    for at, key in enumerate(keys):
        try:
            key_group(key)
        except KeyTypeError:
            return at
    return 0
