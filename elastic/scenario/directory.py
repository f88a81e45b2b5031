"""The job directory: made anew for each run, and used by one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from elastic.cluster.remote import tidy_up_after_the_dead
from elastic.errors import UserError

MARKER = "job.lock"
"""A directory with this file is a job directory, and may be emptied; whoever holds a lock on it runs there."""


@contextlib.contextmanager
def claimed_directory(directory: Path, *, resume: bool = False) -> Iterator[None]:
    """The directory exists, is empty but for its marker, and belongs to this process until the block is left.

    What the run leaves in it stays until the next run. The lock goes with the process, however that ends.

    Args:
        directory: Where the job is run.
        resume: Leave in it what there is.

    Raises:
        UserError: A job runs there, the directory is something else's, or it cannot be made.
    """
    if resume and not (directory / MARKER).exists():
        raise UserError(f"there is nothing to resume in {directory}: run the job without --resume")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (directory / MARKER).exists() and any(directory.iterdir()):
            raise UserError(f"{directory} has files in it and is no job directory; name another, or an empty one")
        marker = os.open(directory / MARKER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(f"job directory {directory} cannot be made: {error.strerror}; name another") from None
    try:
        _lock(marker, directory)
        tidy_up_after_the_dead(directory)
        if not resume:
            _empty(directory)
        yield
    finally:
        os.close(marker)


def _lock(marker: int, directory: Path) -> None:
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(marker, 20, 0).decode() or "unknown"
        raise UserError(
            f"a job runs in {directory} already (process {owner}); wait for it, or name another directory"
        ) from None
    os.ftruncate(marker, 0)
    os.pwrite(marker, f"{os.getpid()}".encode(), 0)


def _empty(directory: Path) -> None:
    """Only the marker is left."""
    for path in directory.iterdir():
        if path.name == MARKER:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
