"""The worker process under this model: the elastic worker's own shell around a ``TaskHost``, and its disks."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from dstream.blocks import Contents, Name, Spill
from dstream.logic import Read
from dstream.plan import StreamPlan
from dstream.protocol import MESSAGES, Kept
from dstream.reading import LoggedInput
from dstream.versions import PartitionId, Version
from dstream.worker.archive import Archive
from dstream.worker.host import TaskHost
from dstream.worker.state_files import STATE, StateFiles
from elastic.connectors.base import LogEntry
from elastic.connectors.input_log import read_log
from elastic.errors import UserError
from elastic.plan import Plan
from elastic.protocol import Failed
from elastic.wire.control import codec
from elastic.worker.shell import Surroundings, make


class DiskArchive(Archive):
    """State as files of the job directory, written by a thread of their own; input through the job's input log.

    Args:
        plan: What runs.
        directory: The job directory.
        wake: Called in the thread when a version is kept.
    """

    def __init__(self, plan: StreamPlan, directory: Path, wake: Callable[[], None]) -> None:
        self._plan, self._wake = plan, wake
        self._states, self._log = directory / STATE, directory / "log"
        if plan.has_disk:
            self._states.mkdir(exist_ok=True)
        self._files = StateFiles(self._states)
        self._work: queue.SimpleQueue[tuple[Kept, Version]] = queue.SimpleQueue()
        self._kept: queue.SimpleQueue[Kept | Failed] = queue.SimpleQueue()
        self._mine: set[PartitionId] = set()
        self._floors: Sequence[int] = ()
        self._inputs: dict[tuple[str, int], LoggedInput] = {}
        self._entries: dict[tuple[str, int], list[LogEntry]] = {}
        threading.Thread(target=self._run, name="state", daemon=True).start()

    # -- state ---------------------------------------------------------------------------------------------------------

    def save(self, instance: int, stage: int, partition: int, interval: int, version: Version) -> None:
        self._work.put((Kept(instance, stage, partition, interval, 0, on_disk=True), version))

    def news(self) -> Sequence[Kept | Failed]:
        news = []
        while not self._kept.empty():
            news.append(item := self._kept.get())
            if isinstance(item, Kept):
                self._mine.add((item.stage, item.partition))
        return news

    def kept(self) -> list[tuple[int, int, int]]:
        chains = self._files.chains() if self._mine else {}
        return [(*place, interval) for place in sorted(self._mine & chains.keys()) for interval in chains[place]]

    def load(self, stage: int, partition: int, interval: int) -> list[tuple[int, Version]]:
        self._mine.add((stage, partition))
        return self._files.read((stage, partition), interval)

    def keep_from(self, versions: Sequence[int]) -> None:
        if versions != self._floors and self._mine:
            self._floors = versions
            self._files.drop_below(self._mine, versions)

    def _run(self) -> None:
        files = StateFiles(self._states, sync=self._plan.settings.disk == "sync")
        while True:
            kept, version = self._work.get()
            place = (kept.stage, kept.partition, kept.interval)
            try:
                size_bytes = files.write(*place, version)
            except OSError as error:
                path = files.path(*place, version)
                text = f"a checkpoint cannot be written to {path}: {error.strerror}; free its disk"
                self._kept.put(Failed(kept.instance, "", 0, text))
            except UserError as error:  # a value that cannot be pickled
                self._kept.put(Failed(kept.instance, "", 0, f"a checkpoint cannot be made: {error}"))
            else:
                self._kept.put(replace(kept, size_bytes=size_bytes))
            del version
            self._wake()

    # -- input ---------------------------------------------------------------------------------------------------------

    def read_again(self, operator: str, partition: int, after: int, through: int) -> Sequence[Read]:
        key = (operator, partition)
        if key not in self._inputs:
            self._inputs[key] = LoggedInput(self._plan, operator, partition)
        entries = self._entries_through(operator, partition, through)
        return self._inputs[key].read(entry for entry in entries if after < entry.tick <= through)

    def _entries_through(self, operator: str, partition: int, through: int) -> list[LogEntry]:
        """The log's entries; read again only if what is known ends before the tick."""
        key = (operator, partition)
        known = self._entries.get(key, [])
        if not known or known[-1].tick < through:
            known = self._entries[key] = read_log(self._log, operator, partition)
        return known


class DiskSpill(Spill):
    """Blocks as files of the job directory, which go with the worker."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._directory = directory / "spill" / str(worker)
        self._codec = codec()

    def write(self, name: Name, contents: Contents) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._path(name).write_bytes(self._codec.pack(list(contents)))
        except OSError as error:
            raise UserError(
                f"blocks that do not fit into memory cannot be written to {self._directory}: {error.strerror}; "
                "free its disk, or give workers more memory"
            ) from None

    def read(self, name: Name) -> Contents:
        with pa.memory_map(str(self._path(name))) as file:
            contents: Contents = self._codec.unpack(memoryview(file.read_buffer()))
        return contents

    def remove(self, name: Name) -> None:
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: Name) -> Path:
        return self._directory / f"{name.stage}-{name.interval}-{name.partition}.blocks"


def make_host(worker: int, plan: Plan, surroundings: Surroundings) -> TaskHost:
    """What runs on a worker of this model."""
    assert isinstance(plan, StreamPlan)
    archive = DiskArchive(plan, surroundings.directory, surroundings.wake)
    return TaskHost(worker, plan, archive, DiskSpill(surroundings.directory, worker), time.perf_counter)


def main(worker: int, address: str, coordinator: str) -> None:
    """Be a worker until told to end; the entry point of the process."""
    make(worker, address, coordinator, make_host, MESSAGES).run()
