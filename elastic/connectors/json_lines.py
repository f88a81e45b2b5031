"""Files of JSON lines as a sink: a part is written aside, committed by one append to a log, then renamed into place.

The append is the commit. A writer that dies between it and the rename leaves a part that the next one puts in place;
one that dies before it leaves a part that the next one removes. So no reader ever sees a part that does not count,
whatever key intervals the writers before and after had.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from elastic.batch import Batch, Column, rows
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.claims import progress_ticks
from elastic.connectors.commit_log import CommitLog, CommitLogReader, file_stem, log_path
from elastic.connectors.commit_record import Entry
from elastic.connectors.shapes import fields, shortened
from elastic.errors import ElasticError, SinkError
from elastic.keys import KeyInterval

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_ASIDE = ".elastic"
"""Sub-directory of the log and of parts under way; hidden, so that ``*`` finds committed parts only."""


@dataclass(frozen=True)
class JsonLinesSink(Sink):
    """Rows go into parts in a directory; see ``elastic.sinks.json_lines``.

    Attributes:
        columns: Names of a row's fields; None writes rows as they are.
        period_ms: Parts end at ticks that are multiples of this.
    """

    directory: Path
    columns: tuple[str, ...] | None = None
    period_ms: int = 1000
    name = "json_lines"

    def prepare(self, context: SinkContext) -> None:
        with self.refusals():
            (self.directory / _ASIDE).mkdir(parents=True, exist_ok=True)
        if not os.access(self.directory / _ASIDE, os.W_OK | os.X_OK):
            raise SinkError(f"the directory {self.directory} may not be written; choose another, or change its mode")

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return JsonLinesWriter(self, context, interval, generation)

    def finish(self, context: SinkContext) -> None:
        self.settle(context, self._commits(context), lambda _interval, _generation: True)

    def contents(self, context: SinkContext) -> Any:
        count = Counter[str]()
        for part in self.directory.glob("*.jsonl"):  # as a user finds them, whatever the log says
            if part.name.rsplit("-", 3)[0] == file_stem(context):
                count.update(part.read_bytes().decode().split("\n")[:-1])
        return count

    def expected(self, batches: Sequence[Batch]) -> Any:
        return Counter(line.decode() for b in batches if b.values is not None for line in self.lines(b.values))

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        return (expected - contents).total(), (contents - expected).total()

    def lines(self, column: Column) -> list[bytes]:
        """Each row as JSON in UTF-8, without the line's end.

        Raises:
            SinkError: A row that JSON cannot hold.
        """
        if self.columns:
            part = fields(column, self.columns)
            values: list[Any] = [dict(zip(part.names, row, strict=True)) for row in zip(*part.columns, strict=True)]
        else:
            values = rows(column)
        try:
            return [_encode(value).encode() for value in values]
        except (TypeError, ValueError, RecursionError):
            return [self._line(value) for value in values]

    def _line(self, value: Any) -> bytes:
        """One row of a batch that has a difficult one; what it gives must not depend on which rows are beside it."""
        try:
            text = _encode(value)
            try:
                return text.encode()
            except UnicodeEncodeError:  # a lone surrogate: JSON has an escape for it, UTF-8 no bytes
                return _encode_ascii(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SinkError(
                f"the row {shortened(value)} cannot be written to {self.directory} as JSON: {error}; JSON holds dicts "
                f"with text keys, lists, text, finite numbers, True, False and None: turn it into these with .map(...)"
            ) from error

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
            raise SinkError(f"{error.filename} is a file; json_lines needs a directory: name another") from error
        except OSError as error:
            raise SinkError(
                f"{error.filename or self.directory}: {error.strerror}; parts that were committed are kept"
            ) from error

    def _commits(self, context: SinkContext) -> list[Entry]:
        return list(CommitLogReader(log_path(context, self.directory / _ASIDE)).read())


class JsonLinesWriter(Writer):
    """Writes the parts of one key interval, one after the other."""

    def __init__(self, sink: JsonLinesSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._sink, self._interval = sink, interval
        self._stem = f"{file_stem(context)}-{interval.low:05d}-{interval.high:05d}"
        self._aside = sink.directory / _ASIDE
        self._generation = generation
        self._period_ticks = max(1, sink.period_ms // context.tick_ms)
        self._progress_ticks = progress_ticks(context.tick_ms)
        self._part: BinaryIO | None = None
        self._refusal: ElasticError | None = None
        self._log = CommitLog(log_path(context, self._aside), interval, generation)
        self._through = self._begun = min(tick for _, tick in self._log.committed())
        sink.settle(context, self._log.commits, lambda other, older: other.overlaps(interval) and older <= generation)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if self._refusal:  # what the part under way holds is not known
            raise self._refusal
        end = through if final else through - through % self._period_ticks
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
        if self._part:
            with suppress(OSError):  # what could not be written is not wanted either
                self._part.close()
            Path(self._part.name).unlink(missing_ok=True)
        self._log.close()

    def _write(self, batches: Sequence[Batch]) -> None:
        lines = [line for batch in batches if batch.values is not None for line in self._sink.lines(batch.values)]
        if not lines:
            return
        if self._part is None:
            name = f"{self._stem}-{self._generation}-{os.urandom(6).hex()}.tmp"
            self._part = (self._aside / name).open("xb", buffering=1 << 18)
        self._part.write(b"\n".join(lines) + b"\n")

    def _commit_part(self, part: BinaryIO, end: int) -> None:
        """Make the rows so far a part that ends with a tick."""
        part.flush()
        os.fsync(part.fileno())
        part.close()
        aside, place = Path(part.name), self._sink.directory / f"{self._stem}-{end:012d}.jsonl"
        _sync(self._aside)  # the log must not name a part that a power cut can make vanish
        self._log.commit(end, [aside.name, place.name], sync=True)
        self._part, self._through = None, end
        try:
            aside.rename(place)
        except FileNotFoundError:
            if not place.exists():  # else a newer writer has put it in place
                raise


def _sync(directory: Path) -> None:
    """The directory's entries are on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
