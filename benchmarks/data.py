"""Benchmark input: the same bytes on every machine for the same sizes, made once and kept outside the repository."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

LINE_BYTES = 100
"""Length of every line of text, newline included."""
DISTINCT_WORDS = 100_000
_LONGEST = 11
_VERSION = 2
_CHUNK_LINES = 50_000

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Words:
    """A vocabulary whose i-th word is the i-th most frequent: in Zipf's law its share is proportional to 1 / (i + 1).

    Attributes:
        letters: One row per word, padded with spaces to ``_LONGEST + 1`` bytes.
        lengths: Letters of each word, 1 to ``_LONGEST``; frequent words are short, as in a language.
    """

    letters: Bytes
    lengths: Ints

    def text(self, rank: int) -> str:
        """The word of a rank."""
        return bytes(self.letters[rank, : self.lengths[rank]]).decode()


def vocabulary(distinct: int = DISTINCT_WORDS, seed: int = 1) -> Words:
    """``distinct`` different words of lower-case letters, with every length from 1 to ``_LONGEST`` among them."""
    rng = np.random.default_rng(seed)
    lengths = 2 + 0.42 * np.log2(np.arange(distinct) + 1) + rng.uniform(-1, 1.5, distinct)
    wanted = np.clip(np.rint(lengths), 2, _LONGEST).astype(np.int64)
    wanted[3], wanted[1 - _LONGEST :] = 1, np.arange(2, _LONGEST + 1)  # some of each, for the ends of lines
    letters = np.full((distinct, _LONGEST + 1), ord(" "), np.uint8)
    for length in range(1, _LONGEST + 1):
        ranks = np.flatnonzero(wanted == length)
        chosen = _different(len(ranks), 26**length, rng)
        for column in range(length):
            letters[ranks, column] = ord("a") + chosen % 26
            chosen //= 26
    return Words(letters, wanted)


def _different(count: int, below: int, rng: np.random.Generator) -> Ints:
    """``count`` different numbers below ``below``, in random order."""
    if count > below // 4:
        return rng.permutation(below)[:count].astype(np.int64)
    found = np.unique(rng.integers(0, below, 2 * count + 16))
    return rng.permutation(found)[:count]


def _zipf_table(distinct: int) -> npt.NDArray[np.int32]:
    """Ranks, each as often as its share: a uniform index into it is a Zipf draw (exponent 1)."""
    shares = np.cumsum(1 / np.arange(1, distinct + 1))
    slots = 1 << 22
    points = (np.arange(slots) + 0.5) / slots * shares[-1]
    ranks: npt.NDArray[np.int32] = np.searchsorted(shares, points).astype(np.int32)
    return ranks


def text_file(lines: int, *, distinct: int = DISTINCT_WORDS, seed: int = 1, directory: Path | None = None) -> Path:
    """A file of ``lines`` lines of 100 bytes, Zipf words with single spaces between; about 16 words a line."""
    name = f"text-{lines}-{distinct}-{seed}-v{_VERSION}.txt"

    def write(file: BinaryIO) -> None:
        words, table = vocabulary(distinct, seed), _zipf_table(distinct)
        by_length = [np.flatnonzero(words.lengths == n) for n in range(_LONGEST + 1)]
        rng = np.random.default_rng(seed + 1)
        for start in range(0, lines, _CHUNK_LINES):  # noqa: FURB122 (each chunk is large; this reads better)
            file.write(_text(min(_CHUNK_LINES, lines - start), words, table, by_length, rng))

    return _cached(name, write, directory)


def _text(
    lines: int, words: Words, table: npt.NDArray[np.int32], by_length: list[Ints], rng: np.random.Generator
) -> bytes:
    """Lines that are filled from the left; a last word of just the right length makes each exactly 100 bytes."""
    most = LINE_BYTES // 2 + 1
    drawn = table[rng.integers(0, len(table), (lines, most))].astype(np.int64)
    ends = np.cumsum(words.lengths[drawn] + 1, axis=1)
    fits = (ends <= LINE_BYTES).sum(axis=1)
    row = np.arange(lines)
    room = LINE_BYTES - ends[row, fits - 1]
    tight = room == 1  # no word is that short: its left neighbour makes room
    fits -= tight
    room = LINE_BYTES - np.where(fits > 0, ends[row, fits - 1], 0)
    for length in range(1, _LONGEST + 1):
        here = np.flatnonzero(room == length + 1)
        drawn[here, fits[here]] = rng.choice(by_length[length], len(here))
    fits += room > 0
    flat = drawn[np.arange(most) < fits[:, None]]
    letters, sizes = words.letters[flat], words.lengths[flat] + 1
    text = letters[np.arange(_LONGEST + 1) < sizes[:, None]]
    text[LINE_BYTES - 1 :: LINE_BYTES] = ord("\n")
    joined: bytes = text.tobytes()
    return joined


def rare_word(distinct: int = DISTINCT_WORDS, seed: int = 1) -> str:
    """A word that about one line in twenty thousand has."""
    words = vocabulary(distinct, seed)
    long = np.flatnonzero(words.lengths >= 9)
    return words.text(int(long[np.searchsorted(long, distinct * 3 // 5)]))


def record_file(records: int, kind: Literal["json_lines", "csv"], *, directory: Path | None = None) -> Path:
    """A file of records ``user``, ``amount``, ``ok``, ``n``, as JSON lines or as CSV without a header; n < 1000."""
    shape = (
        '{{"user":"user-{0}","amount":{1}.5,"ok":{2},"n":{3}}}\n'
        if kind == "json_lines"
        else "user-{0},{1}.5,{2},{3}\n"
    )

    def write(file: BinaryIO) -> None:
        for low in range(0, records, _CHUNK_LINES):
            numbers = range(low, min(low + _CHUNK_LINES, records))
            lines = (shape.format(n * 7919 % 100_003, n, "false" if n % 3 else "true", n % 1000) for n in numbers)
            file.write("".join(lines).encode())

    return _cached(f"records-{kind}-{records}-v{_VERSION}", write, directory)


def keyed_file(records: int, *, keys: int = 100_000, seed: int = 1, directory: Path | None = None) -> Path:
    """A file of ``key,value`` lines: ``keys`` different keys like ``k00042``, drawn evenly; values 0 to 999."""
    name = f"keyed-{records}-{keys}-{seed}-v{_VERSION}.txt"

    def write(file: BinaryIO) -> None:
        rng = np.random.default_rng(seed)
        for start in range(0, records, 1_000_000):
            count = min(1_000_000, records - start)
            chosen, values = rng.integers(0, keys, count).tolist(), rng.integers(0, 1000, count).tolist()
            file.write("".join([f"k{k:05d},{v}\n" for k, v in zip(chosen, values, strict=True)]).encode())

    return _cached(name, write, directory)


def cache_directory() -> Path:
    """Where inputs are kept: ``$XDG_CACHE_HOME/elastic-benchmarks``, or below the temporary directory."""
    home = os.environ.get("XDG_CACHE_HOME") or (
        Path.home() / ".cache" if "HOME" in os.environ else tempfile.gettempdir()
    )
    return Path(home) / "elastic-benchmarks"


def _cached(name: str, write: Callable[[BinaryIO], None], directory: Path | None) -> Path:
    """The file of that name; written under another name first, so that an interrupted run leaves no half of one."""
    directory = directory or cache_directory()
    path = directory / name
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=name, delete=False) as file:
            try:
                write(file)  # type: ignore[arg-type]
            except BaseException:
                Path(file.name).unlink()
                raise
        Path(file.name).replace(path)
    return path
