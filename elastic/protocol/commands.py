"""What a machine of the core wants its shell to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from elastic.batch import Batch
from elastic.protocol.assignment import Start


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


Command: TypeAlias = Send | Tell | Open | Close | Commit
