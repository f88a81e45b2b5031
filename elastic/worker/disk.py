"""Checkpoints are written and read in a thread of their own: a disk that takes its time delays nobody else there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from elastic.errors import ElasticError
from elastic.operators.failure import bug
from elastic.protocol import Forget, Load, Persist
from elastic.state.checkpoint import Checkpoint
from elastic.worker.checkpoint_files import CheckpointFiles


@dataclass(frozen=True, slots=True)
class Persisted:
    """A checkpoint lies on the disk."""

    instance: int
    term: int
    tick: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What lay there of an instance."""

    reconfigure: int
    instance: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class DiskFailed:
    """The disk refused; a ``FencedError`` if another holder has taken the instance over."""

    instance: int
    error: Exception

    @property
    def text(self) -> str:
        """What is told of it."""
        match self.error:
            case ElasticError():
                return str(self.error)
            case OSError():
                return f"the checkpoints cannot be read: {self.error}; see to that and resume the job"
            case _:
                return bug(self.error)


class DiskThread:
    """Does one thing after the other with a job's checkpoint files.

    Args:
        answer: Called in the thread with each result; must be thread-safe.
    """

    def __init__(self, files: CheckpointFiles, answer: Callable[[Persisted | Loaded | DiskFailed], None]) -> None:
        self._files, self._answer = files, answer
        self._work: queue.SimpleQueue[Persist | Load | Forget] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="checkpoints", daemon=True).start()

    def do(self, command: Persist | Load | Forget) -> None:
        """Queue a command; its answer follows, unless it is to forget."""
        self._work.put(command)

    def _run(self) -> None:
        while True:
            command = self._work.get()
            try:
                match command:
                    case Persist(instance, term, checkpoint):
                        self._files.write(instance, term, checkpoint, compact=command.compact)
                        self._answer(Persisted(instance, term, checkpoint.tick))
                    case Load(reconfigure, instance):
                        found = self._files.read(instance, command.term)
                        self._answer(Loaded(reconfigure, instance, found))
                    case Forget():
                        self._files.remove(command.instance)
            except Exception as error:  # noqa: BLE001 (whatever the disk raises is reported, and not only here)
                self._answer(DiskFailed(command.instance, error))
            del command
