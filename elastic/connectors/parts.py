"""Files in a directory as a sink: a part is written aside, committed by one append to a log, then renamed into place.

The append is the commit. A writer that dies between it and the rename leaves a part that the next one puts in place;
one that dies before it leaves a part that the next one removes. So no reader ever sees a part that does not count,
whatever key intervals the writers before and after had. What a part looks like inside is up to a subclass.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from elastic.batch import Batch, Column
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.claims import progress_ticks
from elastic.connectors.commit_log import CommitLog, CommitLogReader, file_stem, log_path
from elastic.connectors.commit_record import Entry
from elastic.connectors.durability import sync_path
from elastic.errors import ElasticError, SinkError
from elastic.keys import KeyInterval

_ASIDE = ".elastic"
"""Sub-directory of the log and of parts under way; hidden, so that ``*`` finds committed parts only."""

LARGE_BYTES = 32 << 20
"""A part that has grown so large ends with the next commit: what it holds is not acknowledged before."""


class Part(ABC):
    """What a part is made of, as it is written."""

    size_bytes: int = 0
    """About how much it holds so far."""

    @abstractmethod
    def write(self, columns: Sequence[Column]) -> None:
        """Add the rows of some columns, of which none is empty.

        Raises:
            SinkError: A row that the format cannot hold.
        """

    def finish(self) -> None:
        """Have everything in the file; called once, at the end."""


@dataclass(frozen=True)
class PartsSink(Sink):
    """Rows go into parts in a directory.

    Attributes:
        columns: Names of a row's fields; None takes them from the rows.
        period_ms: Parts end at ticks that are multiples of this.
    """

    directory: Path
    columns: tuple[str, ...] | None = None
    period_ms: int = 1000
    checks = True
    suffix: ClassVar[str]

    @abstractmethod
    def begin(self, file: BinaryIO) -> Part:
        """A new part, written to a file that is empty."""

    @abstractmethod
    def rows_of(self, part: Path) -> Counter[Any]:
        """What a part in place holds, in a form that can be counted."""

    @abstractmethod
    def rows_in(self, columns: Sequence[Column]) -> Counter[Any]:
        """The same of rows that were not written."""

    def prepare(self, context: SinkContext) -> None:
        with self.refusals():
            (self.directory / _ASIDE).mkdir(parents=True, exist_ok=True)
        if not os.access(self.directory / _ASIDE, os.W_OK | os.X_OK):
            raise SinkError(f"the directory {self.directory} may not be written; choose another, or change its mode")

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return PartsWriter(self, context, interval, generation)

    def finish(self, context: SinkContext) -> None:
        commits = list(CommitLogReader(log_path(context, self.directory / _ASIDE)).read())
        self.settle(context, commits, lambda _interval, _generation: True)

    def contents(self, context: SinkContext) -> Any:
        count = Counter[Any]()
        for part in self.directory.glob(f"*{self.suffix}"):  # as a user finds them, whatever the log says
            if part.name.rsplit("-", 3)[0] == file_stem(context):
                count.update(self.rows_of(part))
        return count

    def expected(self, batches: Sequence[Batch]) -> Any:
        return self.rows_in([batch.values for batch in batches if batch.values is not None and len(batch)])

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        return (expected - contents).total(), (contents - expected).total()

    def settle(
        self, context: SinkContext, commits: Sequence[Entry], abandoned: Callable[[KeyInterval, int], bool]
    ) -> None:
        """Put parts that are committed in place, and remove those under way that no one will commit."""
        places = {entry.payload[0]: entry.payload[1] for entry in commits if entry.payload}
        with self.refusals():
            for path in (self.directory / _ASIDE).glob("*.tmp"):
                stem, low, high, generation, _ = path.name.rsplit("-", 4)
                with suppress(FileNotFoundError):  # its writer, or another newcomer, was faster
                    if stem != file_stem(context):
                        continue
                    if place := places.get(path.name):
                        path.rename(self.directory / place)
                    elif abandoned(KeyInterval(int(low), int(high)), int(generation)):
                        path.unlink()

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Say of what the operating system refuses where it was, and what to do."""
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            file = next((p for p in (self.directory, *self.directory.parents) if p.is_file()), error.filename)
            raise SinkError(f"{file} is a file; {self.name} needs a directory: name another") from error
        except OSError as error:
            raise SinkError(
                f"{error.filename or self.directory}: {error.strerror}; parts that were committed are kept"
            ) from error


class PartsWriter(Writer):
    """Writes the parts of one key interval, one after the other."""

    def __init__(self, sink: PartsSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._sink, self._interval = sink, interval
        self._stem = f"{file_stem(context)}-{interval.low:05d}-{interval.high:05d}"
        self._aside = sink.directory / _ASIDE
        self._generation = generation
        self._period_ticks = max(1, sink.period_ms // context.tick_ms)
        self._progress_ticks = progress_ticks(context.tick_ms)
        self._file: BinaryIO | None = None
        self._part: Part | None = None
        self._refusal: ElasticError | None = None
        self._log = CommitLog(log_path(context, self._aside), interval, generation)
        self._through = self._begun = min(tick for _, tick in self._log.committed())
        sink.settle(context, self._log.commits, lambda other, older: other.overlaps(interval) and older <= generation)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if self._refusal:  # what the part under way holds is not known
            raise self._refusal
        large = self._part is not None and self._part.size_bytes >= LARGE_BYTES
        end = through if final or large else through - through % self._period_ticks
        try:
            with self._sink.refusals():
                self._write([batch for tick, batch in ticks if tick <= end])
                if self._part and end > self._begun:
                    self._commit_part(self._part, end)
                elif final or end >= self._through + self._progress_ticks:
                    self._log.commit(end, None)
                    self._through = end
                self._begun = end  # a part that is begun now has no rows of ticks up to here, and must not end there
                self._write([batch for tick, batch in ticks if tick > end])
        except ElasticError as error:
            self._refusal = error
            raise
        return self._through

    def close(self) -> None:
        if self._file:
            with suppress(OSError):  # what could not be written is not wanted either
                self._file.close()
            Path(self._file.name).unlink(missing_ok=True)
        self._log.close()

    def _write(self, batches: Sequence[Batch]) -> None:
        columns = [batch.values for batch in batches if batch.values is not None and len(batch)]
        if not columns:
            return
        if self._part is None:
            name = f"{self._stem}-{self._generation}-{os.urandom(6).hex()}.tmp"
            self._file = (self._aside / name).open("xb", buffering=1 << 18)
            self._part = self._sink.begin(self._file)
        self._part.write(columns)

    def _commit_part(self, part: Part, end: int) -> None:
        """Make the rows so far a part that ends with a tick."""
        assert self._file is not None
        part.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        aside, place = Path(self._file.name), self._sink.directory / f"{self._stem}-{end:012d}{self._sink.suffix}"
        sync_path(self._aside)  # the log must not name a part that a power cut can make vanish
        self._log.commit(end, [aside.name, place.name], sync=True)
        self._file, self._part, self._through = None, None, end
        try:
            aside.rename(place)
        except FileNotFoundError:
            if not place.exists():  # else a newer writer has put it in place
                raise
