"""The checks of sources and sinks find what they are there to find, and say what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from elastic.batch import Batch, Column, rows
from elastic.connectors.base import Chunk, Malformed, Partition, Position, Reader, Sink, SinkContext, Source, Writer
from elastic.connectors.commit_log import CommitLog, CommitLogReader, log_path
from elastic.keys import KeyInterval
from elastic.testing import ContractError, check_sink, check_source

# -- a source that is right, and how it may be wrong -------------------------------------------------------------------

NUMBERS = list(range(60))


class Numbers(Source):
    """The numbers below 60, in one partition or more."""

    name = "numbers"

    def __init__(self, reader: type[NumberReader]) -> None:
        self.reader = reader

    def partitions(self, count: int) -> Sequence[Partition]:
        cuts = [len(NUMBERS) * i // count for i in range(count + 1)]
        return [NumberPartition(f"numbers[{i}]", cuts[i], cuts[i + 1], self.reader) for i in range(count)]


@dataclass(frozen=True)
class NumberPartition(Partition):
    name: str
    low: int
    high: int
    reader: type[NumberReader]

    def open(self) -> Reader:
        return self.reader(self.low, self.high)


class NumberReader(Reader):
    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.seek(0)

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self.at = position
        self.finished = self.at >= self.high - self.low

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        if self.finished:
            return None
        start = self.at
        count = min(max(1, limit_bytes // 100), limit_records or 100)
        self.seek(min(start + count, self.high - self.low))
        found = list(range(self.low + start, self.low + self.at))
        return Chunk(found, self.at, 8 * len(found), len(found))

    def reread(self, start: Position, end: Position) -> Column:
        assert isinstance(start, int)
        assert isinstance(end, int)
        return list(range(self.low + start, self.low + end))


class Picky(NumberReader):
    """Takes multiples of seven for malformed."""

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        chunk = super().read(limit_bytes, limit_records)
        return None if chunk is None else replace(self.picked(chunk.rows), position=chunk.position)

    def reread(self, start: Position, end: Position) -> Column | Chunk:
        return self.picked(super().reread(start, end))

    def picked(self, found: Column | Chunk) -> Chunk:
        assert isinstance(found, list)
        bad = tuple(Malformed(str(n), f"numbers:{n}", "a multiple of seven") for n in found if n % 7 == 0)
        return Chunk([n for n in found if n % 7], 0, 8 * len(found), len(found), malformed=bad)


class ForgetsWhatItLeftOut(Picky):
    def reread(self, start: Position, end: Position) -> Column | Chunk:
        return self.picked(NumberReader.reread(self, start, end)).rows


class OtherOnReplay(NumberReader):
    """Gives other records when they are read again."""

    def reread(self, start: Position, end: Position) -> Column:
        found = rows(super().reread(start, end))
        return [-n if n == 12 else n for n in found]


class OtherTypeOnReplay(NumberReader):
    def reread(self, start: Position, end: Position) -> Column:
        return [float(n) for n in rows(super().reread(start, end))]


class SkippingPosition(NumberReader):
    """Its positions lie one record too far."""

    def seek(self, position: Position) -> None:
        super().seek(position)

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        chunk = super().read(limit_bytes, limit_records)
        if chunk is None:
            return None
        return Chunk(chunk.rows, int(str(chunk.position)) + 1, chunk.size_bytes, chunk.records)

    def reread(self, start: Position, end: Position) -> Column:
        first = int(str(start))
        return super().reread(first - 1 if first else 0, int(str(end)) - 1)


class MovedByRereading(NumberReader):
    def reread(self, start: Position, end: Position) -> Column:
        self.seek(end)
        return super().reread(start, end)


class RepeatsItsEnd(NumberReader):
    """A reader that goes on at the end gives the last record once more."""

    def seek(self, position: Position) -> None:
        super().seek(position)
        self.finished = self.at > self.high - self.low

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        chunk = super().read(limit_bytes, limit_records)
        if chunk is None or len(chunk.rows):
            return chunk
        self.finished = True
        return Chunk([self.high - 1], self.at + 1, 8, 1)


class TakesTooMany(NumberReader):
    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        return super().read(limit_bytes, None)


class TuplePosition(NumberReader):
    """A position that msgpack gives back as another type."""

    start: Position = (0,)  # type: ignore[assignment]

    def seek(self, position: Position) -> None:
        super().seek(position if isinstance(position, int) else position[0])

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        chunk = super().read(limit_bytes, limit_records)
        if chunk is None:
            return None
        return Chunk(chunk.rows, (chunk.position,), chunk.size_bytes, chunk.records)  # type: ignore[arg-type]

    def reread(self, start: Position, end: Position) -> Column:
        return super().reread(start[0], end[0])  # type: ignore[index]


class KeepsTooLittle(NumberReader):
    """Cannot be read again, and what it keeps lacks a record."""

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        chunk = super().read(limit_bytes, limit_records)
        if chunk is None:
            return None
        kept = json.dumps(rows(chunk.rows)[1:]).encode()
        return Chunk(chunk.rows, chunk.position, chunk.size_bytes, chunk.records, kept=kept)

    def recall(self, kept: bytes) -> Column:
        return list(json.loads(kept))


def test_a_source_that_keeps_the_contract_passes() -> None:
    check_source(lambda: Numbers(NumberReader), rows=NUMBERS)
    check_source(lambda: Numbers(Picky), rows=[n for n in NUMBERS if n % 7])


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        (OtherOnReplay, r"reading again: reread\(\d+, \d+\) gave other records .* is -12, expected 12"),
        (OtherTypeOnReplay, r"reading again: .* is 0.0, expected 0"),
        (SkippingPosition, r"reading on from a position: a new reader that goes on from position \d+ gave other"),
        (MovedByRereading, r"with the first chunk read again in between gave other records"),
        (RepeatsItsEnd, r"records too many are in the partitions"),
        (TakesTooMany, r"a read with a limit of 1 records consumed 30"),
        (TuplePosition, r"comes back from the log as \[\d+\]; use int, or a list of int"),
        (
            ForgetsWhatItLeftOut,
            r"reread\(0, \d+\) left other records out than the first reading: \(0, \(\)\), expected",
        ),
        (KeepsTooLittle, r"recall of what chunk 0 kept gave other records"),
    ],
)
def test_a_fault_that_is_planted_in_a_source_is_found(reader: type[NumberReader], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        check_source(lambda: Numbers(reader), rows=NUMBERS)


def test_records_that_no_partition_has_are_counted() -> None:
    with pytest.raises(ContractError, match=r"cut into 1: 2 of 62 records are in no partition"):
        check_source(lambda: Numbers(NumberReader), rows=[*NUMBERS, 60, 61])


def test_a_source_that_cannot_be_opened_is_reported_with_its_own_words() -> None:
    class Broken(NumberReader):
        def __init__(self, low: int, high: int) -> None:
            raise OSError("no such device")

    with pytest.raises(ContractError, match=r"OSError: no such device \(.*test_conformance.py:\d+\)"):
        check_source(lambda: Numbers(Broken))


# -- a sink that is right, and how it may be wrong ---------------------------------------------------------------------


class FileSink(Sink):
    """JSON in a log that is the target as well: a row's append is its commit."""

    name = "file"

    def __init__(self, writer: type[FileWriter]) -> None:
        self.writer = writer

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return self.writer(context, interval, generation)


