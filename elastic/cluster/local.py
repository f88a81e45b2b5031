"""Processes on this machine: started fast, watched through their parent, and gone when the command is."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elastic.cluster.channel import Channel
from elastic.cluster.parent import Configuration, Request
from elastic.errors import ElasticError

SOCKETS = "elastic-"
"""With this begins the name of the directory, below the system's temporary one, that holds a job's sockets."""

_CLOSING_S = 5.0
_MEMORY = {
    # Fresh memory costs a page fault for each 4 KiB, which can take longer than what the kernels do with it: as huge
    # pages, and given back to nobody in between, a worker's first second is three times as fast. The user's own win.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_ENVIRONMENT = {
    # Equal in all workers, and from run to run: else the order of a set could make user code nondeterministic.
    "PYTHONHASHSEED": "0",
    # A worker is one core's worth; and a library that starts threads when imported cannot be forked.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended.

    Attributes:
        status: Its exit code; a signal's negative number if one killed it, as in ``subprocess``.
    """

    name: str
    status: int

    @property
    def reason(self) -> str:
        """How it ended, in words."""
        return (
            f"killed by {signal.Signals(-self.status).name}" if self.status < 0 else f"exited with code {self.status}"
        )


def environment() -> dict[str, str]:
    """What the processes of a job find in their environment."""
    path = os.pathsep.join(str(Path(p).absolute()) for p in sys.path)
    return _MEMORY | os.environ | _ENVIRONMENT | {"PYTHONPATH": path}


def start_parent(control: int, log: int) -> subprocess.Popen[bytes]:
    """Start the parent of a job's processes, with the file ``control`` as its input, and ``log`` for what it prints."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "elastic.cluster.parent"],
        stdin=control,
        stdout=log,
        stderr=log,
        env=environment(),
        start_new_session=True,
    )


class LocalProcesses:
    """A job's processes. Belongs to one thread of the command; nothing of them outlives ``close``, or the command.

    Attributes:
        directory: For their sockets: only this user can open it, and its path is short. Removed in the end.
        pids: Process numbers of those that run, by name.
    """

    def __init__(self, logs: Path, *, preload: Sequence[str] = (), fork: bool = sys.platform == "linux") -> None:
        """Start the parent of all processes to come; takes a few milliseconds here, and 0.3 s there.

        Args:
            logs: Directory for what processes print: a file each, appended to.
            preload: Modules that the processes need, imported once for all of them.
            fork: Fork processes from one that has imported the modules. Only safe where the system's libraries are.
        """
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self.directory = Path(tempfile.mkdtemp(prefix=SOCKETS))
        self.pids: dict[str, int] = {}
        self._running: set[str] = set()
        ours, theirs = socket.socketpair()
        self._channel = Channel(ours)
        with theirs, (logs / "parent.log").open("ab") as log:
            self._parent = start_parent(theirs.fileno(), log.fileno())
        self._channel.send(asdict(Configuration(str(self.directory), list(preload), fork)))

    @property
    def orphaned(self) -> bool:
        """The parent has ended by itself, and all processes with it; seen by ``poll``."""
        return self._channel.closed

    def fileno(self) -> int:
        """Readable when ``poll`` may have something to tell."""
        return self._channel.fileno()

    def start(self, name: str, entry: str, arguments: dict[str, Any] | None = None) -> None:
        """A process ``name`` is being started, which calls ``entry``, a ``module:function``, with ``arguments``.

        Args:
            name: Not that of a running process; may be given again once that one's exit was polled.
            entry: Where it starts; when the function returns, the process ends with exit code 0.
            arguments: By keyword; what JSON can express. Not visible to other users.

        Raises:
            ElasticError: The parent is gone, so that nothing can be started any more.
        """
        if name in self._running:
            raise ValueError(f"process {name} is running already")
        if self._channel.closed:
            raise ElasticError(f"no process can be started any more; see {self._logs / 'parent.log'}")
        self._running.add(name)
        self._channel.send(asdict(Request(name, entry, arguments or {}, str(self._logs / f"{name}.log"))))

    def signal(self, name: str, number: signal.Signals) -> None:
        """The signal is on its way to the process; one that has ended is left alone."""
        self._channel.send({"name": name, "signal": number})

    def kill(self, name: str) -> None:
        """The process ends at once."""
        self.signal(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        """The process hangs: it keeps what it has and does nothing."""
        self.signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """The process goes on where it was paused."""
        self.signal(name, signal.SIGCONT)

    def poll(self, timeout_s: float = 0) -> list[Exited]:
        """Processes that have ended since the last call, in order; waits for one up to ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while True:
            exits = self._receive()
            left = deadline - time.monotonic()
            if exits or left <= 0 or self._channel.closed:
                return exits
            select.select([self._channel], [], [], left)

    def _receive(self) -> list[Exited]:
        exits = []
        for message in self._channel.receive():
            name = message["name"]
            if "pid" in message:
                self.pids[name] = message["pid"]
            else:
                exits.append(Exited(name, message["status"]))
                self.pids.pop(name, None)
                self._running.discard(name)
        if self._channel.closed:  # they die with their parent
            exits += [Exited(name, -signal.SIGKILL) for name in sorted(self._running)]
            self._running.clear()
            self.pids.clear()
        return exits

    def close(self) -> None:
        """Every process has been killed and has ended, and the directory is gone. May be called again."""
        self._channel.close()
        try:
            self._parent.wait(_CLOSING_S)
        except subprocess.TimeoutExpired:  # stuck, maybe in the import of a module on a hanging disk
            self._parent.kill()
            self._parent.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
