"""Memory of all processes over 5,000 intervals of 50 ms: how much it grows after the first 1,000."""

from __future__ import annotations

import math
import statistics
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks import expected
from benchmarks.recording import RecordingDiscard
from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.rows.wordcount import expected_counts
from benchmarks.runtime import check, scratch
from benchmarks.streams import LINES, job, word_count
from dstream.interval_file import INTERVALS

INTERVAL_MS = 50
LINES_PER_S = 100_000
EVERY_S = 0.5


class _Meter(threading.Thread):
    """Notes memory and the number of intervals twice a second until it is stopped."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._directory, self._over = directory, threading.Event()
        self.notes: list[tuple[int, int]] = []  # (intervals that are complete, bytes)

    def run(self) -> None:
        """Look on."""
        while not self._over.wait(EVERY_S):
            self.notes.append((_complete(self._directory), _resident_bytes()))

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self.join()

    def median_bytes(self, low: int, high: int) -> float:
        """While so many intervals were complete."""
        return statistics.median(size for done, size in self.notes if low <= done < high)


def _complete(directory: Path) -> int:
    path = directory / INTERVALS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _resident_bytes() -> int:
    """Of all processes of the job."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _measure(effort: Effort) -> Sequence[Row]:
    intervals, warm = (400, 200) if effort.quick else (5000, 1000)
    repeat = math.ceil(intervals * INTERVAL_MS / 1000 * LINES_PER_S / LINES)
    with scratch() as notes:
        sink = RecordingDiscard(notes, forgets=True)
        build = lambda context: word_count(context, sink, repeat=repeat, rate=f"{LINES_PER_S}/s")  # noqa: E731
        with job(build, f"{INTERVAL_MS}ms") as (context, directory):
            meter = _Meter(directory)
            meter.start()
            context.run(display=False)
            meter.stop()
        check(expected.difference(sink.last_values(), expected_counts(), repeat))
    tenth = intervals // 10
    before, after = meter.median_bytes(warm, warm + tenth), meter.median_bytes(intervals - tenth, intervals)
    return [limit_row("dstream_memory_growth", 100 * (after / before - 1), "%", at_most=5.0)]


MEASUREMENT = Measurement("dstream_memory", "memory over 5,000 intervals of 50 ms", _measure)
