"""What a job costs that has nothing to do: coordinator, four workers, a spare; no display."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.result import Effort, Measurement, Row, limit_row
from benchmarks.runtime import WORKERS, scratch

_JOB = Path(__file__).parents[1] / "jobs" / "idle.py"
_SETTLE_S = 3.0


def _measure(effort: Effort) -> Sequence[Row]:
    with scratch() as directory:
        (directory / "input.txt").write_text("a line that is far from being read\n" * 10_000)
        command = [
            sys.executable, "-m", "elastic", "run", f"{_JOB}:query", "--workers", str(WORKERS), "--quiet",
            "--directory", str(directory / "job"), "--set", f"path={directory / 'input.txt'}",
        ]  # fmt: skip
        with subprocess.Popen(command) as command_process:
            try:
                time.sleep(_SETTLE_S)
                start, used = time.monotonic(), cpu_s(command_process.pid)
                time.sleep(max(effort.timed_s, 5.0))
                share = (cpu_s(command_process.pid) - used) / (time.monotonic() - start)
                if command_process.poll() is not None:
                    raise RuntimeError(f"the idle job ended with exit code {command_process.returncode}")
            finally:
                command_process.send_signal(signal.SIGINT)
    return [limit_row("idle_cpu", 100 * share, "% of a core", at_most=5)]


def cpu_s(pid: int) -> float:
    """Processor time of the command and of all that it has started."""
    command = psutil.Process(pid)
    times = [process.cpu_times() for process in [command, *command.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


MEASUREMENT = Measurement("idle_cpu", "processor time of an idle job, all processes together", _measure)
