"""Chains: the stateless steps of an edge, its key function, and the partial aggregation before the shuffle.

A chain runs in the instance that produces the rows, on its whole tick at once. What it gives is a function of its rows
alone, whatever way the producer's key space is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from elastic.batch import Batch, Column, Marks, Pairs, Times, carried, columnar, rows, sorted_batch
from elastic.errors import KeyTypeError
from elastic.keys import groups_of, key_group
from elastic.operators.base import Output
from elastic.operators.combine import Combined, combined, counted_by_pane
from elastic.operators.failure import Failures, user_error
from elastic.operators.spread import spread
from elastic.operators.steps import Flow, mapped, one_column, stepped
from elastic.plan import ByPane, Combine, Edge, Plan, Step

Memo: TypeAlias = "dict[tuple[int, ...], Flow]"
"""One for each piece of a producer's tick, in which edges that begin with the same steps share their result."""

_WITHOUT_VALUES = ("count", "keys")

_LIKE_ROWS = ("sum", "min", "max")
"""Aggregates to which it is the same whether a value is a row's or was combined of several."""


def chains(plan: Plan, operator: str, failures: Failures | None = None) -> dict[int, Chain]:
    """The chains of an operator's output edges, by edge."""
    return chains_of(plan.outputs(operator), plan.settings.key_groups, failures)


def chains_of(edges: Sequence[Edge], key_groups: int, failures: Failures | None = None) -> dict[int, Chain]:
    """The chains of edges of one operator, by edge.

    Edges that begin with the same step track groups if one of them must, so that what they share is computed once; and
    where records may be skipped or diverted, so that it is known whose they were.
    """
    tracking = {e.steps[0].identity for e in edges if e.steps and (not e.keyed or _may_fail(e))}
    return {
        edge.id: Chain(
            edge, key_groups, failures=failures,
            tracked=not edge.keyed or bool(edge.steps and edge.steps[0].identity in tracking),
        )
        for edge in edges
    }  # fmt: skip


class Chain:
    """The producer's side of one edge.

    Attributes:
        output: Which of the producer's outputs it carries.
        counts: Whether some step of it skips or diverts records, which are counted at every replay.

    Args:
        edge: Its steps, key, value and partial aggregation.
        key_groups: Of the job.
        tracked: Keep the emitting group of each row; needed on an edge without keys only.
        failures: Where records are counted that a step skips or diverts.
    """

    def __init__(self, edge: Edge, key_groups: int, *, tracked: bool, failures: Failures | None = None) -> None:
        self._edge = edge
        self._failures = failures or Failures()
        self.output = edge.output
        self.counts = _may_fail(edge)
        self._key_groups = key_groups
        self._tracked = tracked or not edge.keyed or edge.event_time is not None

    def run(self, pieces: Sequence[tuple[Output, Memo]], tick: int, held: Marks = ()) -> Batch | None:
        """What the edge carries of a tick, sorted by key group; None for nothing.

        Args:
            pieces: What the producer emitted, in one piece or several, each with its memo.
            tick: When.
            held: How far the marks of some source partitions may go.

        Raises:
            UserCodeError: A function of the user's raised, or returned what its step cannot use.
        """
        combine = self._edge.combine
        full = [piece for piece in pieces if len(piece[0].groups)]
        found = [b for piece in full if (b := self._piece(*piece, tick, combine)) is not None]
        if len({b.partial for b in found if len(b)}) > 1 and combine not in _LIKE_ROWS:  # then none is to be combined
            found = [b for piece in full if (b := self._piece(*piece, tick, None)) is not None]
        if self._edge.event_time is None and not found:
            return None
        marks = tuple(mark for output, _ in pieces for mark in output.marks) if self._edge.event_time else ()
        whole = carried(found, marks, held)
        return spread(whole, tick, self._key_groups) if whole is not None and self._edge.route == "spread" else whole

    def _piece(self, output: Output, memo: Memo, tick: int, combine: Combine | None) -> Batch | None:
        flow = self._stepped(output, tick, memo)
        if self._edge.event_time is None:
            flow = replace(flow, times=None, marks=()) if flow.marks or flow.times is not None else flow
        batch = self._batch(flow, tick, combine)
        return carried([batch], flow.marks) if flow.marks else batch

    def _batch(self, flow: Flow, tick: int, combine: Combine | None) -> Batch | None:
        if not len(flow.column):
            return None
        if self._edge.keyed:
            return self._keyed(flow, tick, combine)
        assert flow.groups is not None
        return Batch(flow.groups, None, self._values(flow.column, tick), times=flow.times)

    def _stepped(self, output: Output, tick: int, memo: Memo) -> Flow:
        flow = Flow(output.values, output.groups if self._tracked else None, times=output.times)
        done: tuple[int, ...] = ()
        for step in self._edge.steps:
            done = (*done, step.identity)
            known = memo.get(done)
            if known is None or (self._tracked and known.groups is None):
                known = memo[done] = self._after(step, flow, tick)
            flow = known
        return flow

    def _after(self, step: Step, flow: Flow, tick: int) -> Flow:
        flow = stepped(step, flow, tick)
        if flow.failed is not None:
            groups = None if flow.failed.groups is None else flow.failed.groups.tolist()
            self._failures.note(step.name, step.on_error, rows(flow.failed.column), groups)
        return flow

    def _keyed(self, flow: Flow, tick: int, combine: Combine | None) -> Batch | None:
        edge = self._edge
        keys = flow.keys if flow.keys is not None else flow.column
        if edge.key is not None:
            keys = mapped(edge.key_name, edge.key, flow.column, tick)
        by_pane = isinstance(combine, ByPane)
        values = None if by_pane or combine in _WITHOUT_VALUES else self._values(flow.column, tick)
        if isinstance(keys, list) and combine != "count":  # counting makes a column of fewer keys
            keys = columnar(keys)
        if combine == "pairs":
            keys, values = Pairs(one_column(keys), one_column(values)), None
        try:
            if isinstance(combine, ByPane) and flow.times is not None:
                return self._by_pane(keys, flow.times, combine)
            found = combined(combine, keys, values, operator=edge.consumer, tick=tick) if combine else None
            if found is None:
                found = Combined(keys, values, partial=False)
            groups = groups_of(found.keys, self._key_groups)
            times = flow.times if edge.combine is None else None  # what combines rows has no use for their times
            return sorted_batch(groups, found.keys, found.values, partial=found.partial, times=times)
        except KeyTypeError as error:
            at = _first_that_is_no_key(rows(keys))
            raise user_error(edge.key_name, tick, rows(flow.column)[at], error) from error

    def _by_pane(self, keys: Column, times: Times, panes: ByPane) -> Batch:
        counts = counted_by_pane(keys, times, panes)
        groups = groups_of(counts.keys, self._key_groups)
        return sorted_batch(groups, counts.keys, counts.counts, partial=True, times=counts.starts)

    def _values(self, column: Column, tick: int) -> Column:
        function = self._edge.value
        values = column if function is None else mapped(self._edge.consumer, function, column, tick)
        return columnar(values) if isinstance(values, list) else values


def _may_fail(edge: Edge) -> bool:
    """Whether some step of it skips or diverts records."""
    return any(step.on_error != "fail" for step in edge.steps)


def _first_that_is_no_key(keys: list[Any]) -> int:
    for at, key in enumerate(keys):
        try:
            key_group(key)
        except KeyTypeError:
            return at
    return 0
