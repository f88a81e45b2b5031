"""Checkpoints and SEEP's primitives over them: fold (a delta into its base), partition (by key group).

Source: SEEP §3.2, ``checkpoint-state`` and ``partition-processing-state``. We differ: a checkpoint's position is one
tick instead of a vector, a checkpoint may be a delta, and what it acknowledges downstream travels with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from elastic.batch import Batch, carried
from elastic.keys import KeyInterval
from elastic.report import FailedRecords, added
from elastic.state.folding import Layers, cut_state, folded, join_states
from elastic.state.processing import StateTable, fold
from elastic.state.spill import loaded

BufferEntries = tuple[tuple[int, Batch], ...]


@dataclass(frozen=True, slots=True)
class BufferCheckpoint:
    """Buffer state of one edge.

    Attributes:
        floor: Ticks at or below it were trimmed.
        acked: Per key group of the consumer, the tick that is safe there.
        entries: (tick, rows), ascending; in a delta those after the base's tick only.
        narrow: Of an edge on which rows stay in the key groups of their producer.
    """

    floor: int
    acked: np.ndarray[tuple[int], np.dtype[np.int64]]
    entries: BufferEntries
    narrow: bool = False

    def parts(self, intervals: Sequence[KeyInterval]) -> list[BufferCheckpoint]:
        """One for each part of the producer: of a narrow edge its own rows; of others all for the first part.

        In canonical order it is already, so it need not be cut where the consumers subscribe to every part.
        """
        if not self.narrow or len(intervals) == 1:
            return [self, *(replace(self, entries=()) for _ in intervals[1:])]
        cuts = [[(tick, batch.slice(interval)) for tick, batch in self.entries] for interval in intervals]
        return [replace(self, entries=tuple((t, b) for t, b in each if b is not None)) for each in cuts]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """(processing state, buffer state, τ) of one instance: all that is needed to start it again somewhere else.

    Attributes:
        tick: τ: every input is consumed through it.
        base: The tick of the checkpoint that this delta builds on; None for a full one.
        state: Processing state; None where nothing was ever written. That of a full one may be folded yet.
        buffers: Buffer state by edge id.
        final: The stream ended with ``tick``, and what was pending then is in ``buffers``.
        common: Processing state that belongs to no key and is the same in every instance at ``tick``, always whole.
        failures: Records that were skipped or diverted so far; so they are counted once, whatever is replayed.
        taken_in: Rows that were taken in through ``tick``, each once for the same reason.
        run_s: Since when the run lasts that counts them, Unix time; another run counts its own.
    """

    tick: int
    base: int | None
    state: StateTable | Layers | None
    buffers: Mapping[int, BufferCheckpoint]
    final: bool = False
    common: Any = None
    failures: tuple[FailedRecords, ...] = ()
    taken_in: int = 0
    run_s: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Memory of state and buffers together."""
        state = self.state.size_bytes if self.state is not None else 0
        return state + sum(b.size_bytes for buffer in self.buffers.values() for _, b in buffer.entries)


class BaseMismatchError(ValueError):
    """A delta does not build on the checkpoint that it was to be folded into."""


def fold_checkpoint(base: Checkpoint, deltas: Sequence[Checkpoint]) -> Checkpoint:
    """The full checkpoint at the last delta's tick; the arguments are not changed.

    Raises:
        BaseMismatchError: A delta names another base than the checkpoint before it.
    """
    tick, buffers = base.tick, dict(base.buffers)
    for delta in deltas:
        if delta.base != tick:
            raise BaseMismatchError(f"a delta on tick {delta.base} does not continue a checkpoint of tick {tick}")
        tick = delta.tick
        for edge, new in delta.buffers.items():
            old = buffers[edge].entries if edge in buffers else ()
            kept = tuple(entry for entry in old if entry[0] > new.floor)
            buffers[edge] = replace(new, entries=kept + new.entries)
    tables = [folded(c.state) for c in (base, *deltas) if c.state is not None]
    state = fold(tables[0], tables[1:]) if tables else None
    newest = deltas[-1] if deltas else base
    return replace(newest, tick=tick, base=base.base, state=state, buffers=buffers)


def partition_checkpoint(checkpoint: Checkpoint, intervals: Sequence[KeyInterval]) -> list[Checkpoint]:
    """One full checkpoint per key interval, losing and repeating nothing.

    Every part carries the same τ, so that replay after it is right for each of them, be it for scale out or for
    recovery. The buffer of an edge goes whole to the first part, unless the edge is narrow.

    Args:
        checkpoint: A full one; not changed. Values are shared with the parts.
        intervals: They tile the instance's interval, ascending.

    Source: SEEP §3.2, partition-processing-state (β_1 ← β, β_i ← ∅ for i ≠ 1).
    """
    if checkpoint.base is not None:
        raise BaseMismatchError("a delta cannot be cut; fold it into its base first")
    parts = []
    buffers = {edge: buffer.parts(intervals) for edge, buffer in checkpoint.buffers.items()}
    for n, interval in enumerate(intervals):
        state = None if checkpoint.state is None else cut_state(checkpoint.state, interval)
        own = {edge: each[n] for edge, each in buffers.items()}
        part = replace(checkpoint, state=state, buffers=own)
        parts.append(replace(part, failures=(), taken_in=0) if n else part)
    return parts


def join_checkpoints(parts: Sequence[Checkpoint]) -> Checkpoint:
    """One full checkpoint of several full ones of neighbours, by their intervals: what ``partition_checkpoint`` undoes.

    Raises:
        BaseMismatchError: They are not of one tick, so that no replay would be right for all of them.
    """
    ticks = {part.tick for part in parts}
    if len(ticks) != 1 or any(part.base is not None for part in parts):
        raise BaseMismatchError(f"checkpoints of ticks {sorted(ticks)} cannot be joined: whole ones of one tick can")
    states = [part.state for part in parts if part.state is not None]
    buffers = {}
    for edge in parts[0].buffers:
        each = [part.buffers[edge] for part in parts]
        narrow = each[0].narrow  # else a consumer tells all producers the same, and one may hear it first
        floor = (min if narrow else max)(b.floor for b in each)
        acked = np.maximum.reduce([b.acked for b in each])
        ticked: dict[int, list[Batch]] = {}
        for buffer in each:
            for tick, batch in buffer.entries:
                if tick > floor:
                    ticked.setdefault(tick, []).append(loaded(batch))
        merged = ((tick, carried(ticked[tick])) for tick in sorted(ticked))
        entries = tuple((tick, batch) for tick, batch in merged if batch is not None)
        buffers[edge] = BufferCheckpoint(floor, acked, entries, narrow)
    state = join_states(states) if states else None
    return replace(
        parts[0],
        state=state,
        buffers=buffers,
        final=all(part.final for part in parts),
        failures=added(f for part in parts for f in part.failures),
        taken_in=sum(part.taken_in for part in parts),
    )
