"""What the processes of workers are doing, as far as this machine can tell."""

from __future__ import annotations

import psutil

from elastic.coordinator.silence import UNKNOWN, Look
from elastic.wire.control import Hello

_STOPPED = {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
_RUNNING = {psutil.STATUS_RUNNING, psutil.STATUS_WAKING}


def look_at(hello: Hello) -> Look:
    """What the process of a worker does, of which its hello tells; some 0.1 ms."""
    if not hello.pid or not hello.address.startswith("ipc://"):
        return UNKNOWN  # adopted from another coordinator, and not heard yet; or of another machine
    try:
        process = psutil.Process(hello.pid)
        with process.oneshot():
            status, times = process.status(), process.cpu_times()
    except psutil.NoSuchProcess:
        return Look("stopped")
    except psutil.Error:
        return UNKNOWN
    cpu_s = times.user + times.system
    return Look("stopped" if status in _STOPPED else "running" if status in _RUNNING else "asleep", cpu_s)
