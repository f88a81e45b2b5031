"""Between instances, the holders of their checkpoints and the coordinator: storing, cutting, joining, restoring."""

from __future__ import annotations

from dataclasses import dataclass

from elastic.keys import KeyInterval
from elastic.state.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Store:
    """An instance backs its checkpoint up at its holder.

    Attributes:
        term: Of the holder, as the instance knows it: a delta and its base are of one term.
        second: Another holder is to write it to the disk.
    """

    instance: int
    worker: int
    checkpoint: Checkpoint
    term: int = 0
    second: bool = False


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
class Copy:
    """A holder that has cut or joined has another one keep a part, which is ``instance``'s, beside it."""

    instance: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Copied:
    """The answer to ``Copy``: the part lies on both workers."""

    instance: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep checkpoints for an instance.

    Attributes:
        fresh: Nothing was ever acknowledged, so an empty copy means tick 0.
        term: Counts the holders of the job; what one of an earlier term writes to the disk is refused from then on.
    """

    epoch: int
    instance: int
    fresh: bool
    term: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """Forget an instance's checkpoints: another worker holds them; ``gone``: nobody needs them, on no medium."""

    epoch: int
    instance: int
    gone: bool = False


@dataclass(frozen=True, slots=True)
class SetHolder:
    """From now on an instance backs up at another worker, or two, with a full checkpoint at once; once per ``term``."""

    epoch: int
    instance: int
    holder: int | None
    term: int = 0
    second: int | None = None


@dataclass(frozen=True, slots=True)
class Protected:
    """An instance's checkpoint is stored at ``holder`` for the first time."""

    instance: int
    holder: int


@dataclass(frozen=True, slots=True)
class Cut:
    """Fence an instance and cut its last checkpoint into parts for its successors; idempotent by ``reconfigure``.

    A worker that has no checkpoint of the instance takes what lies on the disk.

    Attributes:
        term: Under it the parts are held, and the instance's checkpoints on the disk are fenced.
        origin: The instance that this one was made from, if it may not have stored anything itself.
        patient: Wait for the next checkpoint of the instance, which is due soon: then little has to be replayed.
        second: Another worker that is to have the parts too, before they count as stored.
    """

    epoch: int
    reconfigure: int
    instance: int
    parts: tuple[tuple[int, KeyInterval], ...]
    term: int = 0
    origin: int | None = None
    patient: bool = False
    second: int | None = None


@dataclass(frozen=True, slots=True)
class CutDone:
    """The parts lie at the holder, or what was joined does.

    Attributes:
        lost: It should have had a checkpoint and has none.
        keys: Of the checkpoint, as far as they are known before it is folded.
        stored: On every medium that the job promises to survive. What is not yet may be restored, but not take over:
            should the holder be lost, another checkpoint is cut.
    """

    reconfigure: int
    tick: int
    lost: bool
    keys: int = 0
    stored: bool = True


@dataclass(frozen=True, slots=True)
class Join:
    """Make one checkpoint of several of one tick, and hold it for ``successor``; idempotent by ``reconfigure``.

    Attributes:
        holder: Who is told this.
        sources: Instances, and the worker that holds the checkpoint of each.
        term: Under it the whole is held.
        second: Another worker that is to have the whole too, before it counts as stored.
    """

    epoch: int
    reconfigure: int
    holder: int
    successor: int
    tick: int
    sources: tuple[tuple[int, int], ...]
    term: int = 0
    second: int | None = None
