"""What a worker measures of itself: time per instance, ticks read and settled, checkpoints, memory, CPU."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Protocol, TypeAlias

import psutil

from elastic.instance.driver import ReadMark
from elastic.instance.host import Host
from elastic.instance.keyed import KeyedInstance
from elastic.instance.sink import SinkInstance
from elastic.instance.source import SourceInstance
from elastic.protocol import Send, Store
from elastic.report import FailedRecords
from elastic.wire.control import InstanceStats, WorkerReport

Read: TypeAlias = tuple[int, int, int, float, int, int]
Settle: TypeAlias = tuple[int, int, float]

TOLD_S = 10.0
"""For so long it is kept what was told: a coordinator that is lost takes with it what it had heard last."""


class Totals(Protocol):
    """What the sources of a worker have counted so far."""

    @property
    def read(self) -> list[tuple[int, int, int, int]]:
        """(instance, key group of the partition, records, bytes) of all that was read, by whomever."""

    @property
    def repaired(self) -> dict[int, int]:
        """By instance: records that an error policy changed to make them readable."""


class Statistics:
    """Collects until the next report takes it."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._process = psutil.Process(os.getpid())
        self.busy_s: defaultdict[int, float] = defaultdict(float)
        self.target_s: defaultdict[int, float] = defaultdict(float)
        self._reads: list[Read] = []
        self._settles: list[Settle] = []
        self._settled: dict[int, int] = {}
        self._told: deque[tuple[float, list[Read], list[Settle]]] = deque()
        self._checkpoints: list[tuple[int, int, int, float]] = []
        self._storing: dict[int, tuple[int, int, float]] = {}  # one at a time of each instance: tick, size, since when

    @property
    def active(self) -> bool:
        """Whether anything was read since the last report: then the next one is soon."""
        return bool(self._reads)

    def read(self, instance: int, mark: ReadMark) -> None:
        """A source read a tick of a partition."""
        self._reads.append((instance, mark.partition, mark.tick, mark.read_s, mark.records, mark.size_bytes))

    def settle(self, instance: SinkInstance, at_s: float) -> None:
        """A sink may have got further."""
        settled = instance.settled
        if settled > self._settled.get(instance.id, -1):
            self._settled[instance.id] = settled
            self._settles.append((instance.id, settled, at_s))

    def sent(self, command: Send) -> None:
        """A checkpoint may be on its way."""
        if isinstance(command.message, Store):
            checkpoint = command.message.checkpoint
            self._storing[command.message.instance] = checkpoint.tick, checkpoint.size_bytes, time.perf_counter()

    def stored(self, instance: int, tick: int) -> None:
        """A checkpoint has been acknowledged."""
        sent, size_bytes, at_s = self._storing.get(instance, (-1, 0, 0.0))
        if sent == tick:
            del self._storing[instance]
            self._checkpoints.append((instance, tick, size_bytes, time.perf_counter() - at_s))

    def tell_again(self) -> None:
        """What was read and settled of late is in the next report too; the same again changes nothing there."""
        self._reads = [*(mark for _, reads, _ in self._told for mark in reads), *self._reads]
        self._settles = [*(mark for _, _, settles in self._told for mark in settles), *self._settles]
        self._told.clear()

    def report(self, host: Host, sources: Totals, now_s: float) -> WorkerReport:
        """Everything since the last report."""
        instances, repaired = [], sources.repaired
        for i in host.instances.values():
            out = i.rows_committed if isinstance(i, SinkInstance) else 0
            instances.append(
                InstanceStats(
                    i.id, i.operator, i.records_in, out, self.busy_s[i.id], repaired.get(i.id, 0), self.target_s[i.id]
                )
            )  # fmt: skip
        report = WorkerReport(
            self._worker, now_s, tuple(instances), tuple(self._reads), tuple(self._settles), tuple(self._checkpoints),
            self._process.memory_info().rss, tuple(_failures(host)),
            0 if host.spill is None else host.spill.size_bytes, tuple(sources.read),
        )  # fmt: skip
        self._told.append((now_s, self._reads, self._settles))
        while now_s - self._told[0][0] > TOLD_S:
            self._told.popleft()
        self._reads, self._settles, self._checkpoints = [], [], []
        return report


def _failures(host: Host) -> Iterator[tuple[int, int, int, FailedRecords]]:
    """Records that were skipped or diverted, as a report tells of them; those of sources are told once."""
    for instance in host.instances.values():
        if isinstance(instance, SourceInstance):
            yield from ((instance.id, *found) for found in instance.tell())
        elif isinstance(instance, KeyedInstance):
            yield from ((instance.id, instance.tau, 0, found) for found in instance.outputs.failures.found())
