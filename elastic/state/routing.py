"""Routing state: the live subscriptions to one edge of one instance, and what is due to each of them.

Invariant 6: replay is the same path as live data. A subscription names a key interval and the tick after which it
wants the stream; the producer serves it from its buffer state and goes on as new ticks close. Start, reconnect, scale
out and recovery all use it. Source: SEEP's ρ_o; we differ in that consumers pull it instead of a manager pushing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from elastic.batch import Batch
from elastic.fingerprint import fingerprint
from elastic.keys import KeyInterval
from elastic.protocol import Credit, Deliver, Differs, Send, Subscribe
from elastic.state.buffer import BufferState
from elastic.state.spill import SpilledBatch, loaded


@dataclass(slots=True)
class Subscription:
    """One consumer of one edge, and how far it was served.

    Attributes:
        sent: It was sent everything through this tick.
        position_bytes: ``BufferState.appended_bytes`` as of ``sent``; what lies past it is unsent.
        sent_bytes, consumed_bytes: Under this serial; their difference is what credit limits.
        expected: Fingerprints that the consumer kept of ticks this producer has yet to replay.
        checked_from, checked_to: The consumer's fingerprints tell of ticks ``(checked_from, checked_to]``.
    """

    consumer: int
    worker: int
    interval: KeyInterval
    version: int
    serial: int
    window_bytes: int
    sent: int
    position_bytes: int = 0
    sent_bytes: int = 0
    consumed_bytes: int = 0
    final_sent: bool = False
    expected: dict[int, int] = field(default_factory=dict)
    checked_from: int = 0
    checked_to: int = 0

    @property
    def has_credit(self) -> bool:
        """Whether another batch may go out: when nothing is under way, whatever its size, so nothing deadlocks."""
        under_way = self.sent_bytes - self.consumed_bytes
        return under_way <= 0 or under_way < self.window_bytes


class RoutingState:
    """The subscriptions to one edge of one instance.

    Args:
        edge: Its id.
        instance: The producer's.
        buffer: What is served from.
        whole: Every consumer gets all rows, whatever its key interval. Superseding and trimming go by intervals all the
            same: so each instance that is current at a tick gets it, and it is kept until all of them are safe.
    """

    def __init__(self, edge: int, instance: int, buffer: BufferState, *, whole: bool = False) -> None:
        self._edge, self._instance, self._buffer, self._whole = edge, instance, buffer, whole
        self._subscriptions: dict[int, Subscription] = {}

    def __iter__(self) -> Iterator[Subscription]:
        return iter(self._subscriptions.values())

    def subscribe(self, message: Subscribe, *, closed: int, start: int) -> tuple[bool, list[Send]]:
        """Take a subscription unless a newer one overlaps it; it supersedes the older ones that it overlaps.

        Args:
            message: The request.
            closed: The producer's τ.
            start: The tick that this incarnation of the producer started after; replays of it and before never happen.

        Returns:
            Whether the consumer asked for ticks that were trimmed, and the differences found so far between what it
            saw of a predecessor and what was replayed here.
        """
        others = self._rivals(message)
        if any(s.version > message.version for s in others):
            return False, []
        mine = self._subscriptions.get(message.consumer)
        if mine is not None and mine.serial >= message.serial:
            return False, []
        if message.after < self._buffer.floor:
            return True, []
        for other in others:
            del self._subscriptions[other.consumer]
        unsent = self._buffer.after(message.after)
        position = unsent[0].start_bytes if unsent else self._buffer.appended_bytes
        self._subscriptions[message.consumer] = subscription = Subscription(
            message.consumer, message.worker, message.interval, message.version, message.serial,
            message.window_bytes, message.after, position,
            expected=dict(message.seen), checked_from=max(message.seen_from, start), checked_to=message.after,
        )  # fmt: skip
        differences: list[Send] = []
        for tick in self._replayed(subscription, closed):
            differences += self.compare(subscription, tick, self._buffer.at(tick))
        return False, differences

    def _rivals(self, message: Subscribe) -> list[Subscription]:
        """Other consumers' subscriptions to something that is asked for here."""
        return [s for s in self if s.consumer != message.consumer and s.interval.overlaps(message.interval)]

    def _replayed(self, subscription: Subscription, closed: int) -> list[int]:
        """Ticks that the consumer remembers and that were replayed before it subscribed."""
        low, high = max(subscription.checked_from, self._buffer.floor), min(subscription.checked_to, closed)
        held = [e.tick for e in self._buffer.after(low) if e.tick <= high]
        return sorted({*held, *(t for t in subscription.expected if low < t <= high)})

    def check(self, tick: int, batch: Batch | None) -> list[Send]:
        """Compare a tick that was just processed with what consumers saw of it the first time, if they did."""
        differences: list[Send] = []
        for subscription in self:
            if subscription.checked_from < tick <= subscription.checked_to:
                differences += self.compare(subscription, tick, batch)
        return differences

    def compare(self, subscription: Subscription, tick: int, batch: Batch | None) -> list[Send]:
        """A ``Differs`` for the consumer if the rows of ``tick`` are not those that it saw; else nothing."""
        part = None if batch is None else self._part(batch, subscription)
        now = 0 if part is None else fingerprint(part)
        if now == subscription.expected.pop(tick, 0):
            return []
        return [Send(subscription.worker, Differs(self._edge, self._instance, subscription.consumer, tick, part))]

    def credit(self, message: Credit) -> None:
        """Note what a consumer has processed; credit for an earlier subscription is void."""
        subscription = self._subscriptions.get(message.consumer)
        if subscription is not None and subscription.serial == message.serial:
            subscription.consumed_bytes = max(subscription.consumed_bytes, message.consumed_bytes)

    def serve(self, closed: int, *, stable: int, final: bool, closings: bool = True) -> list[Send]:
        """Everything that is due: to each consumer the ticks past what it was sent, as far as its credit goes.

        Args:
            closed: The producer's τ: the last tick that may be closed.
            stable: A successor of the producer would start after this tick.
            final: ``closed`` ends the stream.
            closings: Also close ticks after the last one with rows, to consumers that got no rows of ``closed``.
        """
        due: list[Send] = []
        for subscription in self._subscriptions.values():
            blocked = False
            position = self._buffer.appended_bytes  # past what is replayed too, though the consumer needs none of it
            for tick, batch, start_bytes in self._buffer.after(subscription.sent):
                if isinstance(batch, SpilledBatch) and not subscription.has_credit:
                    blocked, position = True, start_bytes  # it need not be read to know that it cannot be sent
                    break
                part = self._part(batch, subscription)
                if part is None:
                    continue
                if not subscription.has_credit:
                    blocked, position = True, start_bytes
                    break
                last = final and tick == closed
                due.append(self._deliver(subscription, tick, part, stable=stable, final=last))
            subscription.position_bytes = position
            if not blocked and closings and self._behind(subscription, closed, final=final):
                due.append(self._deliver(subscription, closed, None, stable=stable, final=final))
        return due

    def _part(self, batch: Batch, to: Subscription) -> Batch | None:
        """The rows of a tick that a consumer gets; None for none."""
        return loaded(batch) if self._whole else batch.slice(to.interval)

    @staticmethod
    def _behind(subscription: Subscription, closed: int, *, final: bool) -> bool:
        return subscription.sent < closed or (final and not subscription.final_sent and subscription.sent == closed)

    def _deliver(self, to: Subscription, tick: int, part: Batch | None, *, stable: int, final: bool) -> Send:
        size, mark = (0, 0) if part is None else (part.size_bytes, fingerprint(part))
        first = min(to.sent + 1, tick)
        to.sent, to.final_sent = tick, final
        to.sent_bytes += size
        return Send(
            to.worker,
            Deliver(self._edge, self._instance, to.consumer, to.serial, first, tick, part, size, mark, stable, final),
        )

    def without_credit(self, limit_bytes: int) -> list[int]:
        """Consumers that have more than so much still to be sent, and no credit for it."""
        appended = self._buffer.appended_bytes
        return [s.consumer for s in self if appended - s.position_bytes > limit_bytes and not s.has_credit]

    def covering_least(self) -> list[int]:
        """Consumers whose stored checkpoints, or commits, hold back trimming."""
        return [s.consumer for s in self if self._buffer.is_held_by(s.interval)]

    @property
    def unsent_bytes(self) -> int:
        """The most that any consumer has still to be sent."""
        appended = self._buffer.appended_bytes
        return appended - min([s.position_bytes for s in self._subscriptions.values()], default=appended)
