"""When a source reads, how much, and which tick it stamps; replay of the log first, live data after.

Pure but for the reader and the log that it is given: the shell opens them, the simulator brings its own. A tick is
logged before it is served, so a successor finds every tick that anybody has seen (invariant 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TypeAlias

from elastic.connectors.base import Chunk, LogEntry, Reader, SourceLog, read_again
from elastic.instance.ahead import Ahead, Held
from elastic.instance.pace import Pace
from elastic.instance.source import CHUNK_BYTES, SourceInstance
from elastic.keys import KeyInterval
from elastic.operators.failure import ending_error
from elastic.plan import Plan
from elastic.protocol import Command, Exhausted, Finish, Frozen, Noticed, Tell

IDLE_CLOSE_S = 0.5
"""An idle source closes ticks twice a second unless a consumer waits: 4 sources and 4 consumers then cost 32 small
messages a second instead of 1,600."""

_Tick: TypeAlias = "tuple[LogEntry, list[Chunk]]"
"""One tick of a partition: what is logged of it, and its chunks."""


class PartitionFeed:
    """One partition of a source instance: its reader, its log and its share of key space."""

    def __init__(self, interval: KeyInterval, reader: Reader, log: SourceLog) -> None:
        self.interval, self.reader, self.log = interval, reader, log
        self.tick = max(log.floor, log.last.tick if log.last else 0)
        self.position = log.last.end if log.last else reader.start

    @property
    def read(self) -> tuple[int, int]:
        """Records and bytes that were read of the partition so far, by whomever."""
        return self.log.last.read if self.log.last else (0, 0)

    def append(self, entry: LogEntry) -> None:
        """Log a tick, which is then durable."""
        self.log.append(entry)
        self.tick, self.position = entry.tick, entry.end

    def resume(self) -> None:
        """Have the reader go on where the log ends."""
        self.reader.seek(self.position)
        if self.log.last is not None and self.log.last.finished:
            self.reader.finished = True  # a position need not tell: that of a connection that was closed does not

    def entries(self, after_tick: int) -> list[LogEntry]:
        """What is still logged after a tick, in order."""
        return self.log.entries(max(after_tick, self.log.floor))

    def pad(self, tick: int, now_s: float, owed: int) -> None:
        """Close ticks through ``tick`` without rows, before the reader stands where the log ends."""
        last = self.log.last
        self.append(self.empty(tick, now_s, owed)._replace(finished=last is not None and last.finished))

    def empty(self, tick: int, now_s: float, owed: int, *, final: bool = False) -> LogEntry:
        """The entry that closes ticks through ``tick`` without rows."""
        return LogEntry(
            tick, self.position, self.position, 0, 0, now_s, self.reader.finished, final, owed=owed, read=self.read
        )


@dataclass(frozen=True, slots=True)
class ReadMark:
    """What was read of a partition in one tick, for latency and throughput figures; ``partition`` is its key group."""

    partition: int
    tick: int
    read_s: float
    records: int
    size_bytes: int


class SourceDriver:
    """Drives one source instance.

    Args:
        clock: Unix time that never runs backwards, seconds.
        marks: Called with every tick that was read, and again with those that are replayed.
    """

    def __init__(
        self,
        plan: Plan,
        instance: SourceInstance,
        feeds: list[PartitionFeed],
        clock: Callable[[], float],
        marks: Callable[[ReadMark], None],
        finish: Finish | None = None,
    ) -> None:
        self.instance, self._feeds, self._clock, self._marks = instance, feeds, clock, marks
        source, before = plan.operators[instance.operator], [feed.log.last for feed in feeds]
        self._pace = Pace(plan, source.logic.rate, len(source.partitions), before, clock())
        self._ahead = Ahead(plan, instance.operator, ((feed.interval.low, feed.reader) for feed in feeds))
        self._closed_s = 0.0
        self._finish = finish
        self._frozen = self._told_frozen = False
        self._trimmed = instance.tau
        self._history = self._replay()
        self.replaying = True
        self._blocked = self._dry = self._prompt = False
        self._wake = 0.0
        self.repaired = 0

    @property
    def wakes_at(self) -> float:
        """When it wants to be stepped: as its last step said, or earlier for room or a tick that is waited for."""
        if self._blocked and not (self.instance.outputs.blocked if self.replaying else self.instance.full):
            return 0.0
        wanted = None if self._frozen or self.replaying else self.instance.wanted
        return self._wake if wanted is None else min(self._wake, self._pace.time_of(wanted))

    @property
    def read(self) -> list[tuple[int, int, int]]:
        """Of each partition: its key group, and the records and bytes that were read of it so far, by whomever."""
        return [(feed.interval.low, *feed.read) for feed in self._feeds]

    # -- replay --------------------------------------------------------------------------------------------------------

    def _replay(self) -> Iterator[tuple[int, list[tuple[PartitionFeed, LogEntry]]]]:
        """Every logged tick after the instance's start, with what was logged of it."""
        base = self.instance.tau
        last = max([base, *(feed.tick for feed in self._feeds)])
        for n, feed in enumerate(self._feeds):
            if feed.tick < last:  # nobody has seen these ticks of it: another instance had it, or died between two logs
                now = self._clock()
                feed.pad(last, now, self._pace.owed(n, now))
        entries = sorted(
            ((entry.tick, n, entry) for n, feed in enumerate(self._feeds) for entry in feed.entries(base)),
            key=lambda item: item[:2],
        )
        for tick, group in groupby(entries, key=itemgetter(0)):
            yield tick, [(self._feeds[n], entry) for _, n, entry in group]
        for feed in self._feeds:
            feed.resume()

    def _replay_next(self) -> list[Command] | None:
        """The next logged tick; None when the logs are through and closed equally far."""
        found = next(self._history, None)
        if found is None:
            self.replaying = False
            return None
        tick, same = found
        self._mark(same)  # again: the predecessor may have died before it could report it
        self._prompt = any(entry.records for _, entry in same)
        read = [(feed.interval, chunk) for feed, entry in same for chunk in read_again(feed.reader, entry)]
        return self.instance.emit(tick, read, self._held(same), final=any(entry.final for _, entry in same))

    def _mark(self, read: list[tuple[PartitionFeed, LogEntry]]) -> None:
        for feed, e in read:
            if e.records:
                self._marks(ReadMark(feed.interval.low, e.tick, e.read_time_s, e.records, e.size_bytes))

    # -- live ----------------------------------------------------------------------------------------------------------

    def step(self) -> list[Command]:
        """Do what is due, and set ``wakes_at``.

        Raises:
            UserError: The source cannot be read, or user code of a chain raised.
            FencedError: Another generation has taken over; this instance must be dropped.
        """
        try:
            self._wake, commands = self._step(self._clock())
        except Exception:
            raise
        except BaseException as error:  # the user's code would end the process, or a task of its own
            raise ending_error(error) from error
        return commands

    def _step(self, now: float) -> tuple[float, list[Command]]:
        if self.instance.finished:
            return now + 1.0, []
        if self.replaying:
            self._blocked = self.instance.outputs.blocked
            if self._blocked:
                return now + IDLE_CLOSE_S, []
            replayed = self._replay_next()
            if replayed is not None:
                return now, replayed
        self._trim()
        if self._finish is not None:
            return now + 1.0, self._end(self._finish)
        if self._frozen:
            return now + 1.0, self._say_frozen()
        return self._live(now)

    def _live(self, now: float) -> tuple[float, list[Command]]:
        tick = self._pace.tick_at(now)
        if tick <= self.instance.tau:
            return self._pace.next_tick_s(self.instance.tau), []
        self._blocked, self._dry = self.instance.full, False
        read = None if self._blocked else self._read(tick, now)
        if read is not None:
            commands = self._close(tick, read, now)
            self._pace.adapt(sum(entry.size_bytes for entry, _ in read), self._clock() - now)
        elif self._prompt or self._is_wanted(tick) or now - self._closed_s >= IDLE_CLOSE_S:
            commands = self._close(tick, [(self._empty(n, tick, now), []) for n in range(len(self._feeds))], now)
        else:
            commands = []
        if not self.instance.exhausted and all(feed.reader.finished for feed in self._feeds):
            self.instance.exhausted = True
            commands.append(Tell(Exhausted(self.instance.id)))
        return self._next_wake(now), commands + self._notices()

    def _notices(self) -> list[Command]:
        """What readers have to say."""
        return [Tell(Noticed(self.instance.id, text)) for feed in self._feeds for text in feed.reader.notices()]

    def _is_wanted(self, tick: int) -> bool:
        wanted = self.instance.wanted
        return wanted is not None and wanted <= tick

    def _read(self, tick: int, now: float) -> list[_Tick] | None:
        """What each partition has now, as far as limits and rate allow; None if none has anything."""
        found = [self._read_feed(tick, now, n) for n in range(len(self._feeds))]
        return found if any(chunks for _, chunks in found) else None

    def _read_feed(self, tick: int, now: float, number: int) -> _Tick:
        """What one partition has now, chunk by chunk."""
        feed = self._feeds[number]
        left_bytes, left_records = self._pace.allowance(number, now)
        chunks: list[Chunk] = []
        while left_bytes > 0 and (left_records is None or left_records > 0) and not feed.reader.finished:
            asked_bytes = min(left_bytes, CHUNK_BYTES)
            chunk = feed.reader.read(asked_bytes, left_records)
            if chunk is None:
                self._dry = True
                self._pace.ran_dry(number, now)
                break
            chunks.append(chunk)
            left_bytes -= chunk.size_bytes
            left_records = None if left_records is None else left_records - chunk.records
            if chunk.size_bytes < asked_bytes // 2:
                break  # there is no more for now
        if not chunks:
            return self._empty(number, tick, now), []
        records, size_bytes = sum(c.records for c in chunks), sum(c.size_bytes for c in chunks)
        self._pace.took(number, records, size_bytes)
        self.repaired += sum(c.repaired for c in chunks)
        *cuts, end = (c.position for c in chunks)
        kept = tuple(c.kept for c in chunks if c.kept is not None)
        before = feed.read
        entry = LogEntry(
            tick, feed.position, end, records, size_bytes, now,
            finished=feed.reader.finished, cuts=tuple(cuts), kept=kept, owed=self._pace.owed(number, now),
            read=(before[0] + records, before[1] + size_bytes),
        )  # fmt: skip
        return entry, chunks

    def _empty(self, number: int, tick: int, now: float, *, final: bool = False) -> LogEntry:
        return self._feeds[number].empty(tick, now, self._pace.owed(number, now), final=final)

    def _close(self, tick: int, read: list[_Tick], now: float) -> list[Command]:
        """Log a tick on every partition, then serve it."""
        logged = [(feed, entry) for feed, (entry, _) in zip(self._feeds, read, strict=True)]
        for feed, entry in logged:
            feed.append(entry)
        self._closed_s, self._prompt = now, any(entry.records for _, entry in logged)
        self._mark(logged)
        chunks = [(feed.interval, c) for feed, (_, each) in zip(self._feeds, read, strict=True) for c in each]
        return self.instance.emit(tick, chunks, self._held(logged))

    def _held(self, read: list[tuple[PartitionFeed, LogEntry]]) -> Held:
        return self._ahead.held((feed.interval.low, entry.start) for feed, entry in read)

    def _next_wake(self, now: float) -> float:
        next_tick = self._pace.next_tick_s(self.instance.tau)
        if self._dry:  # it is asked again with the next tick, though this one may still be open
            next_tick = max(next_tick, self._pace.next_base_tick_s(now))
        if self._prompt:
            return next_tick
        if all(feed.reader.finished for feed in self._feeds) or self.instance.full:
            return max(next_tick, self._closed_s + IDLE_CLOSE_S)
        if self._pace.rate is not None:
            due_s = self._pace.next_due_s(next_tick, IDLE_CLOSE_S)
            return max(next_tick, min(due_s, self._closed_s + IDLE_CLOSE_S))
        return max(next_tick, now)

    def _trim(self) -> None:
        if self.instance.floor > self._trimmed:
            self._trimmed = self.instance.floor
            for feed in self._feeds:
                feed.log.trim(self._trimmed)

    # -- the end -------------------------------------------------------------------------------------------------------

    def on_freeze(self) -> list[Command]:
        """Close nothing more, and say how far it got; while the log is being replayed, the answer waits."""
        self._frozen, self._told_frozen = True, False
        return [] if self.replaying else self._say_frozen()

    def _say_frozen(self) -> list[Command]:
        if self._told_frozen:
            return []
        self._told_frozen = True
        return [Tell(Frozen(self.instance.id, self.instance.tau))]

    def on_finish(self, finish: Finish) -> None:
        """The stream ends with this tick."""
        self._finish = finish
        self._wake = 0.0

    def _end(self, finish: Finish) -> list[Command]:
        if self.instance.tau >= finish.tick:
            return []
        now = self._clock()
        for n, feed in enumerate(self._feeds):
            feed.append(self._empty(n, finish.tick, now, final=finish.final))
        return self.instance.emit(finish.tick, [], final=finish.final)

    def close(self) -> None:
        """Release readers and logs."""
        for feed in self._feeds:
            feed.reader.close()
            feed.log.close()
