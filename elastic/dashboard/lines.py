"""Progress as plain lines, for logs and pipes: one every few seconds, and one for each event worth a look."""

from __future__ import annotations

from typing import TextIO

from elastic.report import FailedRecords, JobEvent, Progress
from elastic.units import format_count, format_duration

EVERY_S = 2.0

QUIET: frozenset[str] = frozenset({"joined", "started", "finished", "source_finished"})
"""Kinds of events of which every healthy run has some."""


class LineProgress:
    """Writes lines to a stream that is no terminal. Satisfies the runner's ``Watcher``."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._next_s = 0.0

    def progress(self, progress: Progress) -> None:
        """A line if the last one is ``EVERY_S`` old, and the events since."""
        for event in progress.events:
            if event.kind not in QUIET:
                self.note(str(event))
        if progress.at_s >= self._next_s and not progress.finished:
            self._next_s = progress.at_s + EVERY_S
            self.note(status_line(progress) if progress.at_s > 0 else "starting")

    def note(self, text: str) -> None:
        """The text on a line of its own, seen at once."""
        self._stream.write(f"{self._name}: {text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to restore."""


class NoProgress:
    """Shows nothing. Satisfies the runner's ``Watcher``."""

    def progress(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def status_line(progress: Progress) -> str:
    """How the job does, in one line of fixed order, and behind it what not every job has."""
    done = "" if progress.done is None else f" ({progress.done:.0%})"
    stalled = f"  STALLED {len(progress.stalls)}" if progress.stalls else ""
    failures = sum(f.skipped + f.diverted for f in progress.failures)
    failed = f"  failed records {format_count(failures)}" if failures else ""
    took = "" if progress.interval is None else format_duration(progress.interval.processing_ms / 1000)
    interval = f"  processing {took}" if took else ""
    return (
        f"{progress.at_s:.1f}s  records {format_count(progress.records_in)}{done}  "
        f"{format_count(progress.records_per_s)} records/s  lag {format_duration(progress.lag_s)}  "
        f"workers {workers(progress)}  checkpoints {progress.checkpoints}{interval}{failed}{stalled}"
    )


def workers(progress: Progress) -> str:
    """``4 + 1 spare``."""
    if not progress.spares:
        return str(progress.workers)
    return f"{progress.workers} + {progress.spares} spare{'s' if progress.spares > 1 else ''}"


def failed_line(failed: FailedRecords) -> str:
    """How many records an operator or step has skipped and diverted."""
    counts = ((failed.skipped, "skipped"), (failed.diverted, "diverted"))
    return f"{failed.where}: " + ", ".join(f"{count:,} {what}" for count, what in counts if count)


def event_style(event: JobEvent) -> str:
    """The colour in which a terminal shows an event; its words say the same."""
    if event.kind in {
        "killed",
        "paused",
        "failed",
        "output_failed",
        "detected",
        "nondeterminism",
        "checkpoint_lost",
        "aborted",
        "stalled",
    }:
        return "red"
    return (
        "green"
        if event.kind in {"restored", "replayed", "caught_up", "moving"}
        else "yellow"
        if event.kind in {"warning", "overdue"}
        else ""
    )
