"""Jobs that another command runs on this machine: found by their directory, asked and told over their own sockets."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from elastic.cluster.local import SOCKETS, environment
from elastic.errors import UserError
from elastic.wire.control import (
    COORDINATOR,
    Answer,
    DrainWorker,
    Inquire,
    Inventory,
    JoinJob,
    KillWorker,
    Numbered,
    ScaleJob,
    codec,
)
from elastic.wire.sockets import Hub

CONTACT = "contact.json"
"""In the job directory while the job runs: how to reach it."""

JOBS = Path(".elastic")
"""Job directories lie here, below the working directory."""

AGAIN_S = 0.5
"""A question without an answer is asked again: the coordinator that it went to may have been killed."""

ANSWER_S = 5.0
"""Who does not answer for so long is not there; where something is to be done, ``SETTLE_S`` is waited."""

SETTLE_S = 60.0


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach a running job: its directory, of which it has its name, its process, and its coordinator."""

    name: str
    directory: Path
    pid: int
    coordinator: str


def announce(directory: Path, coordinator: str) -> None:
    """The directory tells how to reach the job that runs in it."""
    body = {"pid": os.getpid(), "coordinator": coordinator}
    partial = directory / f"{CONTACT}.partial"
    partial.write_text(json.dumps(body), encoding="utf-8")
    partial.replace(directory / CONTACT)


def withdraw(directory: Path) -> None:
    """The job that ran there has ended."""
    (directory / CONTACT).unlink(missing_ok=True)


def tidy_up_after_the_dead(directory: Path) -> None:
    """The sockets of a job that ran there are gone, though all of its processes were killed before they could do it.

    For who holds the directory's lock, so that no command runs there any more.
    """
    try:
        body: dict[str, Any] = json.loads((directory / CONTACT).read_text(encoding="utf-8"))
        sockets = Path(body["coordinator"].removeprefix("ipc://")).parent
        if sockets.name.startswith(SOCKETS):
            for path in sockets.iterdir():
                if path.is_socket():
                    path.unlink(missing_ok=True)
            sockets.rmdir()
    except (OSError, ValueError, KeyError):
        return


def running(jobs: Path = JOBS) -> list[Contact]:
    """The jobs that run in directories below ``jobs``, by name."""
    found = [read_contact(path.parent) for path in sorted(jobs.glob(f"*/{CONTACT}"))]
    return sorted((contact for contact in found if contact is not None), key=lambda contact: contact.name)


def find(job: str, jobs: Path = JOBS) -> Contact:
    """The running job of that name, or in that directory.

    Raises:
        UserError: None such runs.
    """
    contact = read_contact(Path(job)) or read_contact(jobs / job)
    if contact is not None:
        return contact
    names = [c.name for c in running(jobs)]
    hint = f"these run here: {', '.join(names)}" if names else f"none runs in {jobs}"
    raise UserError(f"no job runs under the name or in the directory {job!r}; {hint}")


def read_contact(directory: Path) -> Contact | None:
    """The job that runs in a directory; None if there is none, or if its process has gone without a word."""
    path = directory / CONTACT
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        os.kill(body["pid"], 0)
    except (OSError, ValueError, KeyError):
        return None
    return Contact(directory.name, directory, body["pid"], body["coordinator"])


