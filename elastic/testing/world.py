"""The simulated world: virtual time, links that delay and lose, logs and targets that outlive a worker.

Everything random comes from one seeded generator, so that a seed is a whole history.
"""

from __future__ import annotations

import random
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, TypeAlias

import numpy as np

from elastic.batch import Batch, rows
from elastic.connectors.base import LogEntry
from elastic.errors import FencedError
from elastic.keys import KeyInterval
from elastic.state.checkpoint import Checkpoint
from elastic.state.held import newest
from elastic.state.spill import SpilledBatch
from elastic.testing.story import Story
from elastic.wire.control import codec

CODEC = codec()

FAST_S, SLOW_S = 0.002, 0.08
"""Most messages take up to the first, one in ten up to the second: eight ticks."""


_Link: TypeAlias = tuple[str, str]
"""Names of both ends."""


class World:
    """Virtual time and the messages under way.

    Attributes:
        now: Seconds since tick 0.
        random: The only source of chance.
        story: What happened; whatever is put off remembers what it follows from.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.story = Story()
        self._queue: list[tuple[float, int, int, Callable[[], None], _Link | None, int]] = []
        self._order = 0
        self._arrivals: dict[_Link, float] = {}
        self._breaks: defaultdict[_Link, int] = defaultdict(int)
        self.slow_links: set[_Link] = set()

    def at(self, time_s: float, call: Callable[[], None]) -> None:
        """Have ``call`` called at a time."""
        self._order += 1
        heappush(self._queue, (max(time_s, self.now), self._order, self.story.cause, call, None, 0))

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have ``call`` called in a while."""
        self.at(self.now + delay_s, call)

    def send(self, source: str, target: str, deliver: Callable[[], None]) -> None:
        """A message on a link: in order, after a random delay; lost if the link breaks meanwhile."""
        link = (source, target)
        slow = link in self.slow_links or self.random.random() < 0.1
        arrival = self.now + self.random.random() * (SLOW_S if slow else FAST_S)
        arrival = max(arrival, self._arrivals.get(link, 0.0)) + 1e-7
        self._arrivals[link] = arrival
        self._order += 1
        heappush(self._queue, (arrival, self._order, self.story.cause, deliver, link, self._breaks[link]))

    def break_link(self, source: str, target: str) -> None:
        """What is under way on the link is lost, and nobody is told."""
        self._breaks[source, target] += 1

    def run(self, until_s: float, is_over: Callable[[], bool]) -> None:
        """Let time pass."""
        while self._queue and self.now < until_s and not is_over():
            self.now, _, self.story.cause, call, link, breaks = heappop(self._queue)
            if link is None or self._breaks[link] == breaks:
                call()


class MemorySpill:
    """A ``Spill`` of a simulated worker: what it holds is encoded, as on a disk."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._kept: weakref.WeakSet[SpilledBatch] = weakref.WeakSet()

    @property
    def size_bytes(self) -> int:
        """What is still needed by somebody."""
        return sum(batch.size_bytes for batch in self._kept)

    def put(self, batch: Batch) -> SpilledBatch | None:
        """The batch, encoded."""
        if self.size_bytes >= self._limit_bytes:
            return None
        data = CODEC.pack(batch)
        kept = SpilledBatch(batch, lambda: CODEC.unpack(data))
        self._kept.add(kept)
        return kept


class LogStore:
    """What is on disk of one partition's input log."""

    def __init__(self) -> None:
        self.generation, self.floor = 0, 0
        self.entries: list[LogEntry] = []


class SimulatedLog:
    """A ``SourceLog`` under one generation.

    Attributes:
        floor: The trim point as far as this writer knows: who has fenced it may have trimmed the log further.
    """

    def __init__(self, store: LogStore, generation: int) -> None:
        if generation < store.generation:
            raise FencedError(f"the log is at generation {store.generation}")
        self._store, self._generation = store, generation
        store.generation = generation
        self.floor = store.floor

    @property
    def last(self) -> LogEntry | None:
        """The newest entry."""
        return self._store.entries[-1] if self._store.entries else None

    def entries(self, after_tick: int) -> list[LogEntry]:
        """Entries above a tick."""
        assert after_tick >= self.floor
        return [e for e in self._store.entries if e.tick > after_tick]

    def append(self, entry: LogEntry) -> None:
        """Log a tick, unless fenced."""
        self._check()
        last = self.last
        assert last is None or (entry.tick > last.tick and entry.start == last.end)
        self._store.entries.append(entry)

    def trim(self, through_tick: int) -> None:
        """Raise the floor; entries are kept for the reference run."""
        self._check()
        self.floor = self._store.floor = max(self._store.floor, through_tick)

    def close(self) -> None:
        """Nothing to release."""

    def _check(self) -> None:
        if self._generation < self._store.generation:
            raise FencedError(f"the log is at generation {self._store.generation}")


