"""A sink on trial: what it is given to write, and what its target must then hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from elastic.batch import Batch, Column, Groups, Pairs, columnar, rows
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.keys import KeyInterval, groups_of
from elastic.testing.contract import demand, fingerprints

GROUPS = 16
ALL = KeyInterval(0, GROUPS)
LOW, HIGH = KeyInterval(0, 8), KeyInterval(8, GROUPS)
Ticks: TypeAlias = "list[tuple[int, Batch]]"
Guarantee: TypeAlias = Literal["exactly once", "at least once"]
RowOf: TypeAlias = "Callable[[str, int], Any] | None"
"""From a key and a number to a row of the sink; None writes the pair."""


def context_in(directory: Path, run_id: str = "run-1", operator: str = "results (1-2)") -> SinkContext:
    """Under what identity the sink writes."""
    return SinkContext(run_id, "job", operator, GROUPS, 10, directory / "job")


@dataclass(frozen=True)
class SinkTrial:
    """A sink with its target in a directory; survives pickling if the sink does.

    Attributes:
        row: What the sink's rows look like.
        read: The rows in the target, read independently; None asks the sink itself.
    """

    sink: Sink
    directory: Path
    row: RowOf = None
    read: Callable[[Path], Iterable[Any]] | None = None
    guarantee: Guarantee = "exactly once"

    @property
    def context(self) -> SinkContext:
        """Of the run."""
        return context_in(self.directory)

    def open(self, interval: KeyInterval = ALL, generation: int = 1) -> Writer:
        """A writer of the run."""
        return self.sink.open(self.context, interval, generation)

    def stream(self, first: int, last: int, interval: KeyInterval = ALL) -> Ticks:
        """What an operator emits to an interval in ticks [first, last]: thirty rows each, every third tick none."""
        found = [
            (tick, self.batch([(f"word-{i}", tick * 100 + i) for i in range(30)], interval))
            for tick in range(first, last + 1)
            if tick % 3
        ]
        return [(tick, part) for tick, part in found if part is not None]

    def replayed(self, writer: Writer, first: int, last: int, interval: KeyInterval = ALL) -> Ticks:
        """The same, as an instance hands it over that starts at the writer's lowest tick: without what is committed."""
        pieces = writer.committed()
        stream = self.stream(first, last, interval)
        parts = [(tick, part.slice(p)) for p, done in pieces for tick, part in stream if tick > done]
        return sorted(((tick, part) for tick, part in parts if part is not None), key=lambda part: part[0])

    def batch(self, pairs: Sequence[tuple[str, int]], interval: KeyInterval = ALL) -> Batch | None:
        """Those of the pairs whose key's group lies in the interval, as a batch of rows; None if there are none."""
        order, groups = _placed(tuple(key for key, _ in pairs), interval)
        if not order:
            return None
        picked = [pairs[i] for i in order]
        values: Column = Pairs(columnar([key for key, _ in picked]), columnar([number for _, number in picked]))
        if self.row is not None:
            values = [self.row(*pair) for pair in picked]
        return Batch(groups, None, values)

    def wrong(self, ticks: Ticks) -> tuple[int, int]:
        """How many rows of these ticks the target lacks, and how many it has too many."""
        batches = [batch for _, batch in ticks]
        if self.read is None:
            contents = self.sink.contents(self.context)
            demand(contents is not None, "contents() gives None; define it, or give check_sink a function to read with")
            return self.sink.compare(self.sink.expected(batches), contents)
        expected = Counter(fingerprints([row for b in batches if b.values is not None for row in rows(b.values)]))
        found = Counter(fingerprints(list(self.read(self.directory))))
        lost, surplus = expected - found, found - expected
        if self.guarantee == "at least once":
            surplus = Counter({row: n for row, n in surplus.items() if row not in expected})
        return lost.total(), surplus.total()

    def demand_exact(self, ticks: Ticks) -> None:
        """The target has the rows of these ticks, each once; or more often, if that is all that is promised.

        Raises:
            Broken: Rows are missing, or there are others.
        """
        lost, surplus = self.wrong(ticks)
        if self.guarantee == "at least once" and self.read is None:
            surplus = 0
        count = sum(len(batch) for _, batch in ticks)
        demand(not lost, f"{lost} of {count} rows are missing in the target")
        demand(not surplus, f"{surplus} rows too many are in the target, beside the {count} that belong there")


@cache
def _placed(keys: tuple[str, ...], interval: KeyInterval) -> tuple[list[int], Groups]:
    """Which of the keys belong to an interval, by group, and their groups; most ticks have the same keys."""
    groups = groups_of(list(keys), GROUPS)
    order = [i for i in np.argsort(groups, kind="stable").tolist() if interval.contains(groups[i])]
    return order, groups[order]
