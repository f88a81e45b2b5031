"""What a source's partitions have yet to begin, and how far back in event time that goes.

A partition is read in one order, and mostly its times ascend; but where it goes on with another file, they may begin
again: the logs of two servers are of the same day. Rows of the second must not be late because the first was read
before. So readers tell where such places lie and what record comes first there, and the marks of a partition are held
back to the earliest of those that it has not reached. What was read of a partition is a range of positions, so what its
mark is held to is a function of the input log, as the mark is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from elastic.batch import Column, Marks, take
from elastic.connectors.base import Position, Reader
from elastic.errors import ElasticError
from elastic.operators.base import Output
from elastic.operators.stateless import Chain, chains
from elastic.operators.timestamps import BEGINNING
from elastic.plan import Plan

Held = Mapping[int, Marks]
"""By edge: up to what time the mark of a partition may go; partitions that nothing holds are left out."""


class Ahead:
    """The places ahead in the partitions of one source instance.

    Args:
        plan: The source's operator and the edges behind it.
        operator: Name of the source.
        partitions: Key group and reader of each.
    """

    def __init__(self, plan: Plan, operator: str, partitions: Iterable[tuple[int, Reader]]) -> None:
        timed = {edge.id for edge in plan.outputs(operator) if edge.event_time is not None}
        self._chains = {edge: chain for edge, chain in chains(plan, operator).items() if edge in timed}
        self._places: dict[int, list[Position]] = {}
        self._earliest: dict[tuple[int, int], list[int]] = {}
        for group, reader in partitions if timed else ():
            if found := reader.ahead():
                self._add(group, found)

    def _add(self, group: int, found: Sequence[tuple[Position, Column]]) -> None:
        self._places[group] = [position for position, _ in found]
        for edge, chain in self._chains.items():
            times = [_first_time(chain, group, records) for _, records in found]
            self._earliest[edge, group] = np.minimum.accumulate(times[::-1])[::-1].tolist()

    def held(self, read: Iterable[tuple[int, Position]]) -> Held:
        """What the marks of a tick are held to, of the partitions that were read in it.

        Args:
            read: Key group of each, and where the tick's rows of it begin.
        """
        ahead = [(g, n) for g, start in read if g in self._places and (n := self._reached(g, start)) is not None]
        if not ahead:
            return {}
        return {edge: tuple((g, self._earliest[edge, g][n]) for g, n in ahead) for edge in self._chains}

    def _reached(self, group: int, start: Position) -> int | None:
        """The first place at or after a position; what a tick itself reaches is still ahead of it."""
        places = self._places[group]
        n = bisect_left(places, start)
        return n if n < len(places) else None


def _first_time(chain: Chain, group: int, records: Column) -> int:
    """The event time of the first of the records that has one; before all times if none has."""
    for n in range(len(records)):
        record = Output(np.array([group], np.uint16), take(records, np.array([n])))
        try:
            batch = chain.run([(record, {})], 0)
        except ElasticError:  # it is told when it is read
            continue
        if batch is not None and batch.marks:
            return batch.marks[0][1]
    return BEGINNING