class CheckpointDisk:
    """What is on disk of checkpoints: per instance the chains of each term, and the highest term that was ever used."""

    def __init__(self) -> None:
        self._terms: dict[int, int] = {}
        self._chains: defaultdict[int, dict[int, list[Checkpoint]]] = defaultdict(dict)

    def write(self, instance: int, term: int, checkpoint: Checkpoint, *, compact: bool) -> bool:
        """Whether the checkpoint was taken: nobody has used a higher term."""
        if term < self._terms.get(instance, 0):
            return False
        self._terms[instance] = term
        chains = self._chains[instance]
        if compact:
            kept = [c for c in chains.get(term, []) if c.tick > checkpoint.tick]
            self._chains[instance] = {term: [checkpoint, *kept]}
        else:
            chains.setdefault(term, []).append(checkpoint)
        return True

    def read(self, instance: int, term: int) -> Checkpoint | None:
        """The newest checkpoint; who wrote under a lower term writes no more."""
        self._terms[instance] = max(term, self._terms.get(instance, 0))
        found = [c for chain in self._chains[instance].values() if (c := newest(chain)) is not None]
        return max(found, key=lambda c: c.tick, default=None)

    def remove(self, instance: int) -> None:
        """Nobody needs an instance's checkpoints any more."""
        self._chains.pop(instance, None)

    def has_copy(self, instance: int) -> bool:
        """Whether some checkpoint of the instance is there."""
        return any(self._chains.get(instance, {}).values())


class TargetStore:
    """What is in one sink's target: rows by tick, and per key group a generation and the committed tick."""

    def __init__(self, key_groups: int) -> None:
        self.generation = np.zeros(key_groups, np.int64)
        self.tick = np.zeros(key_groups, np.int64)
        self._rows: defaultdict[int, list[tuple[int, Any]]] = defaultdict(list)

    def rows(self) -> dict[int, list[Any]]:
        """Rows by tick, in canonical order."""
        return {t: [row for _, row in sorted(self._rows[t], key=lambda r: r[0])] for t in sorted(self._rows)}

    def add(self, tick: int, batch: Batch) -> None:
        """Keep the rows of a tick."""
        assert batch.values is not None
        self._rows[tick] += zip(batch.groups.tolist(), rows(batch.values), strict=True)


class SimulatedWriter:
    """A sink's writer under one generation; with a ``period`` it keeps rows back to multiples of it, as files do."""

    def __init__(self, store: TargetStore, interval: KeyInterval, generation: int, period: int) -> None:
        self._store, self._slice, self._generation, self._period = store, slice(*interval), generation, period
        if (store.generation[self._slice] > generation).any():
            raise FencedError("the target has a higher generation")
        store.generation[self._slice] = generation
        self._kept: list[tuple[int, Batch]] = []
        self._interval = interval

    def committed(self) -> list[tuple[KeyInterval, int]]:
        """Per key group: the finest cut there is."""
        low, high = self._interval
        return [(KeyInterval(g, g + 1), int(self._store.tick[g])) for g in range(low, high)]

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        """All or nothing, unless fenced."""
        if (self._store.generation[self._slice] > self._generation).any():
            raise FencedError("the target has a higher generation")
        self._kept += ticks
        through = through if final else through // self._period * self._period
        for tick, batch in [t for t in self._kept if t[0] <= through]:
            assert (self._store.tick[batch.groups] < tick).all(), "a tick was committed twice"
            self._store.add(tick, batch)
        self._kept = [t for t in self._kept if t[0] > through]
        self._store.tick[self._slice] = np.maximum(self._store.tick[self._slice], through)
        return int(self._store.tick[self._slice].min())
