"""``rebalance``: rows spread evenly over key groups, and so over instances, whatever their keys are.

A row's key group follows from the tick, the group that it was emitted from, and its position among the rows of both. So
it is the same in every replay, however many instances the producer has and however its output came in pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from elastic.batch import Batch, Groups, sorted_batch
from elastic.keys import key_hash
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.state.processing import StateTable

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: its multiples, modulo 2^64, lie evenly at whatever length the sequence ends."""


def spread(batch: Batch, tick: int, key_groups: int) -> Batch:
    """The rows of one tick, given by the group that each was emitted from, by the group that it is to go to.

    Rows that meet in a group keep their order. Of n rows from one group, every interval of key groups gets its share of
    n, give or take two or three.
    """
    groups = batch.groups
    position = (np.arange(len(groups)) - np.searchsorted(groups, groups)).astype(np.uint64)
    emitted_from, at = np.unique(groups, return_inverse=True)
    starts = np.array([key_hash((tick, int(group))) for group in emitted_from], np.uint64)
    points = starts[at] + position * _GOLDEN
    to: Groups = ((points >> np.uint64(32)) * np.uint64(key_groups) >> np.uint64(32)).astype(np.uint16)
    return replace(sorted_batch(to, None, batch.values, times=batch.times), marks=batch.marks)


@dataclass(frozen=True, slots=True)
class Rebalance:
    """The operator behind a spread edge; ``make`` gives the processor of one instance."""

    functions: tuple[Any, ...] = ()

    def make(self, context: ProcessorContext) -> Processor:
        """The processor of one instance."""
        return RebalanceProcessor()


class RebalanceProcessor(Processor):
    """Emits what comes, so that the steps behind it run where the rows were spread to. It has no state."""

    def process(self, tick: TickInput) -> Sequence[Output]:
        """Emit the rows in canonical order."""
        merged = tick.merged()
        if merged is None or merged[0].values is None:
            return []
        return [Output(merged[0].groups, merged[0].values, times=merged[0].times)]

    def delta(self) -> StateTable:
        """Nothing."""
        return self.full()

    def full(self) -> StateTable:
        """Nothing."""
        return StateTable(np.empty(0, np.uint16), [])

    def restore(self, table: StateTable) -> None:
        """Nothing to take over."""

    def __len__(self) -> int:
        return 0
