"""The consumer's side of an edge: who produces it, what has arrived, and through which tick it is closed.

An instance's position is one number, τ: everything at or below it was consumed from every input (invariant 2). So a
tick at or below what a producer has closed is dropped, one beyond the next is a gap, and after a gap the consumer
simply subscribes again from what it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from elastic.batch import Batch, rows
from elastic.keys import KeyInterval, tiles
from elastic.protocol import (
    Ack,
    Command,
    Credit,
    Deliver,
    Nondeterministic,
    ProducerRef,
    Send,
    Subscribe,
    Tell,
    View,
    Want,
)

MIN_WINDOW_BYTES = 256 << 10
MAX_WINDOW_BYTES = 4 << 20
"""A window covers a round trip of 0.1 ms at 3.5 GB/s many times over; more would only lengthen queues. Whatever the
number of producers, one window is never more than a sixteenth of a worker's memory."""

KEPT_SHARE = 16
"""Of a worker's memory, so small a part goes at most to rows of an input that only serve to explain a difference."""


@dataclass(slots=True)
class SeenLog:
    """What came from one producer interval since tick ``since``, kept until no replay of it can come.

    Attributes:
        ticks: Tick and fingerprint of what had rows, ascending.
        rows: The newest of these with their rows, to say in which row a replay differs; as many as there is room for.
    """

    since: int
    ticks: deque[tuple[int, int]] = field(default_factory=deque)
    rows: deque[Deliver] = field(default_factory=deque)
    _rows_bytes: int = 0

    def note(self, message: Deliver, most_bytes: int) -> None:
        """Keep what came of a tick, and rows of no more than so much."""
        if message.tick <= self.since:
            return
        self.ticks.append((message.tick, message.fingerprint))
        if most_bytes:
            self.rows.append(message)
            self._rows_bytes += message.size_bytes
        while self._rows_bytes > most_bytes:
            self._drop_rows()

    def forget(self, stable: int) -> None:
        """Drop ticks that never come again."""
        self.since = max(self.since, stable)
        while self.ticks and self.ticks[0][0] <= stable:
            self.ticks.popleft()
        while self.rows and self.rows[0].tick <= stable:
            self._drop_rows()

    def _drop_rows(self) -> None:
        self._rows_bytes -= self.rows.popleft().size_bytes


@dataclass(slots=True)
class Producer:
    """One producer of an input.

    Attributes:
        closed: Everything through this tick has arrived.
        queue: Ticks with rows past the consumer's τ, ascending.
        rows_through: The last tick that brought rows; 0 for none.
        window_bytes: So much may be under way, as it was told.
        wanted: Ticks that the producer was asked to close and has not.
    """

    ref: ProducerRef
    serial: int
    closed: int
    rows_through: int = 0
    window_bytes: int = 0
    queue: deque[Deliver] = field(default_factory=deque)
    consumed_bytes: int = 0
    credited_bytes: int = 0
    final: bool = False
    wanted: set[int] = field(default_factory=set)


