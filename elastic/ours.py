"""Which files belong to this system, and so never hold a line of the user's."""

from __future__ import annotations

_FOLDERS = [__file__.rpartition("ours")[0]]


def add_ours(init: str) -> None:
    """The package whose ``__init__`` is this file belongs to the system too: an execution model beside this one."""
    _FOLDERS.append(init.rpartition("__init__")[0])


def is_ours(file: str) -> bool:
    """Whether a file belongs to the system."""
    return file.startswith(tuple(_FOLDERS))
