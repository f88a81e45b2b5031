"""Between the coordinator and workers: which instance runs where, for which key interval, fed by whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elastic.keys import KeyInterval
from elastic.protocol.ending import Finish


@dataclass(frozen=True, slots=True)
class Peers:
    """Addresses of all live workers, by worker id."""

    epoch: int
    addresses: dict[int, str]


@dataclass(frozen=True, slots=True)
class ProducerRef:
    """One producer of an edge, as a consumer has to know it."""

    instance: int
    interval: KeyInterval
    worker: int


@dataclass(frozen=True, slots=True)
class View:
    """Who produces an edge now: the whole assignment, which tiles all key groups."""

    epoch: int
    instance: int
    edge: int
    version: int
    producers: tuple[ProducerRef, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Run an instance.

    Attributes:
        generation: Raised at the input log and at the sink's target, so that the predecessor's writes are refused.
        holder: Worker that keeps its checkpoints; None when they are off or nobody can.
        part_at: Worker that has the part to restore from; None to start from tick 0.
        views: The producers of every input.
        final: The ``Finish`` of a source whose end is fixed already.
        term: Of the holder, as in ``Hold``.
        second: Another worker that keeps its checkpoints too.
    """

    epoch: int
    instance: int
    operator: str
    index: int
    interval: KeyInterval
    version: int
    generation: int
    holder: int | None
    part_at: int | None
    views: tuple[View, ...]
    final: Finish | None = None
    cause: str = ""
    term: int = 0
    second: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """An instance runs; ``keys`` of state were restored at ``tick``."""

    instance: int
    tick: int
    keys: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """An instance that was started by a recovery has replayed all that its predecessor's consumers may have seen."""

    instance: int
    tick: int
    replayed: int


@dataclass(frozen=True, slots=True)
class GroupLoads:
    """How many records of each of its key groups an instance took in of late; said now and then, while there are any.

    Attributes:
        loads: By key group, from the lowest of its interval on; only their proportions mean something.
    """

    instance: int
    loads: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rejoin:
    """A new coordinator asks a worker for an account of what it has."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Running:
    """What runs on a worker, and whose checkpoints it holds; ends its account."""

    instances: tuple[int, ...]
    held: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop an instance that is no longer in the assignment."""

    epoch: int
    instance: int


@dataclass(frozen=True, slots=True)
class Align:
    """An instance that is to be joined with others checkpoints at ``tick`` and not after it, until it is told a holder.

    It answers ``Aligned`` when that checkpoint is stored, or ``AlignRefused`` if it is past the tick already.
    """

    epoch: int
    reconfigure: int
    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class Aligned:
    """The checkpoint that was asked for is stored."""

    reconfigure: int
    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class AlignRefused:
    """The instance is past the tick, or has no holder; it stands at ``tick``."""

    reconfigure: int
    instance: int
    tick: int
