"""What a source partition has read, again, as its input log names it: the root of all lineage."""

from __future__ import annotations

from collections.abc import Iterable

from dstream.logic import Read
from elastic.connectors.base import LogEntry, read_again
from elastic.instance.ahead import Ahead
from elastic.plan import Plan


class LoggedInput:
    """One partition of a source, open to be read again.

    Args:
        plan: What runs.
        operator: Name of the source.
        partition: Its number.

    Raises:
        SourceError: The input is gone.
    """

    def __init__(self, plan: Plan, operator: str, partition: int) -> None:
        self._reader = plan.operators[operator].partitions[partition].open()
        self._group = plan.partition_interval(operator, partition).low
        self._ahead = Ahead(plan, operator, [(self._group, self._reader)])

    def read(self, entries: Iterable[LogEntry]) -> list[Read]:
        """What was read in the ticks of these entries, of those in which anything was.

        Raises:
            SourceError: The input is gone or has changed.
        """
        found = [(entry, tuple(read_again(self._reader, entry))) for entry in entries if entry.end != entry.start]
        return [Read(e.tick, chunks, self._ahead.held([(self._group, e.start)])) for e, chunks in found]

    def close(self) -> None:
        """Release the input."""
        self._reader.close()
