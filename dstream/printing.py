"""``pprint``: the first rows of every interval, under its time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from elastic.batch import Batch, rows
from elastic.connectors.base import SinkContext
from elastic.connectors.stdout import StdoutSink

_TIME = re.compile(r"------ \d+\.\d{3}s ------")


@dataclass(frozen=True)
class PrettySink(StdoutSink):
    """Some rows of each interval are printed by the command.

    Attributes:
        count: How many.
    """

    count: int = 10

    name = "pprint"

    def lines(self, batch: Batch) -> Iterator[str]:
        """The first rows, and whether there are more."""
        found = rows(batch.values or [])
        yield from map(str, islice(found, self.count))
        if len(found) > self.count:
            yield "..."

    def lines_of(self, tick: int, batch: Batch, tick_ms: int) -> Iterator[str]:
        """The time since the job's start above them."""
        yield f"------ {tick * tick_ms / 1000:.3f}s ------"
        yield from self.lines(batch)

    def contents(self, context: SinkContext) -> Any:
        """Without the times, since a clean run is compared row by row."""
        found: Counter[str] | None = super().contents(context)
        return None if found is None else Counter({line: n for line, n in found.items() if not _TIME.fullmatch(line)})
