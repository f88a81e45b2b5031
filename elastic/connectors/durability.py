"""What survives a loss of power: files and folders that are on the disk itself, not only with the system."""

from __future__ import annotations

import os
from pathlib import Path


def sync_path(path: Path) -> None:
    """A file's contents, or a directory's entries, are on the disk.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
