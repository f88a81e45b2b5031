"""Batches that lie on the disk: what buffer state and held checkpoints do with rows that nobody needs soon.

Memory is bounded by credit, from consumer to producer up to the source. Credit does not bound what consumers have
processed and not yet covered by a checkpoint or a commit; that is what is spilled, oldest first (invariant 7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from elastic.batch import Batch, Indices
from elastic.keys import KeyInterval


class SpilledBatch(Batch):
    """A batch whose rows lie on the disk; whoever looks at them reads them again, each time.

    Attributes:
        length, size_bytes: As of the batch that was spilled.
        load: Reads it.
    """

    __slots__ = ("__weakref__", "_length", "_size_bytes", "load")

    def __init__(self, batch: Batch, load: Callable[[], Batch]) -> None:
        object.__setattr__(self, "_length", len(batch))
        object.__setattr__(self, "_size_bytes", batch.size_bytes)
        object.__setattr__(self, "load", load)

    load: Callable[[], Batch]
    _length: int
    _size_bytes: int

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __getattribute__(self, name: str) -> Any:
        return getattr(self.load(), name) if name in _ROWS else object.__getattribute__(self, name)

    def __len__(self) -> int:
        return self._length

    @property
    def size_bytes(self) -> int:
        """Memory that the batch would take."""
        return self._size_bytes

    def slice(self, interval: KeyInterval) -> Batch | None:
        """The rows whose group lies in the interval, in memory."""
        return self.load().slice(interval)

    def ordered(self, order: Indices) -> Batch:
        """The same rows in another order, in memory."""
        return self.load().ordered(order)


_ROWS = frozenset({"groups", "keys", "values", "partial", "times", "marks"})


def loaded(batch: Batch) -> Batch:
    """The batch itself, in memory."""
    return batch.load() if isinstance(batch, SpilledBatch) else batch


class Spill(Protocol):
    """A place on the disk, which a worker's shell or the simulator brings."""

    @property
    def size_bytes(self) -> int:
        """What lies there and is still needed by somebody."""

    def put(self, batch: Batch) -> SpilledBatch | None:
        """The batch lies there; None if there is no room left. It goes when nobody refers to it any more.

        Raises:
            UserError: The disk is full, or does not let itself be written.
        """


def spilled(
    entries: Sequence[tuple[int, Batch]], spill: Spill, excess_bytes: int
) -> tuple[tuple[tuple[int, Batch], ...], int]:
    """The same (tick, rows), the oldest of them on the disk, and how many bytes that has freed: so many, if it can."""
    kept, freed = list(entries), 0
    for n, (tick, batch) in enumerate(entries):
        if freed >= excess_bytes:
            break
        if not isinstance(batch, SpilledBatch):
            if (there := spill.put(batch)) is None:
                break
            kept[n] = (tick, there)
            freed += there.size_bytes
    return tuple(kept), freed
