"""Seeded records: any run of them can be made again, so they are replayed without having been kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elastic.batch import Column
from elastic.connectors.base import Chunk, Partition, Position, Rate, Reader, Source
from elastic.connectors.rate import RateLike, as_rate
from elastic.errors import QueryError
from elastic.surface import surface
from elastic.units import parse_count

Distribution: TypeAlias = Literal["zipf", "uniform"]
Ints: TypeAlias = npt.NDArray[np.int64]

RECORD_BYTES = 16
BLOCK_RECORDS = 1 << 15
"""Records made at once: enough to make NumPy's fixed costs small, few enough to stay in a core's cache."""

MOST = 1 << 32
"""Of keys, and of values: each is drawn from 32 random bits."""


@surface
def generator(
    keys: int | str = 100_000,
    *,
    distribution: Distribution = "zipf",
    exponent: float = 1.1,
    values: tuple[int, int] = (0, 1000),
    count: int | str | None = None,
    rate: RateLike = None,
    seed: int = 0,
) -> Generator:
    """A source of records ``{"key": int, "value": int}``, the same for the same arguments and number of partitions.

    Args:
        keys: Number of distinct keys, from 0; at most 2**32.
        distribution: Of the keys: ``uniform``, or ``zipf``, where key k is drawn in proportion to (k + 1) ** -exponent.
        exponent: Of ``zipf``; 0 is uniform.
        values: Range ``[low, high)`` from which values are drawn uniformly; at most 2**32 wide.
        count: Records in all, such as ``1_000_000`` or ``"1M"``; without end if None.
        rate: Such as ``"200k/s"`` or ``"4MiB/s"`` (16 bytes a record); as fast as it goes if None.
        seed: Another seed gives other records.

    Raises:
        QueryError: An argument is out of its range.
        UnitError: ``rate`` is no rate, or ``keys`` or ``count`` no count.
    """
    distinct = parse_count(keys)
    if not 1 <= distinct <= MOST:
        raise QueryError(f"generator(keys={keys!r}): expected a number from 1 to 2**32")
    if distribution not in get_args(Distribution):
        raise QueryError(f"generator(distribution={distribution!r}): expected 'zipf' or 'uniform'")
    if not (math.isfinite(exponent) and exponent >= 0):
        raise QueryError(f"generator(exponent={exponent!r}): expected a number from 0 up")
    low, high = values
    if not (0 < high - low <= MOST and low >= -(2**63) and high <= 2**63):
        raise QueryError(f"generator(values={values!r}): expected (low, high), low < high, at most 2**32 apart")
    records = None if count is None else parse_count(count)
    stream = Stream(distinct, exponent if distribution == "zipf" else 0.0, low, high - low, seed % 2**64)
    return Generator(stream, records, as_rate(rate))


@dataclass(frozen=True, slots=True)
class Stream:
    """What is drawn; ``exponent`` 0 is uniform."""

    keys: int
    exponent: float
    low: int
    span: int
    seed: int

    def block(self, partition: int, number: int) -> tuple[Ints, Ints]:
        """Keys and values of one block, from nothing but the arguments.

        Philox is a function of a key and a counter: here of (seed, partition) and the block's number. Its raw bits
        are the same in every release of NumPy, which the methods that draw from a distribution do not promise.
        """
        bits = np.random.Philox(key=[self.seed, partition], counter=[0, number, 0, 0]).random_raw(2 * BLOCK_RECORDS)
        keys, values = bits[:BLOCK_RECORDS], bits[BLOCK_RECORDS:]
        return self._draw_keys(keys), _below(self.span, values).view(np.int64) + self.low

    def _draw_keys(self, bits: npt.NDArray[np.uint64]) -> Ints:
        column = _below(self.keys, bits).view(np.int64)
        if self.exponent == 0:
            return column
        threshold, alias = alias_table(self.keys, self.exponent)
        return np.where(bits.astype(np.uint32) < threshold[column], column, alias[column])


def _below(limit: int, bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A number in [0, limit) from the upper 32 bits of each; the lower ones stay free for another draw."""
    return ((bits >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)


@lru_cache(maxsize=4)
def alias_table(keys: int, exponent: float) -> tuple[npt.NDArray[np.uint32], Ints]:
    """For drawing a Zipf key in constant time: draw a column; below its threshold it is the key, else its alias is.

    Source: Walker's alias method. Light keys fill up from heavy ones in order, so that who gets how much from whom
    follows from the running sums of what one kind lacks and the other has over: no loop, unlike Vose's two stacks.
    """
    weights = np.arange(1, keys + 1, dtype=np.float64) ** -exponent
    share = weights * (keys / weights.sum())  # 1 is what a column holds
    heavy = int(np.searchsorted(-share, -1.0, side="right"))  # the first keys, as weights fall
    over = np.cumsum(share[:heavy] - 1)
    lacking = np.cumsum(1 - share[heavy:])
    threshold, alias = share.copy(), np.arange(keys)
    if heavy < keys:
        before = np.concatenate(([0.0], lacking[:-1]))
        alias[heavy:] = np.minimum(np.searchsorted(over, before, side="right"), heavy - 1)
        emptied = np.searchsorted(lacking, over, side="left")  # by which light key each heavy one falls to 1 or below
        left = 1 + over - lacking[np.minimum(emptied, keys - heavy - 1)]
        threshold[:heavy] = np.where(emptied < keys - heavy, left, 1)
        alias[: heavy - 1] = np.arange(1, heavy)
    return np.clip(np.rint(threshold * 2.0**32), 0, 2**32 - 1).astype(np.uint32), alias


class Generator(Source):
    """Seeded records; made by ``generator``."""

    name = "generator"

    def __init__(self, stream: Stream, count: int | None, rate: Rate | None) -> None:
        self.stream, self.count, self.rate = stream, count, rate

    def partitions(self, count: int) -> Sequence[GeneratorPartition]:
        """One seeded stream for each partition; the records asked for are shared out evenly."""
        return [GeneratorPartition(f"{self.name}[{i}]", self.stream, i, self._share(i, count)) for i in range(count)]

    def _share(self, partition: int, of: int) -> int | None:
        if self.count is None:
            return None
        return self.count * (partition + 1) // of - self.count * partition // of


@dataclass(frozen=True, slots=True)
class GeneratorPartition(Partition):
    """One seeded stream, of ``count`` records or without end; a position is the number of records before it."""

    name: str
    stream: Stream
    number: int
    count: int | None

    @property
    def input_bytes(self) -> int | None:
        return None if self.count is None else self.count * RECORD_BYTES

    def open(self) -> GeneratorReader:
        return GeneratorReader(self)


class GeneratorReader(Reader):
    """Makes the records of one partition; keeps the newest block, since a slow rate takes it in many small reads."""

    def __init__(self, partition: GeneratorPartition) -> None:
        self._partition = partition
        self._number = -1
        self._block: tuple[Ints, Ints]
        self.seek(0)

    def seek(self, position: Position) -> None:
        assert isinstance(position, int)
        self._position = position
        self.finished = self._partition.count is not None and position >= self._partition.count

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        if self.finished:
            return None
        limits = [limit_bytes // RECORD_BYTES]
        if limit_records is not None:
            limits.append(limit_records)
        if self._partition.count is not None:
            limits.append(self._partition.count - self._position)
        records = max(1, min(limits))
        rows = self.reread(self._position, self._position + records)
        self.seek(self._position + records)
        return Chunk(rows, self._position, records * RECORD_BYTES, records)

    def reread(self, start: Position, end: Position) -> Column:
        assert isinstance(start, int)
        assert isinstance(end, int)
        parts = []
        while start < end:
            number, first = divmod(start, BLOCK_RECORDS)
            if number != self._number:
                self._block = self._partition.stream.block(self._partition.number, number)
                self._number = number
            last = min(BLOCK_RECORDS, first + end - start)
            parts.append([drawn[first:last] for drawn in self._block])
            start += last - first
        columns = [
            pa.array(np.concatenate(drawn) if len(drawn) > 1 else drawn[0]) for drawn in zip(*parts, strict=True)
        ]
        return pa.StructArray.from_arrays(columns or [pa.array([], pa.int64())] * 2, ["key", "value"])
