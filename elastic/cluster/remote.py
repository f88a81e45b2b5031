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
    ScaleJob,
    codec,
)
from elastic.wire.sockets import Hub

CONTACT = "contact.json"
"""In the job directory while the job runs: how to reach it."""

JOBS = Path(".elastic")
"""Job directories lie here, below the working directory."""

ANSWER_S = 5.0
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.close()

    def inventory(self) -> Inventory:
        """What runs there now."""
        answer = self._ask(Inquire(self._hub.address), (Inventory,))
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
        self._do(DrainWorker(worker, self._hub.address))
        return self._until(
            lambda job: worker not in {w.worker for w in job.roster}, f"something still depends on worker {worker}"
        )

    def kill(self, worker: int | None) -> int:
        """SIGKILL has been sent to a worker, or to that of the first keyed instance; its number.

        Raises:
            UserError: There is no such worker.
        """
        return self._do(KillWorker(worker, self._hub.address)).worker

    def join(self) -> int:
        """A number for a worker that is to be added to the job."""
        return self._do(JoinJob(self._hub.address)).worker

    def _do(self, wish: object) -> Answer:
        answer = self._ask(wish, (Answer,))
        assert isinstance(answer, Answer)
        if answer.problem:
            raise UserError(f"{self._contact.name}: {answer.problem}")
        return answer

    def _until(self, is_done: Callable[[Inventory], bool], otherwise: str) -> Inventory:
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            inventory = self.inventory()
            if is_done(inventory):
                return inventory
            self._hub.wait(0.1)
        raise UserError(f"{self._contact.name}: {otherwise} after {SETTLE_S:g} s")

    def _ask(self, question: object, answers: tuple[type, ...]) -> Answer | Inventory:
        self._hub.send(COORDINATOR, question)
        until = time.monotonic() + ANSWER_S
        while (left := until - time.monotonic()) > 0:
            self._hub.wait(min(left, 0.5))
            for _, message in self._hub.receive():
                if isinstance(message, answers):
                    return message  # type: ignore[return-value]
            if read_contact(self._contact.directory) is None:
                break
        if read_contact(self._contact.directory) is None:
            raise UserError(f"{self._contact.name} has ended meanwhile")
        raise UserError(f"{self._contact.name} (process {self._contact.pid}) does not answer for {ANSWER_S:g} s")


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
