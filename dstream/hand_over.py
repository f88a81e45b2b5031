"""A sink that hands rows over to the process that started the job, interval by interval, through the job directory."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elastic import pickling
from elastic.batch import Batch, rows
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.commit_log import CommitLog, CommitLogReader, log_path
from elastic.keys import KeyInterval

KEPT_SEGMENTS = 16
"""What was handed over is kept in so many segments of 4 MiB of the log, to be verified; older ones are deleted."""


AHEAD_SEGMENTS = 16
"""Once so many more have not been read, nothing is handed over until some are: a slow reader slows the job."""

AGAIN_S = 0.02


@dataclass(frozen=True)
class HandOver(Sink):
    """Rows are recorded in the job directory, an interval's together.

    Attributes:
        waits: They are read while the job runs, so that it can wait for who reads them.
    """

    name: str = "foreach_rdd"
    waits: bool = True
    parallel = False

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return HandOverWriter(context, interval, generation, waits=self.waits)

    def reader(self, context: SinkContext) -> CommitLogReader:
        """Of what is handed over."""
        return CommitLogReader(log_path(context, context.directory), whole=True)

    def contents(self, context: SinkContext) -> Any:
        reader = self.reader(context)
        return [row for _, data in handed_over(reader) for row in unpacked(data)] if reader.complete else None

    def expected(self, batches: Sequence[Batch]) -> Any:
        return [row for batch in batches for row in rows(batch.values or [])]

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        """Missing and surplus rows; where as many are there, but others, all that is certain is one of each."""
        if len(expected) == len(contents):
            return (0, 0) if expected == contents else (1, 1)
        return max(0, len(expected) - len(contents)), max(0, len(contents) - len(expected))


class HandOverWriter(Writer):
    """One commit is one record."""

    def __init__(self, context: SinkContext, interval: KeyInterval, generation: int, *, waits: bool) -> None:
        self._waits = waits
        self._log = CommitLog(log_path(context, context.directory), interval, generation, keep=True)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        while self._waits and self._log.segments > KEPT_SEGMENTS + AHEAD_SEGMENTS:
            time.sleep(AGAIN_S)
        self._log.commit(through, [[tick, packed(rows(batch.values or []))] for tick, batch in ticks])
        return through

    def close(self) -> None:
        self._log.close()


def handed_over(reader: CommitLogReader) -> Iterator[tuple[int, str]]:
    """(last tick of an interval, its rows, packed), of all that was committed since the reader was read last."""
    for entry in reader.read():
        yield from entry.payload


def packed(found: list[Any]) -> str:
    """Rows as text."""
    return base64.b64encode(pickling.dumps(found)).decode("ascii")


def unpacked(data: str) -> list[Any]:
    """The rows again."""
    found: list[Any] = pickling.loads(base64.b64decode(data))
    return found
