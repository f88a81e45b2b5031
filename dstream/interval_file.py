"""``intervals.jsonl`` of a job directory: a line of figures for each interval that is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INTERVALS = "intervals.jsonl"

TAIL_BYTES = 256 << 10
"""The report's figures are kept once a second; far fewer bytes than this are written meanwhile."""


class IntervalFile:
    """Of each interval one line, however many coordinators write to it.

    Args:
        path: Made if it is not there; a line that its writer did not finish is cut off.

    Attributes:
        newest: The last lines that were there.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        start = self._file.seek(max(0, size - TAIL_BYTES))
        *lines, torn = self._file.read().split(b"\n")
        self._file.truncate(size - len(torn))
        self.newest: list[dict[str, Any]] = [json.loads(line) for line in lines[1 if start else 0 :]]
        self._last = self.newest[-1]["interval"] if self.newest else 0

    def add(self, figures: Mapping[str, Any]) -> None:
        """One more is complete."""
        if figures["interval"] > self._last:
            self._file.write(json.dumps(figures).encode() + b"\n")

    def close(self) -> None:
        """Release the file."""
        self._file.close()
