"""What a tick costs where each of n sources feeds each of n counters: n² messages, and no work to speak of."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.result import Effort, Measurement, Row
from benchmarks.rows.idle_cpu import cpu_s
from benchmarks.runtime import scratch

_JOB = Path(__file__).parents[1] / "jobs" / "all_to_all.py"
_SCENARIO = """
name: all-to-all
job: {job}:query
parameters: {{instances: {instances}}}
cluster: {{workers: {instances}, spares: 0}}
elastic: {{tick: 50ms, checkpoint: off}}
"""
_TICK_S = 0.05
_SETTLE_S = 3.0
INSTANCES = (2, 4, 8, 16)


def _cpu_ms_per_tick(instances: int, seconds: float) -> float:
    """Processor time of all processes by ticks, milliseconds."""
    with scratch() as directory:
        scenario = directory / "all_to_all.yaml"
        scenario.write_text(_SCENARIO.format(job=_JOB, instances=instances))
        command = [sys.executable, "-m", "elastic", "run", str(scenario), "--quiet", "--directory"]
        with subprocess.Popen([*command, str(directory / "job")]) as process:
            try:
                time.sleep(_SETTLE_S)
                began, used = time.monotonic(), cpu_s(process.pid)
                time.sleep(seconds)
                ticks = (time.monotonic() - began) / _TICK_S
                spent_s = cpu_s(process.pid) - used
                if process.poll() is not None:
                    raise RuntimeError(f"the job ended with exit code {process.returncode}")
            finally:
                process.send_signal(signal.SIGINT)
    return 1000 * spent_s / ticks


def _measure(effort: Effort) -> Sequence[Row]:
    seconds = min(effort.timed_s, 5.0)
    costs = [(n, _cpu_ms_per_tick(n, seconds)) for n in INSTANCES]
    return [Row(f"tick_cost_{n}", cost, "ms of a core a tick", None, None, None, None) for n, cost in costs]


MEASUREMENT = Measurement("tick_cost", "processor time a tick: 2, 4, 8, 16 sources, as many counters", _measure)
