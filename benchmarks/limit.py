"""The limit: what the same kernels reach on the same input in as many plain processes, without the runtime.

Every process reads its part of the file in blocks, applies the job's kernels to each, sends every other process the
rows whose keys that one owns, over ZeroMQ (``ipc``), and aggregates the rows that it owns; once a second it emits the
changed keys to nowhere. No ticks, no buffers, no checkpoints, no credit beyond the sockets' own.

A block is as large as the chunks that a source of the runtime reads. On four
cores of an EPYC, WordCount did 32 M words/s with blocks of 512 KiB, 43 with 1 MiB, 50 with 2 and 4, and 43 with 8 MiB.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow as pa
import zmq

from benchmarks.kernels import KeyedJob
from elastic.batch import Batch
from elastic.instance.source import CHUNK_BYTES
from elastic.keys import even_intervals, groups_of

BLOCK_BYTES = CHUNK_BYTES
EMIT_S = 1.0
_SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])
_END = b""
_MESSAGES_ON_THE_WAY = 16


@dataclass(frozen=True, slots=True)
class Input:
    """What is read: the file, ``repeat`` times over, in blocks of about ``block_bytes``."""

    path: Path
    repeat: int
    block_bytes: int = BLOCK_BYTES

    @property
    def size_bytes(self) -> int:
        """Bytes read in all."""
        return self.path.stat().st_size * self.repeat

    def blocks(self, part: int, parts: int) -> Iterator[bytes]:
        """One process's share, in blocks that end with a line."""
        with self.path.open("rb", buffering=0) as file:
            size = self.path.stat().st_size
            start, end = (
                _line_start(file.fileno(), part * size // parts),
                _line_start(file.fileno(), (part + 1) * size // parts),
            )
            for _ in range(self.repeat):
                at = start
                while at < end:
                    block = os.pread(file.fileno(), min(self.block_bytes, end - at), at)
                    whole = block.rfind(b"\n") + 1
                    at += whole
                    yield block if whole == len(block) else block[:whole]


@dataclass(frozen=True, slots=True)
class Run:
    """What the processes gave, and how long they took from the first's start to the last's end."""

    seconds: float
    results: list[Any]

    def merged(self) -> dict[str, int]:
        """All keys and values of a keyed job; no key comes from two processes."""
        return {key: value for result in self.results for key, value in result.items()}


def run_keyed(make: Callable[[], KeyedJob], data: Input, processes: int = 4) -> Run:
    """Run a keyed job; the results are one dict per process."""
    with tempfile.TemporaryDirectory(prefix="elastic-limit-") as directory:
        return _run(_keyed, (cloudpickle.dumps(make), data, directory), processes)


def run_filter(make: Callable[[], Callable[[bytes], list[Any]]], data: Input, processes: int = 4) -> Run:
    """Write the rows that a function of a block gives to JSON lines; the results are the numbers of rows."""
    with tempfile.TemporaryDirectory(prefix="elastic-limit-") as directory:
        return _run(_filter, (cloudpickle.dumps(make), data, directory), processes)


def _run(body: Callable[..., Any], arguments: tuple[Any, ...], processes: int) -> Run:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    receivers, started = [], []
    for index in range(processes):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_process, args=(body, index, processes, barrier, sender, arguments), daemon=True
        )
        process.start()
        sender.close()  # so that its death ends recv()
        receivers.append(receiver)
        started.append(process)
    outcomes = [receiver.recv() for receiver in receivers]
    for process in started:
        process.join()
    return Run(max(o[1] for o in outcomes) - min(o[0] for o in outcomes), [o[2] for o in outcomes])


def _process(body: Callable[..., Any], index: int, count: int, barrier: Barrier, sender: Any, arguments: Any) -> None:
    pa.set_cpu_count(1)  # there is a process for each core
    job, data, directory = arguments
    result, start = body(cloudpickle.loads(job), data, Path(directory), index, count, barrier)
    sender.send((start, time.monotonic(), result()))


def _keyed(
    make: Callable[[], KeyedJob], data: Input, directory: Path, index: int, count: int, barrier: Barrier
) -> tuple[Callable[[], Any], float]:
    job, intervals = make(), even_intervals(count)
    exchange = Exchange(directory, index, count)
    barrier.wait()
    start = time.monotonic()
    emit_at = start + EMIT_S
    for block in data.blocks(index, count):
        batch = job.batch(block)
        own = []
        for owner, interval in enumerate(intervals):
            part = batch.slice(interval)
            if part is not None and owner == index:
                own.append(part)
            elif part is not None:
                exchange.send(owner, part)
        job.aggregate([*own, *exchange.received()])
        if time.monotonic() >= emit_at:
            job.emitted()
            emit_at += EMIT_S
    exchange.finish()
    while not exchange.finished:
        if batches := exchange.received(wait=True):
            job.aggregate(batches)
    job.emitted()
    exchange.close()
    return job.result, start


def _filter(
    make: Callable[[], Callable[[bytes], list[Any]]],
    data: Input,
    directory: Path,
    index: int,
    count: int,
    barrier: Barrier,
) -> tuple[Callable[[], Any], float]:
    matching, written = make(), 0
    barrier.wait()
    start = time.monotonic()
    with (directory / f"part-{index}.jsonl").open("w") as file:
        for block in data.blocks(index, count):
            found = matching(block)
            file.writelines([json.dumps(row) + "\n" for row in found])
            written += len(found)
    return lambda: written, start


class Exchange:
    """One process's sockets: rows to the others, and from them. Never blocks on sending without receiving meanwhile."""

    def __init__(self, directory: Path, index: int, count: int) -> None:
        self._context = zmq.Context()
        self._inbound = self._context.socket(zmq.PULL)
        self._inbound.set_hwm(_MESSAGES_ON_THE_WAY)
        self._inbound.bind(f"ipc://{directory}/{index}")
        self._outbound = {owner: self._context.socket(zmq.PUSH) for owner in range(count) if owner != index}
        for owner, socket in self._outbound.items():
            socket.set_hwm(_MESSAGES_ON_THE_WAY)
            socket.connect(f"ipc://{directory}/{owner}")
        self._arrived: list[Batch] = []
        self._open = count - 1

    @property
    def finished(self) -> bool:
        """Whether all others have finished and all that they sent was handed out."""
        return self._open == 0 and not self._arrived

    def send(self, owner: int, batch: Batch) -> None:
        """Send rows to another process."""
        columns = pa.RecordBatch.from_arrays([batch.keys, batch.values], schema=_SCHEMA)
        self._send(owner, columns.serialize())

    def finish(self) -> None:
        """Tell the others that nothing more comes."""
        for owner in self._outbound:
            self._send(owner, _END)

    def received(self, *, wait: bool = False) -> list[Batch]:
        """All rows that have come, waiting for some if asked to and if any are to come."""
        while self._open and ((wait and not self._arrived) or self._inbound.poll(0)):
            self._take(self._inbound.recv(copy=False))
        batches, self._arrived = self._arrived, []
        return batches

    def close(self) -> None:
        """Release the sockets once all has been sent."""
        self._context.destroy(linger=-1)

    def _send(self, owner: int, message: Any) -> None:
        while True:
            try:
                self._outbound[owner].send(message, zmq.NOBLOCK, copy=False)
                return
            except zmq.Again:
                if self._inbound.poll(1):
                    self._take(self._inbound.recv(copy=False))

    def _take(self, frame: zmq.Frame) -> None:
        if len(frame) == 0:
            self._open -= 1
            return
        columns = pa.ipc.read_record_batch(pa.py_buffer(frame.buffer), _SCHEMA)
        self._arrived.append(Batch(_NO_GROUPS, columns.column(0), columns.column(1)))


_NO_GROUPS = groups_of(pa.array([], pa.string()))  # who receives a row needs its key only


def _line_start(file: int, at: int) -> int:
    """The first byte at or after ``at`` where a line begins."""
    if at == 0:
        return 0
    at -= 1
    while block := os.pread(file, 4096, at):
        if (found := block.find(b"\n")) >= 0:
            return at + found + 1
        at += len(block)
    return at
