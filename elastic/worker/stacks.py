"""Where a thread is, in lines that a user can act on: their own, and not how the system got there."""

from __future__ import annotations

import linecache
import re
import sys
import sysconfig
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from elastic.ours import is_ours

Frame: TypeAlias = tuple[str, int, str]
"""File, line, function."""

MOST_LINES = 8
FEWEST_LINES = 3
"""Of the system's own code, where none of the user's is in it."""

TAKEN_BACK_S = 0.5
"""By then the watchdog of a process that can go on has emptied the file again."""

_NOT_THE_USERS = (
    *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    "<frozen ",
)
_DUMPED = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)')


def frames_of(thread: int) -> list[Frame]:
    """The frames of a thread as of now, outermost first; none if it has ended."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 (documented, in spite of its name)
    return [] if frame is None else [(f.filename, f.lineno or 0, f.name) for f in traceback.extract_stack(frame)]


def in_lines(frames: Sequence[Frame]) -> tuple[tuple[str, ...], bool]:
    """The user's own frames, innermost last, and whether there are any; if not, the innermost ones of all."""
    users = [frame for frame in frames if not is_ours(frame[0]) and not frame[0].startswith(_NOT_THE_USERS)]
    chosen = users[-MOST_LINES:] or frames[-FEWEST_LINES:]
    return tuple(map(_line, chosen)), bool(users)


def reads(frames: Sequence[Frame]) -> bool:
    """Whether a source's reader is being called."""
    return any(is_ours(file) and name in {"_read_feed", "reread"} for file, _, name in frames)


def dumped(text: str) -> list[Frame]:
    """The frames of the thread that ``faulthandler`` wrote last, outermost first."""
    _, _, newest = text.rpartition("Stack (most recent call first):")
    found = [(m["file"], int(m["line"]), m["name"]) for m in _DUMPED.finditer(newest)]
    return found[::-1]


def held_by(path: Path) -> tuple[tuple[str, ...], bool] | None:
    """What ``in_lines`` makes of the stack in a file; None if there is none.

    None too while it is quite new: a process that was stopped, and goes on, writes one and takes it back at once.
    """
    try:
        if time.time() - path.stat().st_mtime < TAKEN_BACK_S:
            return None
        frames = dumped(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return in_lines(frames) if frames else None


def _line(frame: Frame) -> str:
    file, line, name = frame
    source = linecache.getline(file, line).strip()
    return f"{file}, line {line}, in {name}" + (f": {source}" if source else "")
