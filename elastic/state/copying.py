"""What a holder has cut or joined goes to a second one: it counts as stored only once both have it.

Only so do two losses at once find a copy in the middle of a scale out: the parts must be of one checkpoint, so what the
second holder has of the instance itself cannot stand in for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from elastic.protocol import Command, Copy, CutDone, Send
from elastic.state.checkpoint import Checkpoint

Find = Callable[[int], Checkpoint | None]
"""The whole checkpoint that is held for an instance."""


@dataclass(slots=True)
class _Copying:
    """What one reconfigure has made: what is said in the end, and which parts the second holder lacks."""

    done: CutDone
    second: int
    parts: frozenset[int]
    missing: set[int]
    nudges: int = 0


@dataclass(slots=True)
class Copying:
    """Parts under way from here to second holders, by reconfigure.

    Args:
        find: What is held here.
    """

    find: Find
    _under_way: dict[int, _Copying] = field(default_factory=dict)

    def __contains__(self, reconfigure: int) -> bool:
        return reconfigure in self._under_way

    def begin(self, done: CutDone, second: int, parts: Iterable[int]) -> list[Command]:
        """Send the parts; until the second holder has all of them they may be restored, and not take over."""
        ids = frozenset(parts)
        self._under_way[done.reconfigure] = copying = _Copying(done, second, ids, set(ids))
        return self._sent(copying)

    def turn_to(self, reconfigure: int, second: int) -> list[Command]:
        """Another worker is to have the parts; nothing changes if it is the one that is getting them."""
        copying = self._under_way[reconfigure]
        return [] if second == copying.second else self.begin(copying.done, second, copying.parts)

    def give_up(self, reconfigure: int) -> CutDone:
        """Nobody is left who could have the parts too."""
        return self._under_way.pop(reconfigure).done

    def on_copied(self, second: int, instance: int) -> CutDone | None:
        """A part lies there too; what is to be said if it was the last of a reconfigure's."""
        for id, copying in self._under_way.items():
            if copying.second == second and instance in copying.missing:
                copying.missing.discard(instance)
                if not copying.missing:
                    del self._under_way[id]
                    return copying.done
                break
        return None

    def forget(self, instance: int) -> None:
        """One of the parts is not wanted any more, and so none of them is."""
        self._under_way = {id: c for id, c in self._under_way.items() if instance not in c.parts}

    def nudge(self) -> list[Command]:
        """Some time has passed: what is not acknowledged may have been lost, or have come too early; it is sent again.

        Ever more rarely: it may just be large.
        """
        commands: list[Command] = []
        for copying in self._under_way.values():
            copying.nudges += 1
            if copying.nudges & (copying.nudges - 1) == 0:
                commands += self._sent(copying)
        return commands

    def _sent(self, copying: _Copying) -> list[Command]:
        found = {id: self.find(id) for id in sorted(copying.missing)}
        return [Send(copying.second, Copy(id, part)) for id, part in found.items() if part is not None]
