"""The language of the core: messages between instances, holders, workers and the coordinator, and commands.

All are values. ``elastic.wire`` carries them between processes; ``elastic.testing`` carries the very same between parts
of one process. Ticks, ids and versions are integers that never go back:

* an *instance id* is given out once; each incarnation gets a new one;
* a *version* counts the assignments of one operator; what carries an older one is refused;
* an *epoch* counts the coordinator's incarnations; workers refuse commands of an older one;
* a *serial* counts the subscriptions of one consumer, so that what was sent for an earlier one is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from elastic.batch import Batch
from elastic.keys import KeyInterval
from elastic.state.checkpoint import Checkpoint

# -- between instances -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A consumer asks a producer for all that lies past tick ``after`` on one edge: start, replay and live data alike.

    Attributes:
        worker: Where the consumer lives.
        version: Of the consumer's assignment; a subscription supersedes overlapping ones of lower versions.
        window_bytes: Credit: so much may be under way before the consumer has processed any of it.
        seen_from: The consumer kept fingerprints of ticks ``(seen_from, after]``; what is not in ``seen`` was empty.
        seen: (tick, fingerprint) of what a predecessor of the producer delivered.
    """

    edge: int
    producer: int
    consumer: int
    worker: int
    interval: KeyInterval
    after: int
    version: int
    serial: int
    window_bytes: int
    seen_from: int = 0
    seen: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Deliver:
    """Closes ticks ``[first, tick]`` for one consumer; ``batch`` holds the rows of ``tick``, those before are empty.

    Attributes:
        size_bytes: Of the batch as the producer counts it, which is what credit is given back for.
        fingerprint: Of the batch; 0 where there is none.
        stable: A successor of the producer would start after this tick, so what lies at or below it never comes again.
        final: The stream ends with ``tick``.
    """

    edge: int
    producer: int
    consumer: int
    serial: int
    first: int
    tick: int
    batch: Batch | None = None
    size_bytes: int = 0
    fingerprint: int = 0
    stable: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Credit:
    """The consumer has processed ``consumed_bytes`` in all under the subscription ``serial``."""

    edge: int
    producer: int
    consumer: int
    serial: int
    consumed_bytes: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A stored checkpoint (a commit, for a sink) of the consumer covers ``interval`` through ``tick``."""

    edge: int
    producer: int
    interval: KeyInterval
    tick: int


@dataclass(frozen=True, slots=True)
class Want:
    """The consumer waits for the producer to close ``tick``; idle producers close late unless asked."""

    edge: int
    producer: int
    consumer: int
    tick: int


@dataclass(frozen=True, slots=True)
class NeedCheckpoint:
    """A producer's buffer state is past its limit: the consumer is asked for an early checkpoint."""

    edge: int
    consumer: int


@dataclass(frozen=True, slots=True)
class Differs:
    """A replayed tick gave other rows than the first time; ``batch`` is what came now. The consumer finds the row."""

    edge: int
    producer: int
    consumer: int
    tick: int
    batch: Batch | None


# -- backup ------------------------------------------------------------------------------------------------------------


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


# -- coordinator to worker ---------------------------------------------------------------------------------------------


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
class Peers:
    """Addresses of all live workers, by worker id."""

    epoch: int
    addresses: dict[int, str]


@dataclass(frozen=True, slots=True)
class Start:
    """Run an instance.

    Attributes:
        generation: Raised at the input log and at the sink's target, so that the predecessor's writes are refused.
        holder: Worker that keeps its checkpoints; None when they are off or nobody can.
        part_at: Worker that has the part to restore from; None to start from tick 0.
        views: The producers of every input.
        final: The ``Finish`` of a source whose end is fixed already.
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


@dataclass(frozen=True, slots=True)
class Retire:
    """Stop an instance that is no longer in the assignment."""

    epoch: int
    instance: int


@dataclass(frozen=True, slots=True)
class SetHolder:
    """From now on an instance backs up at another worker, with a full checkpoint at once."""

    epoch: int
    instance: int
    holder: int | None


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
class Cut:
    """Fence an instance and cut its last checkpoint into parts for its successors; idempotent by ``reconfigure``."""

    epoch: int
    reconfigure: int
    instance: int
    parts: tuple[tuple[int, KeyInterval], ...]


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


@dataclass(frozen=True, slots=True)
class Freeze:
    """A source reads no more and closes nothing more; it answers ``Frozen``. Comes before the end, of either kind."""

    epoch: int
    instance: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Every source is frozen: close the stream through ``tick``, the same for all.

    ``final``: the input ended, so operators emit what is pending; otherwise the job is only being stopped.
    """

    epoch: int
    instance: int
    tick: int
    final: bool


@dataclass(frozen=True, slots=True)
class Drain:
    """A sink commits everything through ``tick`` as soon as it can, and says so: the job is being stopped."""

    epoch: int
    instance: int
    tick: int


# -- worker to coordinator ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """An instance runs; ``keys`` of state were restored at ``tick``."""

    instance: int
    tick: int
    keys: int
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CutDone:
    """The parts lie at the holder. ``lost``: it should have had a checkpoint and has none."""

    reconfigure: int
    tick: int
    lost: bool


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


@dataclass(frozen=True, slots=True)
class Protected:
    """An instance's checkpoint is stored at ``holder`` for the first time."""

    instance: int
    holder: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A source instance has read all there is; it goes on closing empty ticks until it is frozen."""

    instance: int


@dataclass(frozen=True, slots=True)
class Frozen:
    """A source instance has closed through ``tick`` and will close nothing more by itself."""

    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A sink instance has committed everything through the tick that ends the stream."""

    instance: int
    tick: int


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """An instance that was started by a recovery has replayed all that its predecessor's consumers may have seen."""

    instance: int
    tick: int
    replayed: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance cannot go on: user code raised, a source cannot be read, a target refuses."""

    instance: int
    operator: str
    tick: int
    error: str
    user: bool = True


@dataclass(frozen=True, slots=True)
class Fenced:
    """An instance found out at its input log or target that it was replaced; it has stopped."""

    instance: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A subscription asked for ticks that were trimmed: fatal if the consumer is current, a zombie's if not."""

    edge: int
    producer: int
    consumer: int
    after: int
    floor: int


@dataclass(frozen=True, slots=True)
class Nondeterministic:
    """A replay differed: which operator, which tick, which key or row."""

    operator: str
    tick: int
    key: str
    before: str
    now: str


# -- commands of a core machine to its shell ---------------------------------------------------------------------------


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

MESSAGES: tuple[type, ...] = (
    Subscribe, Deliver, Credit, Ack, Want, NeedCheckpoint, Differs,
    Store, Stored, StoreRefused, Fetch, Part,
    View, Peers, Start, Retire, SetHolder, Hold, Release, Cut, Align, Join, Freeze, Finish, Drain,
    ProducerRef, Started, CutDone, Aligned, AlignRefused, Protected, Exhausted, Frozen, Finished, CaughtUp, Failed,
    Fenced, Trimmed, Nondeterministic,
)  # fmt: skip
"""Every message that may cross a process border, in a fixed order."""