class Input:
    """One input of an instance.

    Args:
        narrow: Only producers whose intervals overlap the instance's have anything for it.
        prompt: After a tick with rows a producer closes the next one unasked, which a source does.
    """

    def __init__(
        self, edge: int, number: int, instance: int, worker: int, interval: KeyInterval, version: int,
        *, key_groups: int, memory_bytes: int, keep_rows: bool, narrow: bool = False, prompt: bool = False,
    ) -> None:  # fmt: skip
        self.edge, self.number = edge, number
        self._narrow, self._prompt = narrow, prompt
        self._instance, self._worker, self._interval, self._version = instance, worker, interval, version
        self._key_groups, self._memory_bytes, self._keep_rows = key_groups, memory_bytes, keep_rows
        self._serial = 0
        self._acked = 0
        self.view_version = -1
        self.complete = False
        self.producers: dict[int, Producer] = {}
        self._seen: dict[KeyInterval, SeenLog] = {}

    # -- who produces ------------------------------------------------------------------------------------------------

    def on_view(self, view: View, tau: int) -> list[Command]:
        """Learn the current producers, forget the others with all that was not processed, subscribe from τ."""
        if view.version <= self.view_version:
            return []
        self.view_version = view.version
        refs = sorted(view.producers, key=lambda ref: ref.interval)
        self.complete = tiles([ref.interval for ref in refs], KeyInterval(0, self._key_groups))
        if self._narrow:
            refs = [ref for ref in refs if ref.interval.overlaps(self._interval)]
        self._seen = {ref.interval: self._seen.get(ref.interval) or SeenLog(tau) for ref in refs}
        before = self.producers
        self.producers = {ref.instance: before.get(ref.instance) or Producer(ref, 0, tau) for ref in refs}
        return [c for p in self.producers.values() if p.serial == 0 for c in self.subscribe(p)]

    def subscribe(self, producer: Producer) -> list[Command]:
        """Ask a producer for all that it has past what it has closed here: at first, after a gap, after a reconnect."""
        self._serial += 1
        producer.serial = self._serial
        producer.wanted.clear()
        producer.consumed_bytes = producer.credited_bytes = -sum(d.size_bytes for d in producer.queue)
        producer.window_bytes = self._window_bytes
        log = self._seen[producer.ref.interval]
        arrived = ((d.tick, d.fingerprint) for d in producer.queue if d.tick > log.since)
        seen = (*log.ticks, *arrived)
        message = Subscribe(
            self.edge, producer.ref.instance, self._instance, self._worker, self._interval, producer.closed,
            self._version, producer.serial, producer.window_bytes, log.since, seen,
        )  # fmt: skip
        commands: list[Command] = [Send(producer.ref.worker, message)]
        if self._acked:  # a new incarnation has not heard it, and an old one's link may have lost it
            commands.append(self._ack(producer))
        return commands

    @property
    def _window_bytes(self) -> int:
        share = self._memory_bytes // 16
        return min(max(share // len(self.producers), MIN_WINDOW_BYTES), share, MAX_WINDOW_BYTES)

    @property
    def _kept_bytes(self) -> int:
        """Rows of so much are kept of each producer."""
        return self._memory_bytes // KEPT_SHARE // len(self.producers) if self._keep_rows else 0

    # -- what arrives ------------------------------------------------------------------------------------------------

    def on_deliver(self, message: Deliver) -> list[Command]:
        """Take what closes the next tick; drop what was closed already; subscribe again after a gap."""
        producer = self.producers.get(message.producer)
        if producer is None or message.serial != producer.serial:
            return []
        if message.first > producer.closed + 1:
            return self.subscribe(producer)
        if message.tick > producer.closed:
            producer.closed = message.tick
            if message.batch is not None:
                producer.rows_through = message.tick
                producer.queue.append(message)
        producer.final = producer.final or message.final
        self._seen[producer.ref.interval].forget(message.stable)
        return []

    @property
    def closed(self) -> int:
        """The tick through which every producer has closed; -1 while the producers do not tile the key groups."""
        if not self.complete:
            return -1
        return min([p.closed for p in self.producers.values()])

    @property
    def slowest(self) -> tuple[int, ...]:
        """The producers that have closed least; none while the producers do not tile the key groups."""
        closed = self.closed
        return tuple(id for id, p in self.producers.items() if p.closed == closed and not p.final)

    @property
    def newest(self) -> int:
        """The newest tick with rows that waits here; 0 if none does."""
        return max([p.queue[-1].tick for p in self.producers.values() if p.queue], default=0)

    @property
    def next_rows(self) -> int | None:
        """The oldest tick with rows that waits here."""
        return min([p.queue[0].tick for p in self.producers.values() if p.queue], default=None)

    @property
    def final(self) -> bool:
        """Whether every producer has said that its stream ends with what it has closed."""
        return self.complete and all(p.final for p in self.producers.values())

    # -- what is consumed --------------------------------------------------------------------------------------------

    def take(self, tick: int) -> Iterator[Batch]:
        """The rows of one tick, by the producers' intervals; they are consumed with it."""
        for producer in self.producers.values():
            if producer.queue and producer.queue[0].tick == tick:
                message = producer.queue.popleft()
                producer.consumed_bytes += message.size_bytes
                batch = message.batch
                assert batch is not None
                self._seen[producer.ref.interval].note(message, self._kept_bytes)
                yield batch

    def credits(self) -> list[Command]:
        """Tell producers what was consumed, once it is worth a message: what is left unsaid blocks nobody."""
        due: list[Command] = []
        for p in self.producers.values():
            if p.consumed_bytes - p.credited_bytes > p.window_bytes // 4:
                p.credited_bytes = p.consumed_bytes
                due.append(
                    Send(p.ref.worker, Credit(self.edge, p.ref.instance, self._instance, p.serial, p.consumed_bytes))
                )
        return due

    def wants(self, tick: int) -> list[Command]:
        """Ask those producers to close ``tick`` that have not, once for each tick; it may lie in the future.

        A prompt one that has just sent rows closes its next tick soon; then it is asked, if that is not enough.
        """
        due: list[Command] = []
        for p in self.producers.values():
            if self._prompt and p.closed == p.rows_through > 0:
                continue
            if p.closed < tick and tick not in p.wanted:
                p.wanted = {t for t in p.wanted if t > p.closed} | {tick}
                due.append(Send(p.ref.worker, Want(self.edge, p.ref.instance, self._instance, tick)))
        return due

    def acks(self, tick: int) -> list[Command]:
        """Tell producers that ``tick`` is safe here: they may trim."""
        self._acked = max(self._acked, tick)
        return [self._ack(p) for p in self.producers.values()]

    def _ack(self, producer: Producer) -> Send:
        return Send(producer.ref.worker, Ack(self.edge, producer.ref.instance, self._interval, self._acked))

    def explain(self, operator: str, producer: int, tick: int, now: Batch | None) -> list[Command]:
        """Say in which row a replayed tick differs from what was processed."""
        ref = self.producers[producer].ref if producer in self.producers else None
        kept = next((m.batch for m in self._seen[ref.interval].rows if m.tick == tick), None) if ref else None
        key, before_text, now_text = first_difference(kept, now)
        return [Tell(Nondeterministic(operator, tick, key, before_text, now_text))]


def first_difference(before: Batch | None, now: Batch | None) -> tuple[str, str, str]:
    """(key, row before, row now) of the first row that differs, as text; '' for what is not known."""
    old, new = _keyed_rows(before), _keyed_rows(now)
    if before is None:
        return (new[0][0] if new else "", "", new[0][1] if new else "no rows")
    for a, b in zip(old, new, strict=False):
        if a != b:
            return b[0], a[1], b[1]
    if len(old) == len(new):
        return "", "", ""
    longer = old if len(old) > len(new) else new
    key, row = longer[min(len(old), len(new))]
    return (key, row, "no row") if longer is old else (key, "no row", row)


def _keyed_rows(batch: Batch | None) -> list[tuple[str, str]]:
    if batch is None:
        return []
    values = rows(batch.values) if batch.values is not None else [None] * len(batch)
    keys = rows(batch.keys) if batch.keys is not None else [v[0] if isinstance(v, tuple) and v else v for v in values]
    return [(repr(k)[:200], repr(v)[:200]) for k, v in zip(keys, values, strict=True)]
