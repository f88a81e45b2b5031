"""The holder: keeps other instances' checkpoints, folds their deltas, fences them and cuts what it has into parts.

Source: SEEP §3.2, ``backup-state``, and the cut of §4: overload or failure, it is the *stored checkpoint* that is cut,
at its holder, and the busy instance is asked for nothing (invariant 5). We differ: a holder refuses whatever it was
not told to hold, and stops holding for an instance in the same step as it cuts, so that a zombie's checkpoint can
neither be stored nor acknowledged (invariant 9).

Where the job keeps checkpoints on the disk too, a checkpoint is acknowledged once it lies there, and a worker that is
told to cut what it does not hold takes it from there. What was folded in memory replaces what it was folded from there
too, so nothing is read and folded a second time. The disk itself is the shell's: it is asked with ``Persist``, ``Load``
and ``Forget``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from elastic.protocol import (
    Command,
    Copied,
    Copy,
    Cut,
    CutDone,
    Fetch,
    Forget,
    Hold,
    Join,
    Load,
    Part,
    Persist,
    Release,
    Send,
    Store,
    Stored,
    StoreRefused,
    Tell,
)
from elastic.state.checkpoint import Checkpoint, join_checkpoints, partition_checkpoint
from elastic.state.copying import Copying
from elastic.state.held import Held
from elastic.state.spill import Spill


@dataclass(slots=True)
class _Joining:
    """A join under way, and the parts that have come."""

    order: Join
    parts: dict[int, Checkpoint | None] = field(default_factory=dict)


class BackupStore:
    """Checkpoints kept on one worker for instances of other workers.

    Args:
        disk: Whether the job keeps them on the disk too.
    """

    def __init__(self, *, disk: bool = False) -> None:
        self._disk = disk
        self._held: dict[int, Held] = {}
        self._cuts: dict[int, CutDone] = {}
        self._joins: dict[int, _Joining] = {}
        self._copying = Copying(self._full)
        self._fences: dict[int, int] = {}
        """The terms under which instances were cut."""
        self._loading: dict[int, Cut] = {}
        self._awaiting: dict[int, Cut] = {}
        self._unwritten: dict[tuple[int, int, int], Command] = {}
        """What is to be said once the checkpoint of (instance, term, tick) lies on the disk."""

    @property
    def size_bytes(self) -> int:
        """Memory of everything held."""
        return sum(held.size_bytes for held in self._held.values())

    @property
    def instances(self) -> tuple[int, ...]:
        """Whom something is held for."""
        return tuple(self._held)

    def has_copy(self, instance: int) -> bool:
        """Whether a checkpoint of the instance lies here."""
        held = self._held.get(instance)
        return held is not None and held.newest is not None

    def on_hold(self, message: Hold) -> None:
        """Begin to hold for an instance; nothing changes if it is held already.

        Of an instance that was cut, only a later term brings it back: what was said before may be said again.
        """
        if message.term <= self._fences.get(message.instance, -1):
            return
        self._held.setdefault(message.instance, Held(message.fresh))

    def on_release(self, message: Release) -> list[Command]:
        """Forget an instance, and a join that was to make its checkpoint: parts that still come belong to the next."""
        self._held.pop(message.instance, None)
        self._awaiting = {id: c for id, c in self._awaiting.items() if message.instance not in (id, *dict(c.parts))}
        self._joins = {id: j for id, j in self._joins.items() if j.order.successor != message.instance}
        self._copying.forget(message.instance)
        return [Forget(message.instance)] if message.gone and self._disk else []

    def on_store(self, message: Store) -> list[Command]:
        """Keep a checkpoint and acknowledge it, or have it written first.

        Refused is one of an instance that is not held for, and one without its base.
        """
        held, checkpoint = self._held.get(message.instance), message.checkpoint
        if held is None or (checkpoint.base is not None and checkpoint.base != held.tick):
            return [Send(message.worker, StoreRefused(message.instance, checkpoint.tick))]
        held.keep(checkpoint)
        held.term = None if message.second else message.term
        stored = Send(message.worker, Stored(message.instance, checkpoint.tick))
        commands: list[Command] = [stored]
        if not message.second:
            commands = self._written(message.instance, message.term, checkpoint, stored)
        if (awaiting := self._awaiting.get(message.instance)) is not None:
            commands += self.on_cut(replace(awaiting, patient=False))
        return commands

    def _written(self, instance: int, term: int, checkpoint: Checkpoint, then: Command) -> list[Command]:
        """Say something once a checkpoint is on every medium that the job promises to survive."""
        if not self._disk:
            return [then]
        self._unwritten[instance, term, checkpoint.tick] = then
        return [Persist(instance, term, checkpoint, compact=checkpoint.base is None)]

    def on_persisted(self, instance: int, term: int, tick: int) -> list[Command]:
        """A checkpoint lies on the disk; who was cut or released meanwhile is not acknowledged any more."""
        then = self._unwritten.pop((instance, term, tick), None)
        if then is None or instance not in self._held:
            return []
        if isinstance(then, Tell) and isinstance(then.message, CutDone):  # it may have to be said again
            self._cuts[then.message.reconfigure] = then.message
        return [then]

    def on_refused(self, instance: int) -> None:
        """Another holder has taken an instance's checkpoints over from the disk: this one's time is past."""
        self._held.pop(instance, None)

    def relieve(self, spill: Spill, limit_bytes: int) -> None:
        """Have buffer state that is held on the disk where it takes more memory than that.

        Raises:
            UserError: The disk is full, or does not let itself be written.
        """
        excess_bytes = sum(held.buffer_bytes for held in self._held.values()) - limit_bytes
        for held in self._held.values():
            if excess_bytes > 0:
                excess_bytes -= held.spill(spill, excess_bytes)

    @property
    def is_pressing(self) -> bool:
        """Whether folding cannot wait until there is nothing better to do."""
        return any(held.state is not None and held.state.is_pressing for held in self._held.values())

    def tidy(self) -> tuple[bool, list[Command]]:
        """Fold a piece of some instance's deltas, if they outweigh what they change; whether there was such a one.

        A host calls it when it has nothing better to do. What has been folded replaces what lies on the disk.
        """
        for instance, held in self._held.items():
            worked, whole = held.fold_some()
            if whole is not None and held.term is not None and self._disk:
                return True, [Persist(instance, held.term, whole, compact=True)]
            if worked:
                return True, []
        return False, []

    def on_cut(self, message: Cut) -> list[Command]:
        """Fence the instance and keep one part per successor; the same reconfigure again gives the same answer."""
        if (done := self._cuts.get(message.reconfigure)) is not None:
            return [Tell(done)]
        if message.reconfigure in self._copying:
            return self._copied_to(message)
        if self._disk and any(successor in self._held for successor, _ in message.parts):
            return []  # they are being written
        held = self._held.get(message.instance)
        if message.patient and held is not None and held.newest is not None:
            self._awaiting[message.instance] = message
            return []
        self._awaiting.pop(message.instance, None)
        if (held is None or held.newest is None) and message.origin in self._held:
            held = self._held[message.origin]  # the second copy of what the instance was made from
        if self._disk and (held is None or held.newest is None):
            self._loading[message.reconfigure] = message
            return [Load(message.reconfigure, message.instance, message.term)]
        fresh = held is not None and held.fresh
        return self._cut(message, None if held is None else held.full(), fresh=fresh)

    def on_loaded(self, reconfigure: int, instance: int, checkpoint: Checkpoint | None) -> list[Command]:
        """What lay on the disk of an instance that is to be cut; None if there was nothing."""
        cut = self._loading.pop(reconfigure, None)
        if cut is None:
            return []
        if checkpoint is None and cut.origin is not None and instance != cut.origin:
            self._loading[reconfigure] = cut
            return [Load(reconfigure, cut.origin, cut.term)]
        return self._cut(cut, checkpoint, fresh=True)  # what was acknowledged lies there: if nothing does, nothing was

    def _cut(self, order: Cut, whole: Checkpoint | None, *, fresh: bool) -> list[Command]:
        """Hold the parts of a checkpoint for the successors; they start at tick 0 if there never was one.

        Several parts must be of one checkpoint, also if one of them is needed again: so they count only once they lie
        on the disk, but may be restored before. A single one can be made anew from what it was made from.
        """
        self._held.pop(order.instance, None)
        self._fences[order.instance] = order.term
        intervals = [interval for _, interval in order.parts]
        parts: list[Checkpoint | None] = [None] * len(intervals)
        if whole is not None:
            parts = list(partition_checkpoint(whole, intervals))
        lost = whole is None and not fresh
        done = CutDone(order.reconfigure, 0 if whole is None else whole.tick, lost, _keys(whole))
        written: list[Command] = []
        for (successor, _), part in zip(order.parts, parts, strict=True):
            self._held[successor] = Held.of(part, fresh=whole is None and not lost, term=order.term)
            if part is not None and self._disk:
                written.append(Persist(successor, order.term, part, compact=True))
        if whole is not None and order.second is not None:
            successors = [successor for successor, _ in order.parts]
            return [Tell(replace(done, stored=False)), *self._copying.begin(done, order.second, successors)]
        if len(written) < 2:
            self._cuts[order.reconfigure] = done
            return [Tell(done), *written]
        assert whole is not None
        self._unwritten[order.parts[-1][0], order.term, whole.tick] = Tell(done)
        return [Tell(replace(done, stored=False)), *written]

    def on_join(self, message: Join) -> list[Command]:
        """Join the checkpoints of several instances, with those that other workers hold once they have come."""
        if (done := self._cuts.get(message.reconfigure)) is not None:
            return [Tell(done)]
        if message.successor in self._held:
            return []  # it is being written, or copied
        self._joins[message.reconfigure] = _Joining(message)
        asked: list[Command] = []
        for instance, worker in message.sources:
            if worker == message.holder:
                held = self._held.get(instance)
                asked += self._joined(instance, None if held is None else held.full())
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
        if lost:
            self._cuts[order.reconfigure] = done = CutDone(order.reconfigure, order.tick, lost)
            return [Tell(done)]
        joined = join_checkpoints(whole)
        done = CutDone(order.reconfigure, order.tick, lost, _keys(joined))
        self._held[order.successor] = Held.of(joined, fresh=False, term=order.term)
        if order.second is not None:
            copies = self._copying.begin(done, order.second, [order.successor])
            return [Tell(replace(done, stored=False)), *copies]
        early: list[Command] = [Tell(replace(done, stored=False))] if self._disk else []
        return early + self._written(order.successor, order.term, joined, Tell(done))

    def on_copy(self, holder: int, message: Copy) -> list[Command]:
        """Keep a part beside the holder that has it; no answer to what is not to be held here, or not yet.

        The instance may have stored a newer one since, if the copy was on its way twice.
        """
        if (held := self._held.get(message.instance)) is None:
            return []
        if held.newest is None:
            held.keep(message.checkpoint)
        return [Send(holder, Copied(message.instance))]

    def on_copied(self, second: int, message: Copied) -> list[Command]:
        """A part lies on the second worker too: with the last of them, what was cut or joined is stored."""
        done = self._copying.on_copied(second, message.instance)
        return [] if done is None else self._done(done)

    def _copied_to(self, order: Cut) -> list[Command]:
        """The parts are there: what is new may be who is to have them too, or that there is nobody."""
        if order.second is not None:
            return self._copying.turn_to(order.reconfigure, order.second)
        return self._done(self._copying.give_up(order.reconfigure))

    def _done(self, done: CutDone) -> list[Command]:
        self._cuts[done.reconfigure] = done
        return [Tell(done)]

    def nudge(self) -> list[Command]:
        """Some time has passed: what was sent and not answered in a while is sent again."""
        return self._copying.nudge()

    def _full(self, instance: int) -> Checkpoint | None:
        held = self._held.get(instance)
        return None if held is None else held.full()

    def on_fetch(self, message: Fetch) -> list[Command]:
        """Hand out an instance's newest checkpoint, as a full one; no answer if it was cut meanwhile: a zombie asks."""
        held = self._held.get(message.instance)
        return [] if held is None else [Send(message.worker, Part(message.instance, held.full()))]


def _keys(checkpoint: Checkpoint | None) -> int:
    return 0 if checkpoint is None or checkpoint.state is None else len(checkpoint.state)
