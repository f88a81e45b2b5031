"""What a stage of a DStream gives in an interval: made of what was shuffled to it, or of other intervals' datasets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeAlias

from dstream.flow import CHUNK_BYTES, Channel, Pipeline, Place
from dstream.logic import Content, Given, Logic, LogicContext, Read, SourceLogic
from dstream.pairs import Merging, merged, one, ordered, together
from elastic.batch import Column, Pairs, concat, rows, size_bytes
from elastic.instance.source import diverted
from elastic.plan import ERRORS
from elastic.state.processing import StateTable, dict_keys

ROWS, SNAPSHOT = "rows", "snapshot"
"""Views of a stage: what it gives in the interval; of one with state, all of its state after the interval. Of a source
``ERRORS`` is one too: the records that it diverts."""

How: TypeAlias = Literal["cogroup", "inner", "left", "right", "full"]


class Dataset(ABC):
    """One partition of a stage without its channels."""

    @abstractmethod
    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        """The rows of an interval, by view; those that nobody reads may be left out."""

    def full(self) -> StateTable | None:
        """The state; None for none."""
        return None

    def delta(self) -> StateTable | None:
        """What was written or deleted since the last ``full`` or ``delta``; None if that is not known."""
        return None

    def restore(self, table: StateTable) -> None:
        """Take over a full table."""
        raise NotImplementedError

    def __len__(self) -> int:
        return 0


MakeDataset: TypeAlias = Callable[[LogicContext], Dataset]


@dataclass(frozen=True)
class StageLogic:
    """A stage's dataset and the channels behind it; ``make`` gives the logic of one partition.

    Attributes:
        every: Only intervals that are multiples of this give rows.
    """

    dataset: MakeDataset
    channels: tuple[Channel, ...]
    every: int = 1

    def make(self, context: LogicContext) -> Logic:
        """The logic of one partition."""
        return DatasetLogic(self, context)


class DatasetLogic(Logic):
    """One partition of a stage: its dataset, and its channels one after the other."""

    def __init__(self, stage: StageLogic, context: LogicContext) -> None:
        self._dataset, self._stage = stage.dataset(context), stage
        self._pipelines = pipelines_of(stage.channels, context)
        self._wanted = frozenset(channel.view for channel in stage.channels)

    def compute(self, given: Given) -> Sequence[Content]:
        self.at = None
        views = self._dataset.compute(given, self._wanted)
        blocks: list[Content] = []
        idle = given.interval % self._stage.every and not given.final
        for number, (channel, pipeline) in enumerate(zip(self._stage.channels, self._pipelines, strict=True)):
            self.at = number
            if idle or number in given.without:
                blocks.append(())
                continue
            pipeline.add(views[channel.view], given.through)
            blocks.append(pipeline.block(given.through))
        return blocks

    def full(self) -> StateTable | None:
        return self._dataset.full()

    def delta(self) -> StateTable | None:
        return self._dataset.delta()

    def restore(self, table: StateTable) -> None:
        self._dataset.restore(table)

    def __len__(self) -> int:
        return len(self._dataset)


@dataclass(frozen=True)
class SourceRows:
    """A source's rows and the channels behind them; ``make`` gives the logic of one partition.

    Attributes:
        chunk_bytes: Rows go through the channels once they are about so much; meanwhile the worker does nothing else.
        diverts: Records that the source cannot read are diverted, and not skipped.
    """

    channels: tuple[Channel, ...]
    chunk_bytes: int = CHUNK_BYTES // 2
    diverts: bool = False

    def make(self, context: LogicContext) -> SourceLogic:
        """The logic of one partition."""
        return SourceRowsLogic(self, context)


class SourceRowsLogic(SourceLogic):
    """One partition of a source: what it reads goes through all channels a chunk at a time."""

    def __init__(self, source: SourceRows, context: LogicContext) -> None:
        self._source, self._context = source, context
        self._pipelines, self._chunk_bytes = pipelines_of(source.channels, context), source.chunk_bytes
        self._read: list[Column] = []
        self._diverted: list[Column] = []
        self._read_bytes = 0

    def feed(self, read: Read) -> None:
        context = self._context
        chunks = [(context.interval, chunk) for chunk in read.chunks]
        for output in diverted(
            context.runtime.operator, read.tick, chunks, context.failures, divert=self._source.diverts
        ):
            self._diverted.append(output.values)
        for chunk in read.chunks:
            if len(chunk.rows):
                self._read.append(chunk.rows)
                self._read_bytes += size_bytes(chunk.rows)
            if self._read_bytes >= self._chunk_bytes:
                self._run(read.tick)

    def take(self, given: Given) -> Sequence[Content]:
        self._run(given.through)
        blocks: list[Content] = []
        for number, pipeline in enumerate(self._pipelines):
            self.at = number
            blocks.append(() if number in self.without else pipeline.block(given.through))
        return blocks

    @property
    def size_bytes(self) -> int:
        return self._read_bytes + sum(pipeline.size_bytes for pipeline in self._pipelines)

    def _run(self, tick: int) -> None:
        views = {ROWS: concat(self._read) if self._read else [], ERRORS: concat(self._diverted or [[]])}
        self._read, self._read_bytes, self._diverted = [], 0, []
        for number, (channel, pipeline) in enumerate(zip(self._source.channels, self._pipelines, strict=True)):
            self.at = number
            if number not in self.without:
                pipeline.add(views[channel.view], tick)


def pipelines_of(channels: Sequence[Channel], context: LogicContext) -> list[Pipeline]:
    """An empty block for each channel of one partition."""
    runtime = context.runtime
    place = Place(context.partition, runtime.interval.low, runtime.key_groups, runtime.now)
    return [Pipeline(channel, place) for channel in channels]


def everything(given: Given) -> list[Content]:
    """All blocks of all inputs, oldest intervals first."""
    return [content for by_interval in given.inputs for partitions in by_interval for content in partitions]


@dataclass(frozen=True)
class Union(Dataset):
    """All rows of all inputs, as they come: a source, a union, a window, rows that were moved."""

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        return {ROWS: together(everything(given))}


@dataclass(frozen=True)
class Merged(Dataset):
    """One pair per key: its values merged, in canonical order of the keys."""

    merging: Merging
    key_groups: int

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        column = together(everything(given))
        if not isinstance(column, Pairs):
            return {ROWS: column}
        return {ROWS: ordered(merged(self.merging, column.keys, column.values, given.through), self.key_groups)}


@dataclass(frozen=True)
class Grouped(Dataset):
    """One pair per key: the list of its values, in the order of intervals, producers and positions."""

    key_groups: int

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        groups = by_key(together(everything(given)))
        return {ROWS: _in_order(list(groups), list(groups.values()), self.key_groups)}


@dataclass(frozen=True)
class Joined(Dataset):
    """Two inputs by key.

    Attributes:
        how: ``cogroup`` gives each key with both lists of values; the joins give each pair of values, None standing in
            for a side that has none where the join is an outer one.
        static: The right side, where it is the same in every interval.
    """

    how: How
    key_groups: int
    static: Mapping[Any, list[Any]] | None = None

    def compute(self, given: Given, wanted: frozenset[str]) -> Mapping[str, Column]:
        left = by_key(together([c for partitions in given.inputs[0] for c in partitions]))
        right: Mapping[Any, list[Any]]
        if self.static is None:
            right = by_key(together([c for partitions in given.inputs[1] for c in partitions]))
        else:
            right = {key: self.static[key] for key in left if key in self.static}
        keys = list(left) + [key for key in right if key not in left]
        column = _in_order(keys, [(left.get(key, []), right.get(key, [])) for key in keys], self.key_groups)
        if self.how == "cogroup":
            return {ROWS: column}
        found = [(key, pair) for key, both in rows(column) for pair in self._pairs(*both)]
        return {ROWS: Pairs(one([k for k, _ in found]), one([v for _, v in found]))}

    def _pairs(self, left: list[Any], right: list[Any]) -> list[tuple[Any, Any]]:
        if not right and self.how in {"left", "full"}:
            right = [None]
        if not left and self.how in {"right", "full"}:
            left = [None]
        return list(product(left, right))


def by_key(column: Column) -> dict[Any, list[Any]]:
    """The values of each key, in order."""
    groups: dict[Any, list[Any]] = {}
    if isinstance(column, Pairs):
        for key, value in zip(dict_keys(column.keys), rows(column.values), strict=True):
            groups.setdefault(key, []).append(value)
    return groups


def _in_order(keys: list[Any], values: list[Any], key_groups: int) -> Column:
    return ordered(Pairs(one(keys), values), key_groups) if keys else []
