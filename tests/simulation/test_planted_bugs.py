"""The simulator is worth its time only if it finds bugs: each of these is planted, and must be found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from elastic.instance import inputs, keyed
from elastic.protocol import Send, Stored
from elastic.state import backup, buffer
from elastic.testing import world
from elastic.testing.__main__ import run_seed

Plant = Callable[[pytest.MonkeyPatch], None]


def trim_at_once(patch: pytest.MonkeyPatch) -> None:
    """A tick is dropped as soon as one consumer is safe, not when all are."""

    def acknowledge(self: buffer.BufferState, interval: Any, tick: int) -> bool:
        self.acked[:] = np.maximum(self.acked, tick)
        self.floor = max(self.floor, tick)
        self._entries = [e for e in self._entries if e.tick > self.floor]
        return True

    patch.setattr(buffer.BufferState, "acknowledge", acknowledge)


def acknowledge_unstored(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint counts as stored when it is sent."""
    original = keyed.KeyedInstance.checkpoint

    def checkpoint(self: keyed.KeyedInstance) -> list[Any]:
        return original(self) + [c for i in self.inputs for c in i.acks(self.tau)]

    patch.setattr(keyed.KeyedInstance, "checkpoint", checkpoint)


def forget_the_merge(patch: pytest.MonkeyPatch) -> None:
    """Rows are handed over producer by producer, in the order of their ids, instead of in canonical order."""
    original = inputs.Input.on_view

    def on_view(self: inputs.Input, view: Any, tau: int) -> list[Any]:
        commands = original(self, view, tau)
        self.producers = dict(sorted(self.producers.items(), key=lambda item: -item[0]))
        return commands

    patch.setattr(inputs.Input, "on_view", on_view)


def keep_duplicates(patch: pytest.MonkeyPatch) -> None:
    """What was delivered under an earlier subscription, or twice, is processed again."""

    def on_deliver(self: inputs.Input, message: Any) -> list[Any]:
        producer = self.producers.get(message.producer)
        if producer is None:
            return []
        producer.closed = max(producer.closed, message.tick)
        producer.final = producer.final or message.final
        if message.batch is not None:
            producer.queue.append(message)
            producer.queue = deque(sorted(producer.queue, key=lambda d: d.tick))
        return []

    patch.setattr(inputs.Input, "on_deliver", on_deliver)


def accept_gaps(patch: pytest.MonkeyPatch) -> None:
    """A delivery that starts past the next tick is taken as if nothing were missing."""
    original = inputs.Input.on_deliver

    def on_deliver(self: inputs.Input, message: Any) -> list[Any]:
        producer = self.producers.get(message.producer)
        first = message.first if producer is None else min(message.first, producer.closed + 1)
        return original(self, replace(message, first=first))

    patch.setattr(inputs.Input, "on_deliver", on_deliver)


def hold_for_zombies(patch: pytest.MonkeyPatch) -> None:
    """A holder goes on storing, and acknowledging, for an instance whose checkpoint it has cut."""
    original = backup.BackupStore.on_store

    def on_store(self: backup.BackupStore, message: Any) -> list[Any]:
        if message.instance not in self._held:
            return [Send(message.worker, Stored(message.instance, message.checkpoint.tick))]
        return original(self, message)

    patch.setattr(backup.BackupStore, "on_store", on_store)


def let_zombies_log(patch: pytest.MonkeyPatch) -> None:
    """The input log takes entries of an older generation."""
    patch.setattr(world.SimulatedLog, "_check", lambda self: None)


def restart_from_nothing(patch: pytest.MonkeyPatch) -> None:
    """The cut loses what was written since the last full checkpoint."""
    patch.setattr(backup.Held, "fold", lambda self: self.whole)


def lose_the_buffer(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint leaves buffer state out."""
    original = buffer.BufferState.checkpoint
    patch.setattr(buffer.BufferState, "checkpoint", lambda self, after: replace(original(self, after), entries=()))


PLANTED: list[Plant] = [
    trim_at_once, acknowledge_unstored, forget_the_merge, keep_duplicates, accept_gaps, hold_for_zombies,
    let_zombies_log, restart_from_nothing, lose_the_buffer,
]  # fmt: skip


def is_found(seed: int) -> bool:
    """Whether the seed's job ends other than it should; a crash of the core counts."""
    try:
        result = run_seed(seed)
    except (AssertionError, LookupError, ValueError):
        return True
    return result.wrong is not None or "was dropped through tick" in (result.error or "")


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_simulator_finds_a_planted_bug(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert any(is_found(seed) for seed in range(200))