class FileWriter(Writer):
    def __init__(self, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self.log = CommitLog(log_path(context, context.directory), interval, generation)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self.log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        self.log.commit(through, [list(row) for _, batch in ticks for row in rows(batch.values or [])])
        return through

    def close(self) -> None:
        self.log.close()


class CommitsTwice(FileWriter):
    """Begins again from nothing after a restore."""

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return [(interval, 0) for interval, _ in super().committed()]


class LosesItsLastPart(FileWriter):
    """Rows wait for the next commit, also those of the last."""

    def __init__(self, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        super().__init__(context, interval, generation)
        self.waiting: list[tuple[int, Batch]] = []

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        now, self.waiting = self.waiting, list(ticks)
        return super().commit(now, through, final=final)


class IgnoresFences(FileWriter):
    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        try:
            return super().commit(ticks, through, final=final)
        except Exception:  # noqa: BLE001
            return through


class PromisesTooMuch(FileWriter):
    """Answers a commit that it never made, if it is of one tick."""

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        return through if len(ticks) == 1 and not final else super().commit(ticks, through, final=final)


class WritesBeforeItCommits(FileWriter):
    """Rows and tick in two steps: who dies between them is repeated."""

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        done = min(tick for _, tick in self.committed())
        super().commit(ticks, done, final=final)
        return super().commit([], through, final=final)


def read_file(directory: Path) -> Iterable[Any]:
    """What counts in the file."""
    for log in (directory / "job").glob("*run-1.commits"):
        yield from (tuple(row) for entry in CommitLogReader(log).read() for row in entry.payload)


def make(writer: type[FileWriter]) -> Callable[[Path], Sink]:
    return lambda directory: FileSink(writer)


def test_a_sink_that_keeps_the_contract_passes() -> None:
    check_sink(make(FileWriter), read=read_file, kills=6)


@pytest.mark.parametrize(
    ("writer", "said"),
    [
        (CommitsTwice, r"goes on where the last commit said: committed\(\) says \[0, 16\) through 0, expected"),
        (LosesItsLastPart, r"the last ones too: \d+ of \d+ rows are missing in the target"),
        (IgnoresFences, r"A zombie is refused whatever it does next: a commit with rows was let through"),
        (PromisesTooMuch, r"Commits of any size add up.*"),
    ],
)
def test_a_fault_that_is_planted_in_a_sink_is_found(writer: type[FileWriter], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        check_sink(make(writer), read=read_file, kills=0)


@pytest.mark.slow
def test_a_sink_that_is_only_wrong_when_it_is_killed_is_found() -> None:
    check_sink(make(WritesBeforeItCommits), read=read_file, kills=0)

    with pytest.raises(ContractError, match=r"killed after \d+ of \d+ calls: \d+ rows too many are in the target"):
        check_sink(make(WritesBeforeItCommits), read=read_file, kills=40)
    check_sink(make(WritesBeforeItCommits), read=read_file, kills=8, guarantee="at least once")


def test_a_sink_that_cannot_be_read_back_needs_somebody_who_can() -> None:
    with pytest.raises(ContractError, match=r"define it, or give check_sink a function to read with"):
        check_sink(make(FileWriter), kills=0)
