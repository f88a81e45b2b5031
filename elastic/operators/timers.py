"""Timers by key: set, moved, cancelled, and found when they are due without looking at the others.

They wait in buckets of time, and a heap knows the next bucket. A timer that is moved to later stays where it waits, and
goes on from there when its bucket is due: so moving a timer with every row, as one does to notice silence, costs one
assignment a row and leaves nothing behind. The queue only ever finds candidates; what counts is the time that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, TypeAlias

import pyarrow as pa

from elastic.batch import Column, rows

STALE = 1024
"""So many entries of the queue may have lost their timer before it is made anew, or as many as there are timers."""

_PLAIN: frozenset[type] = frozenset({str, int, bytes, type(None)})

Times: TypeAlias = "int | dict[str, int]"
"""The timers of one key: the time of the only one, if that has no name; else times by name. Microseconds."""


class Timers:
    """The timers of one instance and one clock; each belongs to a key and a name, and has one time.

    Args:
        bucket_us: Length of a bucket; finding what is due looks at whole ones.
        start_us: Where some bucket begins.
    """

    def __init__(self, bucket_us: int, start_us: int = 0) -> None:
        self._bucket_us, self._start_us = bucket_us, start_us
        self._times: dict[Any, Times] = {}
        self._odd: dict[Any, Any] = {}  # keys that equal a plain one, as they were when their first timer was set
        self._count = self._queued = 0
        self._buckets: dict[int, list[tuple[Any, str]]] = {}
        self._order: list[int] = []

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: Any) -> bool:
        return key in self._times

    def __iter__(self) -> Iterator[Any]:
        """The keys that have timers."""
        return iter(self._times)

    def at(self, key: Any, name: str) -> int | None:
        """The time of a timer; None if it is not set."""
        times = self._times.get(key)
        if isinstance(times, dict):
            return times.get(name)
        return None if name else times

    def shown(self, key: Any) -> Any:
        """The key as it was when the first of its timers was set: of 1, 1.0 and True, which are one key, that one."""
        return self._odd.get(key) if key in self._odd else plain(key)

    def set(self, key: Any, name: str, time_us: int) -> None:
        """The timer fires at this time, and no longer at the one that it had."""
        before, times = self.at(key, name), self._times.get(key)
        if times is None and not is_plain(key):
            self._odd[key] = key
        if isinstance(times, dict):
            times[name] = time_us
        elif name:
            self._times[key] = {name: time_us} if times is None else {"": times, name: time_us}
        else:
            self._times[key] = time_us
        self._count += before is None
        if before is None or time_us < before:
            self._enqueue(key, name, time_us)

    def cancel(self, key: Any, name: str) -> bool:
        """The timer is not set; whether it was."""
        if self.at(key, name) is None:
            return False
        times = self._times[key]
        if isinstance(times, dict) and len(times) > 1:
            del times[name]
        else:
            del self._times[key]
            self._odd.pop(key, None)
        self._count -= 1
        return True

    # -- what is due ---------------------------------------------------------------------------------------------------

    def due(self, until_us: int) -> list[tuple[Any, str]]:
        """Keys and names of timers at or before a time, in no order; each is to be settled before the next call."""
        last = self._bucket_of(until_us)
        found: list[tuple[Any, str]] = []
        later: list[tuple[Any, str, int]] = []
        while self._order and self._order[0] <= last:
            entries = self._buckets.pop(heappop(self._order))
            self._queued -= len(entries)
            for key, name in dict.fromkeys(entries):
                time_us = self.at(key, name)
                if time_us is None:
                    continue
                if time_us <= until_us:
                    found.append((key, name))
                else:
                    later.append((key, name, time_us))
        for key, name, time_us in later:
            self._enqueue(key, name, time_us)
        return found

    def settle(self, key: Any, name: str, until_us: int) -> int | None:
        """Take a timer that was found due; its time, or None if it was cancelled or moved past ``until_us`` since."""
        time_us = self.at(key, name)
        if time_us is None:
            return None
        if time_us > until_us:
            self._enqueue(key, name, time_us)
            return None
        self.cancel(key, name)
        return time_us

    def next_us(self) -> int | None:
        """The end of the first bucket that some timer waits in: by then it is due. None if no timer is set."""
        while self._order:
            bucket = self._order[0]
            entries = self._buckets[bucket]
            if not entries:
                del self._buckets[heappop(self._order)]
                continue
            key, name = entries[-1]
            time_us = self.at(key, name)
            if time_us is not None and self._bucket_of(time_us) <= bucket:
                return bucket * self._bucket_us + self._start_us
            entries.pop()
            self._queued -= 1
            if time_us is not None:
                self._enqueue(key, name, time_us)
        return None

    def _bucket_of(self, time_us: int) -> int:
        """The bucket that ends at the time, or holds it."""
        return -((self._start_us - time_us) // self._bucket_us)

    def _enqueue(self, key: Any, name: str, time_us: int) -> None:
        if self._queued > 2 * self._count + STALE:
            self._rebuild()
            return
        self._queued += 1
        bucket = self._bucket_of(time_us)
        if (entries := self._buckets.get(bucket)) is None:
            self._buckets[bucket] = [(key, name)]
            heappush(self._order, bucket)
        else:
            entries.append((key, name))

    def _rebuild(self) -> None:
        """Queue every timer once."""
        self._buckets = {}
        for key, times in self._times.items():
            for name, time_us in times.items() if isinstance(times, dict) else (("", times),):
                self._buckets.setdefault(self._bucket_of(time_us), []).append((key, name))
        self._queued = self._count
        self._order = list(self._buckets)
        heapify(self._order)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def column(self, operator: str, keys: Sequence[Any]) -> Column:
        """The timers of each key, None where it has none, as ``restore`` takes them."""
        each = [self._times.get(key) for key in keys]
        if not self._odd and dict not in set(map(type, each)):
            return pa.array(each, pa.int64())
        return [
            (self._odd[key], *_items(times))
            if key in self._odd
            else _items(times)
            if isinstance(times, dict)
            else times
            for key, times in zip(keys, each, strict=True)
        ]

    def remember(self, operator: str, key: Any) -> Any:
        """The timers of a key, with the key as it is shown."""
        return (self.shown(key), _items(self._times[key])) if key in self._times else None

    def recall(self, key: Any, remembered: Any) -> None:
        """The key has the timers that it had."""
        if self.remember("", key) == remembered:
            return
        for name, _ in _items(self._times.get(key, {})):
            self.cancel(key, name)
        shown, items = remembered or (key, ())
        for name, time_us in items:
            self.set(shown, name, time_us)

    def restore(self, keys: Sequence[Any], column: Column) -> None:
        """Take over what ``column`` gave; called while no timer is set."""
        for key, stored in zip(keys, rows(column), strict=True):
            if isinstance(stored, int):
                self._times[key] = stored
            elif stored is not None:
                if not _is_item(stored[0]):
                    self._odd[key] = stored[0]
                self._times[key] = dict(stored_timers(stored))
        self._count = sum(len(t) if isinstance(t, dict) else 1 for t in self._times.values())
        self._rebuild()


def _items(times: Times | None) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(times.items())) if isinstance(times, dict) else (("", times or 0),)


def stored_timers(stored: Any) -> Sequence[tuple[str, int]]:
    """Names and times of a key's timers, of what ``Timers.column`` gave for it."""
    if isinstance(stored, int):
        return (("", stored),)
    timers: Sequence[tuple[str, int]] = stored if _is_item(stored[0]) else stored[1:]
    return timers


def _is_item(value: Any) -> bool:
    """Whether it is a timer's name and time, rather than a key."""
    return type(value) is tuple and len(value) == 2 and type(value[0]) is str and type(value[1]) is int


def is_plain(key: Any) -> bool:
    """Whether no other value that can be a key equals it, but those that are less plain."""
    kind = type(key)
    if kind is float:
        return not key.is_integer()
    return all(map(is_plain, key)) if kind is tuple else kind in _PLAIN


def plain(key: Any) -> Any:
    """The plain key that equals it."""
    if isinstance(key, bool) or (isinstance(key, float) and key.is_integer()):
        return int(key)
    return tuple(map(plain, key)) if type(key) is tuple else key
