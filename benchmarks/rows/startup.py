"""From the start of ``elastic run`` to the first record processed, on four workers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import WORKERS, scratch

_JOB = Path(__file__).parents[1] / "jobs" / "first_record.py"


def _start_s() -> float:
    with scratch() as directory:
        (directory / "input.txt").write_text("one record\n")
        note = directory / "note"
        command = [
            sys.executable, "-m", "elastic", "run", f"{_JOB}:query", "--workers", str(WORKERS), "--quiet",
            "--directory", str(directory / "job"), "--set", f"path={directory / 'input.txt'}", "--set", f"note={note}",
        ]  # fmt: skip
        start = time.monotonic()
        subprocess.run(command, check=True, timeout=60)
        return float(note.read_text()) - start


def _measure(effort: Effort) -> Sequence[Row]:
    seconds = statistics.median(_start_s() for _ in range(3 if effort.quick else 10))
    return [limit_row("startup", seconds, "s", at_most=1.5)]


MEASUREMENT = Measurement("startup", "start of the command to the first record processed", _measure)
