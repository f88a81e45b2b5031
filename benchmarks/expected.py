"""What the jobs must give, counted in one pass by plain Python that shares no code with the system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

_BLOCK_BYTES = 1 << 24


def word_counts(path: Path) -> dict[str, int]:
    """How often each word is in the file."""
    counts: Counter[bytes] = Counter()
    for block in _line_blocks(path):
        counts.update(block.split())
    return {word.decode(): count for word, count in counts.items()}


def matching_lines(path: Path, text: str) -> int:
    """How many lines contain the text."""
    return sum(text.encode() in line for block in _line_blocks(path) for line in block.splitlines())


def key_sums(path: Path) -> dict[str, int]:
    """Sum of the values of each key, over lines ``key,value``."""
    sums: Counter[str] = Counter()
    for block in _line_blocks(path):
        for line in block.decode().splitlines():
            key, value = line.split(",")
            sums[key] += int(value)
    return dict(sums)


def difference(found: Mapping[str, int], expected: Mapping[str, int], times: int) -> str | None:
    """The first key whose number is not ``times`` the expected one, as a sentence; None if there is none."""
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key, 0) != expected.get(key, 0) * times:
            return f"{key!r} came out as {found.get(key, 0)}, expected {expected.get(key, 0) * times}"
    return None


def _line_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block + file.readline()
