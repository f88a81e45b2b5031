"""What a program can be told of its own intervals, outputs and receivers while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """One interval. All times are Unix times in seconds; what is not known yet is None.

    Attributes:
        ended_s: When its last tick was.
        records: Of all sources.
        submitted_s: When all sources had closed it.
        started_s: When its first task was given out; that may be before all sources have closed it.
        completed_s: When its last task was done, and its rows were with the sinks' targets.
        scheduling_delay_ms: From its end to its first task.
        processing_ms: From its first task to its last.
        total_delay_ms: From its end to its last task.
        recomputed: Tasks that were done again, also of intervals before, since the last interval was complete.
    """

    interval: int
    ended_s: float
    records: int
    submitted_s: float
    started_s: float | None = None
    completed_s: float | None = None
    scheduling_delay_ms: float | None = None
    processing_ms: float | None = None
    total_delay_ms: float | None = None
    tasks: int | None = None
    recomputed: int | None = None


@dataclass(frozen=True, slots=True)
class OutputInfo:
    """One output in one interval.

    Attributes:
        name: Of the output.
        completed_s: When its target had the interval's rows; None before.
        error: Why it has none of this interval, nor of any later one, where the job keeps going; else None.
    """

    interval: int
    name: str
    started_s: float
    completed_s: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReceiverInfo:
    """One partition of a source.

    Attributes:
        worker: Where it is read.
        error: Why it is not read there any more; None where nothing went wrong.
    """

    source: str
    partition: int
    worker: int
    error: str | None = None


class StreamingListener:
    """Told what happens, in order, in the process that started the job; override what is of interest.

    What a method raises ends the job, as with a function of ``foreach_rdd``.
    """

    def on_streaming_started(self) -> None:
        """All workers are there, and the job begins."""

    def on_receiver_started(self, receiver: ReceiverInfo) -> None:
        """A partition of a source is read; again after each time that it was lost."""

    def on_receiver_error(self, receiver: ReceiverInfo) -> None:
        """A partition is not read any more, since its worker is lost or its input cannot be read."""

    def on_receiver_stopped(self, receiver: ReceiverInfo) -> None:
        """A partition has been read to its end, or to where the job was stopped."""

    def on_batch_submitted(self, batch: BatchInfo) -> None:
        """An interval's input is complete."""

    def on_batch_started(self, batch: BatchInfo) -> None:
        """Its first task was given out."""

    def on_batch_completed(self, batch: BatchInfo) -> None:
        """Its last task is done."""

    def on_output_operation_started(self, output: OutputInfo) -> None:
        """An output's first task of an interval was given out."""

    def on_output_operation_completed(self, output: OutputInfo) -> None:
        """An output's target has the interval's rows."""


def tell(listener: StreamingListener, note: Mapping[str, Any]) -> None:
    """Call the method that a note is for."""
    kind = note["kind"]
    method = getattr(listener, f"on_{kind}")
    if kind == "streaming_started":
        method()
        return
    info = BatchInfo if kind.startswith("batch") else OutputInfo if kind.startswith("output") else ReceiverInfo
    known = {field.name for field in fields(info)}
    method(info(**{name: value for name, value in note.items() if name in known}))
