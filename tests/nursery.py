"""Parents of jobs, forked from one process that has imported what they import: half of what a short job costs.

A parent with an interpreter of its own is what every command starts, and what test_local_cluster.py is about.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from dstream.job import StreamJob
from elastic.cluster import parent
from elastic.cluster.local import environment


class Forked:
    """A forked parent: as much of ``subprocess.Popen`` as its command uses."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def wait(self, timeout_s: float | None = None) -> None:
        """It has ended.

        Raises:
            subprocess.TimeoutExpired: It has not, in that time.
        """
        if self._handle < 0:
            return
        if not select.select([self._handle], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired("a forked parent", timeout_s or 0.0)
        os.close(self._handle)
        self._handle = -1

    def kill(self) -> None:
        """It ends at once."""
        if self._handle >= 0:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


class Nursery:
    """The process that forks parents; it ends with ``close``, or with this process."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__], stdin=theirs.fileno(), env=environment(), start_new_session=True
            )

    def start_parent(self, control: int, log: int) -> Forked:
        """What ``elastic.cluster.local.start_parent`` does, in a few milliseconds."""
        request = json.dumps({"env": environment(), "directory": str(Path.cwd())}).encode()
        socket.send_fds(self._control, [len(request).to_bytes(4, "big") + request], [control, log])
        _, (handle,), _, _ = socket.recv_fds(self._control, 1, 1)
        return Forked(handle)

    def close(self) -> None:
        """It has ended."""
        self._control.close()
        self._process.wait()


def _serve(control: socket.socket) -> None:
    """Fork a parent for each request, until nobody is there to ask."""
    for module in StreamJob.PRELOAD:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    while True:
        head, files, _, _ = socket.recv_fds(control, 4, 2)
        with contextlib.suppress(ChildProcessError):  # whoever has its handle has heard of a parent's end
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not head:
            return
        request = control.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        pid = os.fork()
        if pid == 0:
            control.close()
            _become_parent(json.loads(request), *files)
        handle = os.pidfd_open(pid)
        socket.send_fds(control, [b"."], [handle])
        for file in (*files, handle):
            os.close(file)


def _become_parent(request: dict[str, object], control: int, log: int) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for file, at in ((control, 0), (log, 1), (log, 2)):
            os.dup2(file, at)
        os.close(control)
        os.close(log)
        env, directory = request["env"], request["directory"]
        assert isinstance(env, dict)
        assert isinstance(directory, str)
        os.environ.clear()
        os.environ.update(env)
        sys.path[:] = env["PYTHONPATH"].split(os.pathsep)
        os.chdir(directory)
        parent.main()
        code = 0
    except BaseException:  # noqa: BLE001 (the end of the process: whatever it was goes to its log)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as control:
        _serve(control)
