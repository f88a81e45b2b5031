"""The parent of a job's processes: starts them, tells at once when one ends, and outlives the command just to tidy up.

It runs as ``python -m elastic.cluster.parent``, in a session of its own, so that Ctrl-C in a terminal reaches only the
command. It has imported what the processes need, and forks them: that takes 5 ms where a new interpreter with NumPy
and Arrow takes 250. It runs no user code and starts no threads, so that it may fork and always answers. When the
command is gone, however it went, it kills all of them, removes their directory and ends. When it is killed itself, the
system kills them (Linux), or a thread in each does (elsewhere).
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from elastic.cluster.channel import Channel

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_REQUEST = "ELASTIC_PROCESS"
"""Environment variable that hands a process its request where it is not forked; command lines are for all to read."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """First message to the parent.

    Attributes:
        directory: The processes' private directory, removed in the end.
        preload: Modules to import before the first process is forked.
        fork: Whether processes are forked, or started as new interpreters.
    """

    directory: str
    preload: list[str]
    fork: bool


@dataclass(frozen=True, slots=True)
class Request:
    """A process to start: calls ``entry``, a ``module:function``, with ``arguments``; prints to the end of ``log``."""

    name: str
    entry: str
    arguments: dict[str, Any]
    log: str


@dataclass(slots=True)
class Parent:
    """The running children, and the one loop over what the command asks and what the children do."""

    channel: Channel
    configuration: Configuration
    lifeline: int
    """Read end of a pipe that only this process can write to: at its end, the parent is gone."""
    grip: int
    """The other end of it."""
    children: dict[int, str] = field(default_factory=dict)

    def run(self, wakeups: socket.socket) -> None:
        """Serve until the command is gone; then no child and no directory is left."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(wakeups, selectors.EVENT_READ)
            while not self.channel.closed:
                selector.select()
                with contextlib.suppress(BlockingIOError):
                    wakeups.recv(4096)
                self.reap()
                for message in self.channel.receive():
                    self.handle(message)
        for pid in self.children:
            _signal_group(pid, signal.SIGKILL)
        for pid in self.children:
            os.waitpid(pid, 0)
        shutil.rmtree(self.configuration.directory, ignore_errors=True)

    def handle(self, message: dict[str, Any]) -> None:
        """Start a process, or send a signal to one that still runs."""
        if "signal" in message:
            for pid, name in self.children.items():
                if name == message["name"]:  # not reaped yet, so the number is still its own
                    os.kill(pid, message["signal"])
            return
        request = Request(**message)
        pid = self._fork(request) if self.configuration.fork else self._spawn(request)
        self.children[pid] = request.name
        self.channel.send({"name": request.name, "pid": pid})

    def reap(self) -> None:
        """Tell the command of every child that has ended, and end what it had started itself."""
        for pid in list(self.children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _signal_group(pid, signal.SIGKILL)
                code = os.waitstatus_to_exitcode(status)
                self.channel.send({"name": self.children.pop(pid), "status": code})

    def _fork(self, request: Request) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self.channel.close()
            os.close(self.grip)
            child(request, self.lifeline, parent)
        with contextlib.suppress(OSError):  # the child does it too; whoever is first, its group can be signalled now
            os.setpgid(pid, pid)
        return pid

    def _spawn(self, request: Request) -> int:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "elastic.cluster.parent"],
            env=os.environ | {_REQUEST: json.dumps([asdict(request), self.lifeline, os.getpid()])},
            pass_fds=[self.lifeline],
            process_group=0,
        )
        process.returncode = 0  # reaped by this module, not by subprocess
        return process.pid


def child(request: Request, lifeline: int, parent: int) -> NoReturn:
    """Run the request in this process, and end with it."""
    code = 1
    try:
        os.setpgid(0, 0)
        output = os.open(request.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        faulthandler.enable()
        _die_with(parent, lifeline, request.name)
        module, _, function = request.entry.partition(":")
        run: Callable[..., None] = getattr(importlib.import_module(module), function)
        run(**request.arguments)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 (the end of the process: whatever it was goes to its log)
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Neither the parent's exit handlers, which a fork inherits, nor threads of user code have a say in this.
        os._exit(code)


def _die_with(parent: int, lifeline: int, name: str) -> None:
    """This process is killed when its parent is gone."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_NAME, f"elastic {name}".encode()[:15])
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)
        return

    def watch() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; on macOS also: only zombies left in it
        os.killpg(pid, number)


def main() -> None:
    """Be the parent of the command at the other end of standard input; or, if told to, one of its children."""
    if _REQUEST in os.environ:
        request, lifeline, parent = json.loads(os.environ.pop(_REQUEST))
        child(Request(**request), lifeline, parent)
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # children must neither read nor hold the command's end
    os.close(nothing)
    with control.makefile("rb", buffering=0) as stream:
        line = stream.readline()
    if not line:
        return
    configuration = Configuration(**json.loads(line))
    wakeups, waker = socket.socketpair()
    wakeups.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    if configuration.fork:
        for module in configuration.preload:
            importlib.import_module(module)
        gc.collect()
        gc.freeze()  # collections in the children would otherwise copy every page that holds an object
    Parent(Channel(control), configuration, *os.pipe()).run(wakeups)


if __name__ == "__main__":
    main()
