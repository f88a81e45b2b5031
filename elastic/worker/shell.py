"""The worker's process: it says hello, is set up, and works for one job until it is told to end."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cloudpickle
import pyarrow as pa

from elastic.instance.host import Host
from elastic.operators.failure import ENDINGS, user_trace
from elastic.plan import Plan
from elastic.protocol import Peers, Rejoin
from elastic.wire.clock import JobClock
from elastic.wire.control import (
    COORDINATOR,
    Begin,
    Crashed,
    Die,
    DrainWorker,
    Hello,
    Ready,
    Refused,
    ReportNow,
    Setup,
    Shutdown,
    codec,
)
from elastic.wire.sockets import Hub
from elastic.worker.allocator import keep_freed_memory, touch_memory
from elastic.worker.watchdog import Watchdog, dump_path
from elastic.worker.workplace import Workplace

LAST_WORDS_S = 0.2
"""So long a process that crashes lives on, so that its last message leaves it."""

MANY_FILES = (1 << 20, 10_240)
"""So many files may be open where the system names no limit, or the second where that is too many."""

UNBEGUN_S = 1.0
"""So long a worker that has nothing to do yet waits for a message."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker's process has that a host may need.

    Attributes:
        directory: The job directory.
        clock: Unix time that never runs backwards, seconds.
        wake: Has the worker look at its host soon; may be called from any thread.
    """

    directory: Path
    clock: Callable[[], float]
    wake: Callable[[], None]


MakeHost: TypeAlias = Callable[[int, Plan, Surroundings], Host]


class Worker:
    """One worker process. Everything happens in one thread, but for disks and targets."""

    def __init__(
        self, worker: int, address: str, coordinator: str, pid: int,
        make_host: MakeHost | None = None, messages: Sequence[type] = (),
    ) -> None:  # fmt: skip
        """Say hello.

        Args:
            worker: Number of this worker.
            address: Where it listens.
            coordinator: Where the coordinator listens.
            pid: Of this process.
            make_host: Makes what runs here, for an execution model that runs more than instances.
            messages: Which that model sends beside the core's.
        """
        self.id = worker
        self._address, self._coordinator = address, coordinator
        self._make_host = make_host or (lambda worker, plan, _: Host(worker, plan))
        self._hub = Hub(str(worker), address, codec(messages))
        self._hub.connect(COORDINATOR, coordinator)
        self._hello = Hello(worker, address, pid)
        self._hub.send(COORDINATOR, self._hello)
        self._clock = JobClock()
        self._job: tuple[Setup, Plan] | None = None
        self._place: Workplace | None = None
        self._peers: set[int] = set()
        self._running = True
        self._leaves = self._asked_to_leave = False

    def run(self) -> None:
        """Work until told to shut down."""
        try:
            while self._running:
                busy = self._place is not None and self._place.work()
                if self._leaves and not self._asked_to_leave:
                    self._ask_to_leave()
                self._hub.wait(0.0 if busy else UNBEGUN_S if self._place is None else self._place.idle_s)
                received = self._hub.receive(256)
                if not received and self._place is None:
                    self._hub.send(COORDINATOR, self._hello)  # who heard it first may be gone
                for sender, message in received:
                    self._on_message(sender, message)
        except Exception as error:  # the worker's one guard: a bug of ours ends the job aloud instead of looping
            self._hub.send(COORDINATOR, Crashed(self.id, "".join(traceback.format_exception(error))))
            time.sleep(LAST_WORDS_S)
            raise
        finally:
            if self._place is not None:
                self._place.close()
            self._hub.close()

    def leave(self) -> None:
        """Ask to be drained, and go on until then. May be called from a signal handler."""
        self._leaves = True
        self._hub.wake()

    def _ask_to_leave(self) -> None:
        self._asked_to_leave = True
        self._hub.send(COORDINATOR, DrainWorker(self.id))

    def _on_message(self, sender: str, message: object) -> None:
        match message:
            case Setup():
                self._set_up(message)
            case Begin():
                self._begin(message)
            case ReportNow():
                if self._place is not None:
                    self._place.report_soon()
            case Shutdown():
                self._running = False
            case Die():
                os.kill(os.getpid(), signal.SIGKILL)
            case Peers():
                self._on_peers(message)
            case Rejoin():
                self._hub.send(COORDINATOR, self._hello)
                if self._place is not None:
                    self._place.handle(-1, message)
                if self._asked_to_leave:
                    self._ask_to_leave()  # who was asked is gone
            case _ if self._place is not None:
                self._place.handle(int(sender) if sender.isdigit() else -1, message)

    def _set_up(self, setup: Setup) -> None:
        """Learn what is to run; the user's modules are imported here."""
        sys.path[:0] = [p for p in setup.path if p not in sys.path]
        try:
            plan: Plan = cloudpickle.loads(setup.plan)
        except (Exception, *ENDINGS) as error:  # noqa: BLE001 (a module of the user's may raise anything when it is imported)
            self._hub.send(COORDINATOR, Refused(self.id, user_trace(error).rstrip()))
            return
        self._job = setup, plan
        touch_memory(plan.settings.memory_bytes)
        self._hub.send(COORDINATOR, Ready(self.id))

    def _begin(self, begin: Begin) -> None:
        """The job's clock is known: from now on there is something to do."""
        if self._place is not None:
            return  # said by a coordinator that was lost before it could note it
        assert self._job is not None, "a worker is set up before it begins"
        setup, plan = self._job
        plan = replace(plan, tick_zero_s=begin.tick_zero_s, since_s=begin.since_s)
        directory, after_s = Path(setup.directory), plan.settings.stall_after_ms / 1000
        self._clock.follow(begin.now_s, begin.monotonic_s)
        host = self._make_host(self.id, plan, Surroundings(directory, self._clock, self._hub.wake))
        dump = dump_path(directory, self.id)
        watchdog = Watchdog(self.id, f"{self._address}.w", self._coordinator, after_s, self._clock, dump)
        self._place = Workplace(host, self._hub, self._clock, watchdog, directory, keep_log=setup.keep_log)

    def _on_peers(self, peers: Peers) -> None:
        for worker, address in peers.addresses.items():
            if worker != self.id:
                self._hub.connect(str(worker), address)
        for worker in self._peers - peers.addresses.keys():
            self._hub.drop(str(worker))
        self._peers = set(peers.addresses)


def allow_many_files() -> None:
    """Have no lower limit of open files than there need be: followed files stay open, and 1,024 are soon reached."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in MANY_FILES:
        with suppress(ValueError, OSError):  # macOS has a limit below the one that it tells
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if most == resource.RLIM_INFINITY else most, most))
            return


def main(worker: int, address: str, coordinator: str) -> None:
    """Be a worker until told to end; the entry point of the process."""
    make(worker, address, coordinator).run()


def make(
    worker: int, address: str, coordinator: str, make_host: MakeHost | None = None, messages: Sequence[type] = ()
) -> Worker:
    """The worker that this process is to be, which has said hello; the process is made fit for it."""
    keep_freed_memory()
    allow_many_files()
    pa.set_cpu_count(1)  # a worker is one core's worth; its neighbours are busy too
    pa.set_io_thread_count(1)
    return Worker(worker, address, coordinator, os.getpid(), make_host, messages)
