"""Where a worker spills: files of the job directory without a name, which go with the process, however it ends."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

from elastic.batch import Batch
from elastic.errors import UserError
from elastic.state.spill import SpilledBatch
from elastic.units import format_size
from elastic.wire.control import codec

SEGMENT_BYTES = 32 << 20
"""A file is released as a whole, when nothing in it is needed any more."""


class _Segment:
    """One file; closed, and with that gone, when nobody refers to it."""

    def __init__(self, directory: Path) -> None:
        with tempfile.TemporaryFile(dir=directory) as file:
            self.file = os.dup(file.fileno())
        self.size_bytes = 0
        weakref.finalize(self, os.close, self.file)

    def append(self, data: bytes) -> int:
        """Where it lies."""
        at, view = self.size_bytes, memoryview(data)
        while view:
            written = os.pwrite(self.file, view, at + len(data) - len(view))
            view = view[written:]
        self.size_bytes += len(data)
        return at


class SpillFiles:
    """A worker's place on the disk, in files of some size each.

    Args:
        directory: Made when it is first needed.
        limit_bytes: No more than that.
        memory_bytes: The worker's setting, for the words of an error.
    """

    def __init__(self, directory: Path, limit_bytes: int, memory_bytes: int) -> None:
        self._directory, self._limit_bytes, self._memory_bytes = directory, limit_bytes, memory_bytes
        self._codec = codec()
        self._segments: weakref.WeakSet[_Segment] = weakref.WeakSet()
        self._newest: _Segment | None = None

    @property
    def size_bytes(self) -> int:
        return sum(segment.size_bytes for segment in self._segments)

    def put(self, batch: Batch) -> SpilledBatch | None:
        if self.size_bytes >= self._limit_bytes:
            return None
        data = self._codec.pack(batch)
        try:
            segment = self._segment()
            at = segment.append(data)
        except OSError as error:
            raise UserError(
                f"cannot spill {format_size(len(data))} of output to {self._directory}: {error.strerror}; "
                f"{format_size(self.size_bytes)} lie there already, since those who consume this output have not "
                "checkpointed or committed it. Free the disk, set memory higher or spill lower, or have sinks commit "
                "more often. What was committed stays committed"
            ) from None
        size_bytes, unpack = len(data), self._codec.unpack

        def load() -> Batch:
            found: Batch = unpack(os.pread(segment.file, size_bytes, at))
            return found

        return SpilledBatch(batch, load)

    def _segment(self) -> _Segment:
        if self._newest is None or self._newest.size_bytes >= SEGMENT_BYTES:
            self._directory.mkdir(exist_ok=True)
            self._newest = _Segment(self._directory)
            self._segments.add(self._newest)
        return self._newest
