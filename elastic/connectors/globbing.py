"""Paths that match a pattern, without a look into folders that are left out.

The patterns of Python's ``glob`` with ``recursive=True``: ``**`` stands for any number of folders, and no wildcard
stands for a dot at a name's beginning. We differ: a folder is not entered again from inside of itself, by a link.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence


def matches(pattern: str, leave_out: Callable[[str], bool]) -> Iterator[str]:
    """The paths that match, in any order; some may come twice.

    Args:
        pattern: Relative to the working directory, or absolute.
        leave_out: Whether nothing in a folder is wanted.
    """
    root = os.sep if pattern.startswith(os.sep) else ""
    return _below(root, [part for part in pattern.split(os.sep) if part], leave_out, ())


def _below(
    folder: str, parts: Sequence[str], leave_out: Callable[[str], bool], above: Sequence[os.stat_result]
) -> Iterator[str]:
    """What matches the rest of a pattern in a folder, which was entered through those ``above`` it."""
    if not parts:
        if os.path.lexists(folder):
            yield folder
        return
    first, rest = parts[0], parts[1:]
    if not glob.has_magic(first):
        yield from _below(os.path.join(folder, first), rest, leave_out, above)
        return
    if first == "**" and rest:
        yield from _below(folder, rest, leave_out, above)
    is_match = re.compile(fnmatch.translate("*" if first == "**" else first)).match
    for path, is_folder in _entries(folder):
        name = os.path.basename(path)
        if not is_match(name) or (name.startswith(".") and not first.startswith(".")):
            continue
        if not rest:
            yield path
        if is_folder and (rest or first == "**") and not leave_out(path):
            here = os.stat(path)
            if not any(os.path.samestat(here, other) for other in above):
                left = parts if first == "**" else rest
                yield from _below(path, left, leave_out, (*above, here))


def _entries(folder: str) -> Iterator[tuple[str, bool]]:
    """Path of everything in a folder, and whether it is a folder itself; nothing if it cannot be read."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            found = [(os.path.join(folder, entry.name), entry.is_dir()) for entry in entries]
    except OSError:
        return
    yield from found
