"""The worker process under this model: the elastic worker's own shell around a ``TaskHost``, and its disks."""

from __future__ import annotations

import os
import queue
import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from dstream.blocks import Contents, Name, Spill
from dstream.logic import Read, Version
from dstream.plan import StreamPlan
from dstream.protocol import MESSAGES, Kept
from dstream.reading import LoggedInput
from dstream.worker.archive import Archive
from dstream.worker.host import TaskHost
from elastic.connectors.base import LogEntry
from elastic.connectors.input_log import read_log
from elastic.errors import UserError
from elastic.plan import Plan
from elastic.protocol import Failed
from elastic.wire.control import codec
from elastic.worker.shell import Surroundings, make

STATE = "state"
"""Folder of the job directory with versions of state."""


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
        self._states.mkdir(exist_ok=True)
        self._codec = codec([Version])
        self._work: queue.SimpleQueue[tuple[Kept, Version]] = queue.SimpleQueue()
        self._kept: queue.SimpleQueue[Kept | Failed] = queue.SimpleQueue()
        self._mine: dict[tuple[int, int], list[int]] = {}
        self._inputs: dict[tuple[str, int], LoggedInput] = {}
        self._entries: dict[tuple[str, int], list[LogEntry]] = {}
        threading.Thread(target=self._run, name="state", daemon=True).start()

    # -- state ---------------------------------------------------------------------------------------------------------

    def save(self, instance: int, stage: int, partition: int, interval: int, version: Version) -> None:
        self._work.put((Kept(instance, stage, partition, interval, 0, time.monotonic()), version))

    def news(self) -> Sequence[Kept | Failed]:
        news = []
        while not self._kept.empty():
            news.append(item := self._kept.get())
            if isinstance(item, Kept):
                insort(self._mine.setdefault((item.stage, item.partition), []), item.interval)
        return news

    def kept(self) -> list[tuple[int, int, int]]:
        return [(*place, interval) for place, intervals in self._mine.items() for interval in intervals]

    def load(self, stage: int, partition: int, interval: int) -> Version | None:
        found = self._states.glob(f"{stage}-{partition}-*.state")
        self._mine[stage, partition] = sorted(int(path.stem.rpartition("-")[2]) for path in found)
        try:
            data = self._path(stage, partition, interval).read_bytes()
        except FileNotFoundError:
            return None
        version: Version = self._codec.unpack(data)
        return version

    def keep_from(self, versions: Sequence[int]) -> None:
        for (stage, partition), kept in self._mine.items():
            while kept and kept[0] < versions[stage]:
                self._path(stage, partition, kept.pop(0)).unlink(missing_ok=True)

    def _path(self, stage: int, partition: int, interval: int) -> Path:
        return self._states / f"{stage}-{partition}-{interval}.state"

    def _run(self) -> None:
        codec_here = codec([Version])
        while True:
            kept, version = self._work.get()
            path = self._path(kept.stage, kept.partition, kept.interval)
            try:
                data = codec_here.pack(version)
                partial = path.with_suffix(f".{os.getpid()}.partial")
                partial.write_bytes(data)
                partial.replace(path)
            except OSError as error:
                text = f"a checkpoint cannot be written to {path}: {error.strerror}; free its disk"
                self._kept.put(Failed(kept.instance, "", 0, text))
            except UserError as error:  # a value that cannot be pickled
                self._kept.put(Failed(kept.instance, "", 0, f"a checkpoint cannot be made: {error}"))
            else:
                took_s = time.monotonic() - kept.took_s
                self._kept.put(Kept(kept.instance, kept.stage, kept.partition, kept.interval, len(data), took_s))
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
