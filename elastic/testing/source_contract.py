"""The laws of sources, tried on any source: what a failure must not change, held against what was read without one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import cloudpickle
import msgpack

from elastic.batch import Column, rows
from elastic.connectors.base import Chunk, Partition, Position, Reader, Source
from elastic.testing.contract import Broken, demand, difference, fingerprints, shortened, try_laws

PAUSE_S = 0.01
LIMIT_BYTES, LIMIT_RECORDS = 600, 7
OTHER_LIMITS: Sequence[tuple[int, int | None]] = ((1, None), (1 << 20, None), (1 << 20, 1), (1000, 3))
"""(bytes, records): one record at a time, all at once, and in between."""


def check_source(
    make: Callable[[], Source],
    *,
    rows: Iterable[Any] | None = None,
    at_most: int = 2_000,
    patience_s: float = 1.0,
    counts: Sequence[int] = (1, 2, 3),
) -> None:
    """Return if a source keeps the contract of ``elastic.connectors.base``: nothing is lost or repeated by a failure.

    Every partition is read once, in chunks of a few records; then other readers, as a successor on another worker would
    have them, must give the same: for every chunk and for runs of them, from every position, and under other limits.

    Args:
        make: Makes the source; called several times, and must make the same each time.
        rows: What the source holds, in any order, if that is known; held against what all partitions give together.
        at_most: So many records are read of each partition.
        patience_s: A reader that has nothing now, and is not finished, is asked again for so long.
        counts: Into how many partitions the source is cut.

    Raises:
        ContractError: It does not; says which laws are broken, and by what.
    """
    name = type(make()).__name__
    wanted = None if rows is None else list(rows)
    trial = _Trial(make, at_most, patience_s)

    def laws() -> Iterator[tuple[str, Callable[[], None]]]:
        for count in counts:
            yield f"cut into {count}", lambda count=count: trial.cut(count, wanted)  # type: ignore[misc]
        for number, partition in enumerate(trial.partitions(2)):
            history = _History(partition, at_most, patience_s)
            of = f"partition {number} of 2"
            yield f"{of}, reading", history.read
            if history.first:
                yield f"{of}, positions", history.positions
                yield f"{of}, reading again", history.again
                yield f"{of}, reading on from a position", history.on
                yield f"{of}, other limits", history.limits

    try_laws(name, laws())


@dataclass(frozen=True)
class _Trial:
    make: Callable[[], Source]
    at_most: int
    patience_s: float

    def partitions(self, count: int) -> list[Partition]:
        """The partitions as workers get them."""
        source: Source = cloudpickle.loads(cloudpickle.dumps(self.make()))
        return [cloudpickle.loads(cloudpickle.dumps(part)) for part in source.partitions(count)]

    def cut(self, count: int, wanted: list[Any] | None) -> None:
        """Partitions have names, are not more than asked for, and hold together what the source holds."""
        parts = self.partitions(count)
        demand(parts, "there is no partition; give at least one, which may be empty")
        demand(len(parts) <= count, f"there are {len(parts)} partitions; at most {count} were asked for")
        names = [part.name for part in parts]
        demand(len(set(names)) == len(names), f"the partitions {', '.join(names)} are not one name each")
        if wanted is None:
            return
        found = Counter[bytes]()
        for part in parts:
            history = _History(part, self.at_most, self.patience_s)
            history.read()
            found.update(fingerprints(history.rows))
        expected = Counter(fingerprints(wanted))
        lost, more = (expected - found).total(), (found - expected).total()
        demand(not lost, f"{lost} of {len(wanted)} records are in no partition")
        demand(not more, f"{more} records too many are in the partitions: some are in two, or are not the source's")


class _History:
    """What the first reader of a partition gave, and what every other one must give too.

    Attributes:
        first: The chunks.
        rows: All records of them.
        ended: The reader came to its end.
    """

    def __init__(self, partition: Partition, at_most: int, patience_s: float) -> None:
        self._partition, self._at_most, self._patience_s = partition, at_most, patience_s
        self.first: list[Chunk] = []
        self.rows: list[Any] = []
        self.ended = False
        self._start: Position = 0

    def read(self) -> None:
        """A reader gives chunks within its limits, and at its end says so and gives nothing more."""
        reader = self._partition.open()
        try:
            self._start = reader.start
            self.first = self._chunks(reader, LIMIT_BYTES, LIMIT_RECORDS)
            self.rows = [row for chunk in self.first for row in rows(chunk.rows)]
            self.ended = reader.finished
            if self.ended:
                told, found = self._partition.input_bytes, sum(chunk.size_bytes for chunk in self.first)
                demand(told in (None, found), f"input_bytes says {told}, and its chunks have {found} together")
                demand(reader.read(LIMIT_BYTES) is None, "a finished reader gave a chunk; finished says it is over")
                demand(reader.finished, "a reader that was finished is not any more")
        finally:
            reader.close()

    def positions(self) -> None:
        """Positions survive the input log, and move on."""
        for at, chunk in zip(self._places, self.first, strict=False):
            stored = msgpack.unpackb(msgpack.packb(chunk.position))
            demand(
                stored == chunk.position,
                f"the position {chunk.position!r} comes back from the log as {stored!r}; use int, or a list of int",
            )
            demand(
                chunk.records == 0 or chunk.position != at,
                f"a chunk of {chunk.records} records begins and ends at {at!r}; a position says how far it was read",
            )

    def again(self) -> None:
        """What was read can be had again: chunk by chunk, in any order, and several at once where they are not kept."""
        kept = [chunk.kept is not None for chunk in self.first]
        demand(
            all(kept) or not any(kept), "some chunks have kept and some have not; a source can be read again, or cannot"
        )
        reader = self._partition.open()
        try:
            for n in [*range(len(self.first)), *reversed(range(len(self.first)))]:
                chunk = self.first[n]
                if chunk.kept is not None:
                    found, how = reader.recall(chunk.kept), f"recall of what chunk {n} kept"
                else:
                    found, how = reader.reread(self._places[n], chunk.position), self._span(n, n + 1)
                self._demand_same(_rows_of(found), rows(chunk.rows), how)
                left_out = (found.skipped, found.malformed) if isinstance(found, Chunk) else (0, ())
                demand(
                    left_out == (chunk.skipped, chunk.malformed),
                    f"{how} left other records out than the first reading: {left_out}, expected "
                    f"{(chunk.skipped, chunk.malformed)}; give a Chunk with skipped and malformed",
                )
            if not all(kept):
                self._again_in_spans(reader)
                self._again_in_between()
        finally:
            reader.close()

    def on(self) -> None:
        """A new reader goes on from any position, and gives what the first one gave behind it."""
        before = list(accumulate((len(chunk.rows) for chunk in self.first), initial=0))
        step = max(1, len(self.first) // 5)
        for n, position in enumerate(self._places):
            if self.first[0].kept is not None and n:
                break  # what such a source gives after a failure is up to whoever sends it
            reader = self._partition.open()
            try:
                reader.seek(position)
                to_the_end = n % step == 0
                wanted = self.rows[before[n] : None if to_the_end else before[n] + 2 * LIMIT_RECORDS]
                found = self._rows(reader, LIMIT_BYTES, LIMIT_RECORDS, len(wanted), to_the_end=to_the_end)
                self._demand_same(found, wanted, f"a new reader that goes on from position {position!r}")
                if self.ended and to_the_end:
                    demand(reader.finished, f"a reader that went on from position {position!r} has no end")
            finally:
                reader.close()

    def limits(self) -> None:
        """Limits decide how much comes at once, and nothing else."""
        for limit_bytes, limit_records in OTHER_LIMITS:
            reader = self._partition.open()
            try:
                found = self._rows(reader, limit_bytes, limit_records, len(self.rows))
                said = f"{limit_bytes} bytes" + ("" if limit_records is None else f" and {limit_records} records")
                self._demand_same(found, self.rows, f"reading with limits of {said}")
            finally:
                reader.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def _places(self) -> list[Position]:
        """Where each chunk begins, and where the last one ends."""
        return [self._start, *(chunk.position for chunk in self.first)]

    def _chunks(self, reader: Reader, limit_bytes: int, limit_records: int | None) -> list[Chunk]:
        """Chunk after chunk, until the end, the most that is wanted, or nothing for a while."""
        chunks: list[Chunk] = []
        records, asked_at = 0, time.monotonic()
        while not reader.finished and records < self._at_most:
            chunk = reader.read(limit_bytes, limit_records)
            if chunk is None:
                if time.monotonic() - asked_at > self._patience_s:
                    break
                time.sleep(PAUSE_S)
                continue
            self._check(chunk, limit_records)
            chunks.append(chunk)
            records, asked_at = records + chunk.records, time.monotonic()
        return chunks

    def _check(self, chunk: Chunk, limit_records: int | None) -> None:
        demand(
            limit_records is None or chunk.records <= limit_records,
            f"a read with a limit of {limit_records} records consumed {chunk.records}",
        )
        demand(
            chunk.records - max(chunk.skipped, len(chunk.malformed)) <= len(chunk.rows) <= chunk.records,
            f"a chunk says {chunk.records} records, {chunk.skipped} of them skipped and {len(chunk.malformed)} "
            f"malformed, and has {len(chunk.rows)} rows",
        )
        demand(chunk.size_bytes > 0, f"a chunk says that it consumed {chunk.size_bytes} bytes; a rate counts by them")

    def _rows(
        self, reader: Reader, limit_bytes: int, limit_records: int | None, count: int, *, to_the_end: bool = True
    ) -> list[Any]:
        """The first ``count`` rows; or all, if the partition has an end and that is wanted."""
        found: list[Any] = []
        asked_at, all_of_it = time.monotonic(), self.ended and to_the_end
        while not reader.finished and (all_of_it or len(found) < count):
            chunk = reader.read(limit_bytes, limit_records)
            if chunk is not None:
                self._check(chunk, limit_records)
                found += rows(chunk.rows)
                asked_at = time.monotonic()
            elif time.monotonic() - asked_at > self._patience_s:
                break
            else:
                time.sleep(PAUSE_S)
            if len(found) > 2 * self._at_most + len(self.rows):
                raise Broken(f"there is no end: {shortened(found[-1])} comes after {len(self.rows)} records")
        return found if all_of_it else found[:count]

    def _again_in_spans(self, reader: Reader) -> None:
        """Several chunks at once; and a reader is where it was, whatever it is asked for between."""
        step = max(1, len(self.first) // 5)
        for low in range(0, len(self.first), step):
            high = min(len(self.first), low + 2 * step + 1)
            wanted = [row for chunk in self.first[low:high] for row in rows(chunk.rows)]
            found = _rows_of(reader.reread(self._places[low], self._places[high]))
            self._demand_same(found, wanted, self._span(low, high))

    def _again_in_between(self) -> None:
        reader = self._partition.open()
        try:
            found: list[Any] = []
            while len(found) < len(self.rows) and not reader.finished:
                chunk = reader.read(LIMIT_BYTES, LIMIT_RECORDS)
                if chunk is None:
                    break
                found += rows(chunk.rows)
                reader.reread(self._places[0], self._places[1])
            self._demand_same(found[: len(self.rows)], self.rows, "reading, with the first chunk read again in between")
        finally:
            reader.close()

    def _span(self, low: int, high: int) -> str:
        return f"reread({self._places[low]!r}, {self._places[high]!r})"

    @staticmethod
    def _demand_same(found: list[Any], wanted: list[Any], how: str) -> None:
        if (where := difference(found, wanted)) is not None:
            raise Broken(f"{how} gave other records than were read at first: {where}")


def _rows_of(found: Column | Chunk) -> list[Any]:
    return rows(found.rows if isinstance(found, Chunk) else found)
