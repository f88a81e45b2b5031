"""Versions of state on one worker: cut from what lives here, kept for others, and found when state is to start again.

Where the job has no disk to restore from, a worker also keeps the versions of its own partitions: when who kept the
second copy is lost, all of them are sent to another one at once, older ones too, which windows may need.

Source: D-Streams §4.1: state is checkpointed asynchronously to other workers; as it does not change, nobody waits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from dstream.plan import StreamPlan
from dstream.protocol import (
    Guard,
    Keep,
    KeepRefused,
    Kept,
    Place,
    State,
    StateMissing,
    Unguard,
    WantState,
)
from dstream.versions import Version, Versions, whole
from dstream.worker.archive import Archive
from dstream.worker.tasks import OVERDUE, Partition
from elastic.protocol import Command, Send, Tell


@dataclass(slots=True)
class _Restoring:
    """A partition that is to live here and waits for its state; those who may have it are asked one after the other."""

    place: Place
    asked: list[int] = field(default_factory=list)
    nudges: int = 0


class Keeping:
    """The part of a host that knows of versions of state.

    Attributes:
        versions: Those in this worker's memory.
    """

    def __init__(self, worker: int, plan: StreamPlan, archive: Archive) -> None:
        self._worker, self._archive = worker, archive
        self._has_disk = plan.has_disk
        self.versions = Versions()
        self._restoring: dict[int, _Restoring] = {}
        self._found: list[tuple[Place, Version | None]] = []

    # -- cutting -------------------------------------------------------------------------------------------------------

    def cut(self, held: Partition) -> list[Command]:
        """Keep the state of a partition as it is now, wherever it is to be: a delta, or all of it if that is due."""
        version = held.logic.version(None if held.weight.is_due else held.weight.last)
        held.weight.cut(held.done, version)
        if self._has_disk:
            self._archive.save(held.instance, held.stage, held.partition, held.done, version)
            return [self._keep(worker, held, held.done, version) for worker in held.holders]
        self.versions.put((held.stage, held.partition), held.done, version)
        mine = Kept(held.instance, held.stage, held.partition, held.done, version.size_bytes, on_disk=False)
        return [Tell(mine), *(self._keep(worker, held, held.done, version) for worker in held.holders)]

    def _keep(self, holder: int, held: Partition, interval: int, version: Version) -> Command:
        return Send(holder, Keep(self._worker, held.instance, held.stage, held.partition, interval, version))

    def on_guard(self, held: Partition, message: Guard) -> list[Command]:
        """Others keep the versions from now on."""
        new, held.holders = [w for w in message.holders if w not in held.holders], message.holders
        return [command for worker in new for command in self._begin_to_keep(worker, held)]

    def on_refused(self, held: Partition, worker: int) -> list[Command]:
        """A holder lacks what a delta builds on, since something was lost on the way."""
        return self._begin_to_keep(worker, held) if worker in held.holders else []

    def _begin_to_keep(self, worker: int, held: Partition) -> list[Command]:
        """A holder begins: with all that is here where there is no disk, else with the next version."""
        if self._has_disk:
            held.weight.last = None
            return []
        mine = self.versions.of((held.stage, held.partition))
        return [self._keep(worker, held, interval, version) for interval, version in mine]

    # -- keeping -------------------------------------------------------------------------------------------------------

    def on_keep(self, message: Keep) -> list[Command]:
        """Keep a version for another worker; what is not wanted here any more the scheduler says."""
        place = (message.stage, message.partition)
        if not self.versions.put(place, message.interval, message.version):
            return [Send(message.worker, KeepRefused(self._worker, message.instance))]
        size_bytes = message.version.size_bytes
        return [Tell(Kept(message.instance, *place, message.interval, size_bytes, on_disk=False))]

    def on_unguard(self, message: Unguard) -> None:
        """Whoever needs the versions has them elsewhere."""
        self.versions.forget((message.stage, message.partition))

    def on_want(self, message: WantState) -> Command:
        """Hand out what a version is made of."""
        links = self.versions.get((message.stage, message.partition), message.at)
        return Send(message.worker, State(self._worker, message.instance, tuple(links)))

    def keep_from(self, floors: Sequence[int]) -> None:
        """Versions below these, by stage, are needed no more."""
        self.versions.drop_below(floors)
        self._archive.keep_from(floors)

    # -- restoring -----------------------------------------------------------------------------------------------------

    @property
    def restoring(self) -> Collection[int]:
        """Instances that wait for their state."""
        return self._restoring.keys()

    def seek(self, place: Place) -> list[Command]:
        """Find what a partition is to start from: in this memory, in that of others, on the disk; ``found`` tells."""
        self._restoring.pop(place.instance, None)
        links = self.versions.get((place.stage, place.partition), place.at)
        if not place.at or links:
            self._begin(place, links)
            return []
        self._restoring[place.instance] = restoring = _Restoring(place)
        return self._ask_next(restoring)

    def _ask_next(self, restoring: _Restoring) -> list[Command]:
        place, asked = restoring.place, restoring.asked
        if left := [w for w in place.copies if w not in asked and w != self._worker]:
            asked.append(left[0])
            return [self._ask(restoring)]
        del self._restoring[place.instance]
        links = self._archive.load(place.stage, place.partition, place.at) if self._has_disk else []
        if not links:
            return [Tell(StateMissing(place.instance, (self._worker, *asked)))]
        self._begin(place, links)
        return []

    def _ask(self, restoring: _Restoring) -> Command:
        place, restoring.nudges = restoring.place, 0
        want = WantState(self._worker, place.instance, place.stage, place.partition, place.at)
        return Send(restoring.asked[-1], want)

    def on_state(self, message: State) -> list[Command]:
        """The answer of a worker that was asked."""
        restoring = self._restoring.get(message.instance)
        if restoring is None or message.worker != restoring.asked[-1]:
            return []
        if not message.versions:
            return self._ask_next(restoring)
        del self._restoring[message.instance]
        self._begin(restoring.place, message.versions)
        return []

    def _begin(self, place: Place, links: Sequence[tuple[int, Version]]) -> None:
        """A partition can start."""
        if not self._has_disk:
            for interval, version in links:
                self.versions.put((place.stage, place.partition), interval, version)
        self._found.append((place, whole([version for _, version in links]) if links else None))

    def found(self) -> list[tuple[Place, Version | None]]:
        """Partitions that can start now, and from what; None from no state yet."""
        found, self._found = self._found, []
        return found

    def began(self, held: Partition) -> list[Command]:
        """A partition has started: where there is no disk, what it started from counts only with its copies."""
        if self._has_disk:
            return []
        commands: list[Command] = []
        for interval, version in self.versions.of((held.stage, held.partition)):
            kept = Kept(held.instance, held.stage, held.partition, interval, version.size_bytes, on_disk=False)
            commands.append(Tell(kept))
        return commands + [c for worker in held.holders for c in self._begin_to_keep(worker, held)]

    def on_guard_early(self, message: Guard) -> None:
        """The same as ``on_guard`` for a partition that waits for its state."""
        if (restoring := self._restoring.get(message.instance)) is not None:
            restoring.place = replace(restoring.place, holders=message.holders)

    def forget(self, instance: int) -> None:
        """It is to start elsewhere."""
        self._restoring.pop(instance, None)

    def nudge(self) -> list[Command]:
        """Ask again for state that has not come in a while: a lost connection loses what was under way."""
        overdue = []
        for restoring in self._restoring.values():
            restoring.nudges += 1
            if restoring.nudges % OVERDUE == 0:
                overdue.append(restoring)
        return [self._ask(restoring) for restoring in overdue]
