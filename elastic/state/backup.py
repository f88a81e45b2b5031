"""The holder: keeps other instances' checkpoints, folds their deltas, fences them and cuts what it has into parts.

Source: SEEP §3.2, ``backup-state``, and the cut of §4: overload or failure, it is the *stored checkpoint* that is cut,
at its holder, and the busy instance is asked for nothing (invariant 5). We differ: a holder refuses whatever it was
not told to hold, and stops holding for an instance in the same step as it cuts, so that a zombie's checkpoint can
neither be stored nor acknowledged (invariant 9).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from elastic.protocol import (
    Command,
    Cut,
    CutDone,
    Fetch,
    Hold,
    Join,
    Part,
    Release,
    Send,
    Store,
    Stored,
    StoreRefused,
    Tell,
)
from elastic.state.checkpoint import Checkpoint, fold_checkpoint, join_checkpoints, partition_checkpoint
from elastic.state.folding import FoldingTable


@dataclass(slots=True)
class Held:
    """What is kept for one instance.

    Attributes:
        fresh: Nothing was ever acknowledged before it was held here, so an empty copy means tick 0.
        newest: The newest checkpoint, all of it but the state; None before the first.
        state: Its processing state; None where nothing was ever written.
    """

    fresh: bool
    newest: Checkpoint | None = None
    state: FoldingTable | None = None

    @classmethod
    def of(cls, checkpoint: Checkpoint | None, *, fresh: bool) -> Held:
        """What is kept of a full checkpoint, or of none."""
        held = cls(fresh)
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
            self.state.add(state)

    def fold(self) -> Checkpoint | None:
        """The newest checkpoint as a full one."""
        if self.newest is None or self.state is None:
            return self.newest
        return replace(self.newest, state=self.state.whole())


@dataclass(slots=True)
class _Joining:
    """A join under way, and the parts that have come."""

    order: Join
    parts: dict[int, Checkpoint | None] = field(default_factory=dict)


class BackupStore:
    """Checkpoints kept on one worker for instances of other workers."""

    def __init__(self) -> None:
        self._held: dict[int, Held] = {}
        self._cuts: dict[int, CutDone] = {}
        self._joins: dict[int, _Joining] = {}

    @property
    def size_bytes(self) -> int:
        """Memory of everything held."""
        return sum(held.size_bytes for held in self._held.values())

    def has_copy(self, instance: int) -> bool:
        """Whether a checkpoint of the instance lies here."""
        held = self._held.get(instance)
        return held is not None and held.newest is not None

    def on_hold(self, message: Hold) -> None:
        """Begin to hold for an instance; nothing changes if it is held already."""
        self._held.setdefault(message.instance, Held(message.fresh))

    def on_release(self, message: Release) -> None:
        """Forget an instance, and a join that was to make its checkpoint: parts that still come belong to the next."""
        self._held.pop(message.instance, None)
        self._joins = {id: j for id, j in self._joins.items() if j.order.successor != message.instance}

    def on_store(self, message: Store) -> list[Command]:
        """Keep a checkpoint and acknowledge it; refuse it from an instance not held for, or without its base."""
        held, checkpoint = self._held.get(message.instance), message.checkpoint
        if held is None or (checkpoint.base is not None and checkpoint.base != held.tick):
            return [Send(message.worker, StoreRefused(message.instance, checkpoint.tick))]
        held.keep(checkpoint)
        return [Send(message.worker, Stored(message.instance, checkpoint.tick))]

    def tidy(self) -> bool:
        """Fold a piece of some instance's deltas, if they outweigh what they change; whether there was such a one.

        A host calls it when it has nothing better to do.
        """
        return any(held.state is not None and held.state.fold_some() for held in self._held.values())

    def on_cut(self, message: Cut) -> list[Command]:
        """Fence the instance and keep one part per successor; the same reconfigure again gives the same answer."""
        if (done := self._cuts.get(message.reconfigure)) is None:
            held = self._held.pop(message.instance, None)
            whole = None if held is None else held.fold()
            lost = whole is None and (held is None or not held.fresh)
            parts: list[Checkpoint | None] = [None] * len(message.parts)
            if whole is not None:
                parts = list(partition_checkpoint(whole, [interval for _, interval in message.parts]))
            for (successor, _), part in zip(message.parts, parts, strict=True):
                self._held[successor] = Held.of(part, fresh=whole is None and not lost)
            done = CutDone(message.reconfigure, 0 if whole is None else whole.tick, lost)
            self._cuts[message.reconfigure] = done
        return [Tell(done)]

    def on_join(self, message: Join) -> list[Command]:
        """Join the checkpoints of several instances, with those that other workers hold once they have come."""
        if (done := self._cuts.get(message.reconfigure)) is not None:
            return [Tell(done)]
        self._joins[message.reconfigure] = _Joining(message)
        asked: list[Command] = []
        for instance, worker in message.sources:
            if worker == message.holder:
                held = self._held.get(instance)
                asked += self._joined(instance, None if held is None else held.fold())
            else:
                asked.append(Send(worker, Fetch(instance, message.holder)))
        return asked

    def on_part(self, message: Part) -> list[Command]:
        """A checkpoint that another worker holds has come, for a join."""
        return self._joined(message.instance, message.checkpoint)

    def _joined(self, instance: int, checkpoint: Checkpoint | None) -> list[Command]:
        """Note one part of a join; hold the whole once it is complete."""
        joining = next((j for j in self._joins.values() if instance in dict(j.order.sources)), None)
        if joining is None:
            return []
        order = joining.order
        joining.parts[instance] = checkpoint
        if len(joining.parts) < len(order.sources):
            return []
        del self._joins[order.reconfigure]
        parts = [joining.parts[id] for id, _ in order.sources]
        whole = [p for p in parts if p is not None and p.tick == order.tick]
        lost = len(whole) < len(parts)
        if not lost:
            self._held[order.successor] = Held.of(join_checkpoints(whole), fresh=False)
        done = CutDone(order.reconfigure, order.tick, lost)
        self._cuts[order.reconfigure] = done
        return [Tell(done)]

    def on_fetch(self, message: Fetch) -> list[Command]:
        """Hand out the newest checkpoint of an instance, whole; no answer if it was cut meanwhile: a zombie asks."""
        held = self._held.get(message.instance)
        return [] if held is None else [Send(message.worker, Part(message.instance, held.fold()))]
