"""What the processes of workers are doing, as far as this machine can tell."""

from __future__ import annotations

import psutil

from elastic.coordinator.silence import UNKNOWN, Look, State
from elastic.wire.control import Hello

_STATES: dict[str, State] = {
    psutil.STATUS_ZOMBIE: "ended", psutil.STATUS_DEAD: "ended",
    psutil.STATUS_STOPPED: "stopped", psutil.STATUS_TRACING_STOP: "stopped",
    psutil.STATUS_RUNNING: "running", psutil.STATUS_WAKING: "running",
}  # fmt: skip


def look_at(hello: Hello) -> Look:
    """What the process of a worker does, of which its hello tells; some 0.1 ms."""
    if not hello.pid or not hello.address.startswith("ipc://"):
        return UNKNOWN  # adopted from another coordinator, and not heard yet; or of another machine
    try:
        process = psutil.Process(hello.pid)
        with process.oneshot():
            status, times = process.status(), process.cpu_times()
    except psutil.NoSuchProcess:
        return Look("ended")
    except psutil.Error:
        return UNKNOWN
    return Look(_STATES.get(status, "asleep"), times.user + times.system)
