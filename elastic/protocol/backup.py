"""Between instances, the holders of their checkpoints and the coordinator: storing, cutting, joining, restoring."""

from __future__ import annotations

from dataclasses import dataclass

from elastic.keys import KeyInterval
from elastic.state.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Store:
    """An instance backs its checkpoint up at its holder."""

    instance: int
    worker: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Stored:
    """The holder has the instance's checkpoint of ``tick`` on every medium that the job promises to survive."""

    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class StoreRefused:
    """The holder did not take a checkpoint: it does not hold for the instance, or lacks what the delta builds on."""

    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """A worker that starts an instance asks the holder for its part of the cut checkpoint."""

    instance: int
    worker: int


@dataclass(frozen=True, slots=True)
class Part:
    """The answer to ``Fetch``; None where the predecessor had not stored anything yet."""

    instance: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep checkpoints for an instance. ``fresh``: nothing was ever acknowledged, so an empty copy means tick 0."""

    epoch: int
    instance: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class Release:
    """Forget an instance's checkpoints: another worker holds them, or it was replaced."""

    epoch: int
    instance: int


@dataclass(frozen=True, slots=True)
class SetHolder:
    """From now on an instance backs up at another worker, with a full checkpoint at once."""

    epoch: int
    instance: int
    holder: int | None


@dataclass(frozen=True, slots=True)
class Protected:
    """An instance's checkpoint is stored at ``holder`` for the first time."""

    instance: int
    holder: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Fence an instance and cut its last checkpoint into parts for its successors; idempotent by ``reconfigure``."""

    epoch: int
    reconfigure: int
    instance: int
    parts: tuple[tuple[int, KeyInterval], ...]


@dataclass(frozen=True, slots=True)
class CutDone:
    """The parts lie at the holder. ``lost``: it should have had a checkpoint and has none."""

    reconfigure: int
    tick: int
    lost: bool


@dataclass(frozen=True, slots=True)
class Join:
    """Make one checkpoint of several of one tick, and hold it for ``successor``; idempotent by ``reconfigure``.

    Attributes:
        holder: Who is told this.
        sources: Instances, and the worker that holds the checkpoint of each.
    """

    epoch: int
    reconfigure: int
    holder: int
    successor: int
    tick: int
    sources: tuple[tuple[int, int], ...]