class Remote:
    """A connection to one running job; use it in a ``with`` block."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        own = Path(contact.coordinator.removeprefix("ipc://")).with_name(f"client-{os.getpid()}")
        self._hub = Hub(own.name, f"ipc://{own}", codec())
        self._hub.connect(COORDINATOR, contact.coordinator)
        self._number = time.monotonic_ns()  # whoever had this address before has asked with lower ones

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.close()

    def inventory(self) -> Inventory:
        """What runs there now."""
        return self._inventory(ANSWER_S)

    def _inventory(self, within_s: float) -> Inventory:
        answer = self._ask(Inquire(self._hub.address), within_s)
        assert isinstance(answer, Inventory)
        return answer

    def scale(self, operator: str, instances: int) -> Inventory:
        """Bring an operator to so many instances, and wait until it has them.

        Raises:
            UserError: That cannot be done, was called off, or took too long.
        """
        self._do(ScaleJob(operator, instances, self._hub.address))

        def is_done(job: Inventory) -> bool:
            present, aim = dict(job.operators).get(operator), dict(job.aims).get(operator)
            if present != instances != aim:
                why = "it was called off" if aim is None else f"somebody has asked for {aim} since"
                raise UserError(f"{self._contact.name}: {operator} runs on {present}, not on {instances}: {why}")
            return present == instances

        return self._until(is_done, f"{operator} is not on {instances} instances")

    def drain(self, worker: int) -> Inventory:
        """Take a worker out of the job, and wait until it has ended.

        Raises:
            UserError: That cannot be done, or it took too long.
        """
        self._be_rid_of(worker, DrainWorker(worker, self._hub.address), self.inventory())
        return self._until(lambda job: worker not in _numbers(job), f"something still depends on worker {worker}")

    def kill(self, worker: int | None) -> int:
        """SIGKILL has been sent to a worker, or to that of the first keyed instance; its number.

        Raises:
            UserError: There is no such worker.
        """
        job = self.inventory()
        victim = job.first if worker is None else worker
        if victim is None:
            raise UserError(f"{self._contact.name}: there is no worker")
        self._be_rid_of(victim, KillWorker(victim, self._hub.address), job)
        return victim

    def _be_rid_of(self, worker: int, wish: object, before: Inventory) -> None:
        """Ask for it, unless it has been done: by a coordinator that was gone before it could say so."""
        try:
            self._do(wish)
        except UserError:
            if worker not in _numbers(before) or worker in _numbers(self.inventory()):
                raise

    def join(self) -> int:
        """A number for a worker that is to be added to the job."""
        return self._do(JoinJob(self._hub.address)).worker

    def _do(self, wish: object) -> Answer:
        answer = self._ask(wish, SETTLE_S)
        assert isinstance(answer, Answer)
        if answer.problem:
            raise UserError(f"{self._contact.name}: {answer.problem}")
        return answer

    def _until(self, is_done: Callable[[Inventory], bool], otherwise: str) -> Inventory:
        until = time.monotonic() + SETTLE_S
        while (left := until - time.monotonic()) > 0:
            inventory = self._inventory(max(left, ANSWER_S))
            if is_done(inventory):
                return inventory
            self._hub.wait(0.1)
        raise UserError(f"{self._contact.name}: {otherwise} after {SETTLE_S:g} s")

    def _ask(self, question: object, within_s: float) -> Answer | Inventory:
        """The answer, of whichever coordinator is there to give it."""
        self._number += 1
        until = time.monotonic() + within_s
        while (left := until - time.monotonic()) > 0:
            self._hub.send(COORDINATOR, Numbered(self._number, question))
            again = time.monotonic() + min(left, AGAIN_S)
            while (wait_s := again - time.monotonic()) > 0:
                self._hub.wait(wait_s)
                for _, message in self._hub.receive():
                    if message.number == self._number:
                        answer: Answer | Inventory = message.message
                        return answer
            if read_contact(self._contact.directory) is None:
                raise UserError(f"{self._contact.name} has ended meanwhile")
        raise UserError(f"{self._contact.name} (process {self._contact.pid}) does not answer for {within_s:g} s")


def _numbers(job: Inventory) -> set[int]:
    return {w.worker for w in job.roster}


def become_worker(contact: Contact, number: int) -> NoReturn:
    """This process is replaced by a worker of the job, with the environment that workers have."""
    arguments = [str(number), str(contact.directory.absolute()), contact.coordinator]
    command = [sys.executable, "-P", "-m", "elastic.cluster.joined", *arguments]
    os.execve(sys.executable, command, environment())  # noqa: S606 (our own module)


def table(rows: Sequence[tuple[Contact, Inventory]]) -> str:
    """Running jobs as lines of text."""
    lines = [("JOB", "PROCESS", "WORKERS", "SPARES", "RECORDS", "OPERATORS")]
    for contact, job in rows:
        operators = ", ".join(f"{name} x {instances}" for name, instances in job.operators)
        lines.append(
            (contact.name, str(contact.pid), str(job.workers), str(job.spares), str(job.records_in), operators)
        )
    return aligned(lines)


def roster(job: Inventory) -> str:
    """The workers of one job as lines of text."""
    lines = [("WORKER", "PROCESS", "STATE", "INSTANCES")]
    lines += [(str(w.worker), str(w.pid), w.state, ", ".join(w.instances)) for w in job.roster]
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """The lines with their cells one below the other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
