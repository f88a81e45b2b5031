"""Standard output as a sink: workers record the lines of each commit, and the command prints what counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elastic.batch import Batch, rows
from elastic.connectors.base import Sink, SinkContext, Writer
from elastic.connectors.claims import progress_ticks
from elastic.connectors.commit_log import CommitLog, CommitLogReader, log_path
from elastic.keys import KeyInterval

KEPT_SEGMENTS = 16
"""Lines that were shown are kept in so many segments of the log, to be verified: 64 MiB. Older ones are deleted, and of
a job that has printed more, what it printed cannot be held against anything."""


@dataclass(frozen=True)
class StdoutSink(Sink):
    """Rows are printed by the command, one a line; see ``elastic.sinks.stdout``."""

    name = "stdout"
    parallel = False  # one order of lines

    def open(self, context: SinkContext, interval: KeyInterval, generation: int) -> Writer:
        return StdoutWriter(self, context, interval, generation)

    def lines(self, batch: Batch) -> Iterator[str]:
        """The rows as text: a tuple's fields between tabs, anything else as ``str`` of it."""
        assert batch.values is not None, "a sink's input carries its rows"
        for row in rows(batch.values):
            yield "\t".join(map(str, row)) if isinstance(row, tuple) else str(row)

    def lines_of(self, tick: int, batch: Batch, tick_ms: int) -> Iterator[str]:
        """What is printed of a tick's rows."""
        return self.lines(batch)

    def display(self, context: SinkContext) -> Callable[[], Sequence[str]]:
        path = log_path(context, context.directory)
        mark = path.with_suffix(".shown")
        reader = CommitLogReader(path, whole=True)
        if shown := _marked(mark):
            reader.skip(shown)

        def lines_since() -> Sequence[str]:
            nonlocal shown
            if reader.position != (shown or (0, 0)):  # who asks again has shown what was handed out before
                shown = reader.position
                _mark(mark, shown)
            found = [line for entry in reader.read() for line in entry.payload]
            reader.drop_read(KEPT_SEGMENTS)
            return found

        return lines_since

    def contents(self, context: SinkContext) -> Any:
        reader = CommitLogReader(log_path(context, context.directory), whole=True)
        return Counter(line for entry in reader.read() for line in entry.payload) if reader.complete else None

    def expected(self, batches: Sequence[Batch]) -> Any:
        return Counter(line for batch in batches for line in self.lines(batch))

    def compare(self, expected: Any, contents: Any) -> tuple[int, int]:
        return (expected - contents).total(), (contents - expected).total()


class StdoutWriter(Writer):
    """Records lines in the job directory: a tick and its lines are one append."""

    def __init__(self, sink: StdoutSink, context: SinkContext, interval: KeyInterval, generation: int) -> None:
        self._sink, self._tick_ms = sink, context.tick_ms
        self._log = CommitLog(log_path(context, context.directory), interval, generation, keep=True)
        self._through = min(tick for _, tick in self._log.committed())
        self._progress_ticks = progress_ticks(context.tick_ms)

    def committed(self) -> list[tuple[KeyInterval, int]]:
        return self._log.committed()

    def commit(self, ticks: Sequence[tuple[int, Batch]], through: int, *, final: bool) -> int:
        if not ticks and through < self._through + self._progress_ticks and not final:
            return self._through
        lines = [line for tick, batch in ticks for line in self._sink.lines_of(tick, batch, self._tick_ms)]
        self._log.commit(through, lines)
        self._through = through
        return through

    def close(self) -> None:
        self._log.close()


def _mark(mark: Path, shown: tuple[int, int]) -> None:
    """Note how far the log was shown, for a command that resumes the job."""
    partial = mark.with_suffix(".partial")
    partial.write_text(json.dumps(shown), encoding="utf-8")
    partial.replace(mark)


def _marked(mark: Path) -> tuple[int, int] | None:
    """How far the log was shown; None if nothing was."""
    try:
        segment, offset = json.loads(mark.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return segment, offset
