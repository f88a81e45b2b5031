"""Checkpoints in the job directory: what an instance is restored from when no worker has a copy in memory.

A folder for each instance, a file for each checkpoint, named after the term of the holder that wrote it, its tick, and
what it builds on: ``3-1200-full``, ``3-1300-1200``. A file appears whole or not at all. Whoever takes an instance over
first leaves its own term behind as a fence, then reads; a writer first leaves its file, then looks for fences. So of
two that do it at once, either the reader sees the file or the writer sees the fence (invariant 9).

Files do not become ever more, since a holder that has folded deltas in memory writes what that gave in their place.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elastic.connectors.durability import sync_path
from elastic.errors import FencedError, SinkError, UserError
from elastic.protocol import MESSAGES
from elastic.report import FailedRecords
from elastic.state.checkpoint import BufferCheckpoint, Checkpoint
from elastic.state.folding import Layers
from elastic.state.held import newest
from elastic.wire.codec import Codec, Frame

CHECKPOINTS = "checkpoints"
"""The folder of the job directory where they lie."""

FORMAT = b"elastic checkpoint 2\n"
_LENGTH = struct.Struct("<Q")
_FENCE = "fence-"


@dataclass(frozen=True, slots=True)
class _File:
    """One checkpoint's file, as its name tells."""

    path: Path
    term: int
    tick: int
    base: int | None

    @classmethod
    def of(cls, path: Path) -> _File | None:
        term, _, rest = path.name.partition("-")
        tick, _, base = rest.partition("-")
        if not (term.isdigit() and tick.isdigit() and (base == "full" or base.isdigit())):
            return None
        return cls(path, int(term), int(tick), None if base == "full" else int(base))


class CheckpointFiles:
    """The checkpoints of a job's instances on a disk that all its workers reach; used from one thread.

    Args:
        directory: Made when it is first needed.
        sync: Have every checkpoint on the disk itself, not only with the system, before it counts as written.
    """

    def __init__(self, directory: Path, *, sync: bool = False) -> None:
        self._directory, self._sync = directory, sync
        self._codec = Codec((*MESSAGES, Checkpoint, BufferCheckpoint, Layers, FailedRecords), trusted=True)

    def write(self, instance: int, term: int, checkpoint: Checkpoint, *, compact: bool = False) -> None:
        """The checkpoint is there for whoever needs it.

        Args:
            instance: Whose it is.
            term: Of the holder that writes it.
            checkpoint: A full one, or a delta on one that was written under the same term.
            compact: Remove what this one makes superfluous.

        Raises:
            FencedError: The instance was taken over under a higher term.
            SinkError: The disk is full, or does not let itself be written.
        """
        folder = self._directory / str(instance)
        base = "full" if checkpoint.base is None else checkpoint.base
        path = folder / f"{term}-{checkpoint.tick}-{base}"
        partial = path.with_name(f"{path.name}.partial")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                for piece in _packed(self._codec.encode(checkpoint)):
                    file.write(piece)
                if self._sync:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
            if self._sync:
                sync_path(folder)
            if term < self._fence(folder):
                raise FencedError(f"instance {instance} was taken over from term {term}")
            if compact:
                self._remove_before(folder, term, checkpoint.tick, path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise SinkError(
                f"cannot write the checkpoint {str(path)!r}: {error.strerror}; see to that and resume the job"
            ) from None

    def read(self, instance: int, term: int | None = None) -> Checkpoint | None:
        """The newest checkpoint, as a full one whose state may be folded yet; None if there is none.

        Args:
            instance: Whose it is.
            term: Of the reader; who has a lower one writes no more. None only looks.

        Raises:
            UserError: A file is damaged, or was written by another release.
        """
        folder = self._directory / str(instance)
        if term is not None:
            self._raise_fence(folder, term)
        chains: defaultdict[int, list[_File]] = defaultdict(list)
        for file in _files(folder):
            chains[file.term].append(file)
        best: Checkpoint | None = None
        for chain in sorted(chains.values(), key=lambda files: max(f.tick for f in files), reverse=True):
            if best is not None and max(f.tick for f in chain) <= best.tick:
                break
            chain.sort(key=lambda f: (f.tick, f.base is None))
            start = max((n for n, f in enumerate(chain) if f.base is None), default=None)
            if start is None:
                continue
            found = newest([self._load(f.path) for f in chain[start:]])
            if found is not None and (best is None or found.tick > best.tick):
                best = found
        return best

    def remove(self, instance: int) -> None:
        """The instance's checkpoints are gone."""
        shutil.rmtree(self._directory / str(instance), ignore_errors=True)

    def size_bytes(self, instance: int) -> int:
        """What the instance's checkpoints take on the disk."""
        return sum(file.path.stat().st_size for file in _files(self._directory / str(instance)))

    def _load(self, path: Path) -> Checkpoint:
        content = path.read_bytes()
        if not content.startswith(FORMAT):
            found = content[: len(FORMAT)].partition(b"\n")[0].decode(errors="replace")
            expected = FORMAT.decode().strip()
            raise UserError(
                f"{str(path)!r} is not a checkpoint of this release: it begins with {found!r}, not with {expected!r}; "
                "resume the job with the release that wrote it, or run it anew"
            )
        try:
            checkpoint = self._codec.decode(_unpacked(content))
        except (ValueError, IndexError, struct.error) as error:
            raise UserError(f"{str(path)!r} is damaged ({error}): run the job anew") from None
        assert isinstance(checkpoint, Checkpoint)
        return checkpoint

    def _fence(self, folder: Path) -> int:
        return max((int(path.name.removeprefix(_FENCE)) for path in folder.glob(f"{_FENCE}*")), default=0)

    def _raise_fence(self, folder: Path, term: int) -> None:
        before = list(folder.glob(f"{_FENCE}*")) if folder.is_dir() else []
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{_FENCE}{term}").touch()
        for path in before:
            if int(path.name.removeprefix(_FENCE)) < term:
                path.unlink(missing_ok=True)

    def _remove_before(self, folder: Path, term: int, tick: int, new: Path) -> None:
        for file in _files(folder):
            if (file.term < term or (file.term == term and file.tick <= tick)) and file.path != new:
                file.path.unlink(missing_ok=True)


def _files(folder: Path) -> list[_File]:
    return [file for path in folder.glob("*-*-*") if (file := _File.of(path)) is not None]


def _packed(frames: list[Frame]) -> Iterator[bytes | memoryview]:
    """Format, number of frames, their lengths and a checksum over all of them; then the frames."""
    views = [memoryview(frame).cast("B") for frame in frames]
    checksum = 0
    for view in views:
        checksum = zlib.crc32(view, checksum)
    yield FORMAT
    yield _LENGTH.pack(len(views)) + b"".join(_LENGTH.pack(len(v)) for v in views) + _LENGTH.pack(checksum)
    yield from views


def _unpacked(content: bytes) -> list[Frame]:
    at = len(FORMAT)
    (count,) = _LENGTH.unpack_from(content, at)
    lengths = [_LENGTH.unpack_from(content, at + _LENGTH.size * (n + 1))[0] for n in range(count)]
    at += _LENGTH.size * (count + 1)
    (checksum,) = _LENGTH.unpack_from(content, at)
    at += _LENGTH.size
    view = memoryview(content)
    if at + sum(lengths) != len(content) or zlib.crc32(view[at:]) != checksum:
        raise ValueError("it is cut short or was changed")
    frames: list[Frame] = []
    for length in lengths:
        frames.append(view[at : at + length])
        at += length
    return frames
