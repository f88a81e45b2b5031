"""What a machine of the core wants its shell to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from elastic.batch import Batch
from elastic.protocol.assignment import Start
from elastic.state.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver a message to a worker."""

    worker: int
    message: Any


@dataclass(frozen=True, slots=True)
class Tell:
    """Deliver a message to the coordinator."""

    message: Any


@dataclass(frozen=True, slots=True)
class Open:
    """Open a source's log and readers, or a sink's target, under the start's generation; the shell answers the host."""

    start: Start


@dataclass(frozen=True, slots=True)
class Close:
    """Release what was opened for an instance, which is gone."""

    instance: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Write closed ticks to the target; the shell answers with ``SinkInstance.on_committed``."""

    instance: int
    ticks: tuple[tuple[int, Batch], ...]
    through: int
    final: bool


@dataclass(frozen=True, slots=True)
class Persist:
    """Write a checkpoint of an instance to the disk; the shell answers with ``Host.persisted`` or ``Host.refused``.

    Attributes:
        term: Refused once somebody has loaded or written under a higher one.
        compact: It stands for everything that was written before it.
    """

    instance: int
    term: int
    checkpoint: Checkpoint
    compact: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """Fence what is on the disk of an instance and read its newest checkpoint; the shell answers ``Host.loaded``."""

    reconfigure: int
    instance: int
    term: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the checkpoints of an instance from the disk."""

    instance: int


Command: TypeAlias = Send | Tell | Open | Close | Commit | Persist | Load | Forget
