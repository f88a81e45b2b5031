"""What a holder keeps of one instance: its newest checkpoint, and the deltas that are to be folded into it yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from elastic.state.checkpoint import Checkpoint, fold_checkpoint
from elastic.state.folding import FoldingTable, folded
from elastic.state.spill import Spill, SpilledBatch, spilled


@dataclass(slots=True)
class Held:
    """What is kept for one instance.

    Attributes:
        fresh: Nothing was ever acknowledged before it was held here, so an empty copy means tick 0.
        newest: The newest checkpoint, all of it but the state; None before the first.
        state: Its processing state; None where nothing was ever written.
        term: Under which it is written to the disk; None where another holder does that.
    """

    fresh: bool
    newest: Checkpoint | None = None
    state: FoldingTable | None = None
    term: int | None = None
    _begun: Checkpoint | None = None  # the newest one when the fold under way began

    @classmethod
    def of(cls, checkpoint: Checkpoint | None, *, fresh: bool, term: int | None = None) -> Held:
        """What is kept of a full checkpoint, or of none."""
        held = cls(fresh, term=term)
        if checkpoint is not None:
            held.keep(checkpoint)
        return held

    @property
    def tick(self) -> int | None:
        """The tick of the newest checkpoint; None before the first."""
        return None if self.newest is None else self.newest.tick

    @property
    def size_bytes(self) -> int:
        """Memory of the checkpoint, and of what is to be folded yet."""
        buffers = 0 if self.newest is None else self.newest.size_bytes
        return buffers + (0 if self.state is None else self.state.size_bytes)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Take a checkpoint in: a full one, or a delta on the newest."""
        state, rest = checkpoint.state, replace(checkpoint, state=None)
        if checkpoint.base is None:
            self.newest, self.state = rest, None
        elif self.newest is not None:
            self.newest = fold_checkpoint(self.newest, [rest])
        if state is not None and self.state is None:
            self.state = FoldingTable(state)
        elif state is not None and self.state is not None:
            self.state.add(folded(state))  # a delta's is one table

    @property
    def buffer_bytes(self) -> int:
        """Memory of the buffer state, without what is spilled."""
        buffers = () if self.newest is None else self.newest.buffers.values()
        return sum(b.size_bytes for kept in buffers for _, b in kept.entries if not isinstance(b, SpilledBatch))

    def spill(self, spill: Spill, excess_bytes: int) -> int:
        """Put the oldest buffer state on the disk until so much memory is freed; returns how much is."""
        if self.newest is None:
            return 0
        buffers, freed = dict(self.newest.buffers), 0
        for edge, kept in buffers.items():
            entries, there = spilled(kept.entries, spill, excess_bytes - freed)
            buffers[edge], freed = replace(kept, entries=entries), freed + there
        self.newest = replace(self.newest, buffers=buffers)
        return freed

    def fold_some(self) -> tuple[bool, Checkpoint | None]:
        """Fold a piece of the deltas if they are heavy; whether they were, and with the last piece what they make."""
        if self.state is None or not self.state.is_heavy:
            return False, None
        if not self.state.is_folding:
            self._begun = self.newest
        self.state.fold_some()
        if self.state.is_folding or self._begun is None:
            return True, None
        begun, self._begun = self._begun, None
        return True, replace(begun, state=replace(self.state.layers(), deltas=()))

    def full(self) -> Checkpoint | None:
        """The newest checkpoint as a full one, whose state may be folded yet."""
        if self.newest is None or self.state is None:
            return self.newest
        return replace(self.newest, state=self.state.layers())


def newest(chain: Sequence[Checkpoint]) -> Checkpoint | None:
    """The full checkpoint that a full one and deltas on it make, as far as they follow one another.

    Args:
        chain: As they were written; an older full one, and what builds on it, counts for nothing.
    """
    held = Held(fresh=False)
    for checkpoint in chain:
        if checkpoint.base is None or checkpoint.base == held.tick:
            held.keep(checkpoint)
    return held.full()
