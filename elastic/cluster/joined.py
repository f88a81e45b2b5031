"""A worker that somebody has added to a job that runs already: what ``elastic worker --join JOB`` becomes.

It is no child of the job's: it ends when it was drained, or when the job is gone, and Ctrl-C drains it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from elastic.cluster.remote import read_contact
from elastic.worker.shell import make

LOOK_S = 0.5
"""So often it is looked whether the job still runs."""


def main(number: int, directory: Path, coordinator: str) -> None:
    """Be the worker until it was drained or the job is gone."""
    own = Path(coordinator.removeprefix("ipc://")).with_name(f"worker-{number}")
    worker = make(number, f"ipc://{own}", coordinator)

    def leave(_: int, __: FrameType | None) -> None:
        """At first it asks to be drained; a second time it ends at once, and the job recovers from that."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        print("draining", flush=True)
        worker.leave()

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=_watch, args=(directory, coordinator), name="watch", daemon=True).start()
    worker.run()
    print(f"worker {number} has left", flush=True)
    os._exit(0)  # threads of user code have no say in this


def _watch(directory: Path, coordinator: str) -> None:
    """End this process once the job is gone: whatever it is at, nobody waits for it."""
    while (found := read_contact(directory)) is not None and found.coordinator == coordinator:
        time.sleep(LOOK_S)
    print("the job has ended", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
