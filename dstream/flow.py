"""What happens to the rows of a partition between two shuffles: pieces, pipelined in one task.

Rows lie in columns as far as possible. Pairs are rows of two fields; what works on keys and values gets them as two
columns, whatever way the rows were made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from dstream.logic import Content
from dstream.pairs import Merging, as_pairs, counted, keyed, merged, one
from elastic.batch import Batch, Column, Pairs, concat, rows, size_bytes, take
from elastic.operators.failure import user_error
from elastic.operators.steps import Flow, mapped, stepped
from elastic.plan import Step

CHUNK_BYTES = 4 << 20
"""Rows go through the pieces in chunks of about so much, which stay in the caches."""

MERGE_ROWS = 1 << 18
"""What chunks were merged to is merged again once it is so many rows."""

Kind: TypeAlias = Literal[
    "map", "filter", "flat_map", "map_values", "flat_map_values", "map_partitions", "map_partitions_with_index",
    "map_with_time", "count", "with_one", "merge", "timed",
]  # fmt: skip

WHOLE: frozenset[Kind] = frozenset({"map_partitions", "map_partitions_with_index", "map_with_time", "timed"})
"""What has to wait for the interval's end: for all rows of the partition, or to know when that is."""


@dataclass(frozen=True, eq=False)
class Piece:
    """One narrow step.

    Attributes:
        kind: What it does with its function.
        name: What errors call it, such as ``map(parse)``.
        function: The user's; of ``merge`` a ``Merging``, of ``timed`` what gives the pieces that stand there at a time.
    """

    kind: Kind
    name: str
    function: Any


@dataclass(frozen=True, eq=False)
class Channel:
    """An output of a stage: the pieces that follow it, and the shuffle that ends them, if one does.

    Attributes:
        view: Which of the stage's datasets it begins with.
        keyed: The rows are pairs, and go by their key.
        merging: Values of one key are merged before they go.
        step: What errors call the first of the steps that need pairs; those that read the same may be several.
    """

    view: str
    pieces: tuple[Piece, ...] = ()
    keyed: bool = False
    merging: Merging | None = None
    step: str = "a pair"

    @property
    def counts(self) -> bool:
        """Whether rows are counted at its end, each for one."""
        added = self.merging is not None and self.merging.exact == "sum"
        return added and bool(self.pieces) and self.pieces[-1].kind == "with_one"


@dataclass(frozen=True, slots=True)
class Place:
    """Which partition rows are in.

    Attributes:
        partition: Its number.
        low: Its first key group, where rows go that have no key.
        key_groups: Of the job.
        now: Unix time of a tick, seconds.
    """

    partition: int
    low: int
    key_groups: int
    now: Callable[[int], float]


class Pipeline:
    """A channel's block of an interval while it is made, piece by piece of what the stage gives.

    Rows go through the pieces in chunks; values of one key are merged in each chunk, and chunks with one another once
    they are many. What comes out depends on the rows and their order alone, if they are added in the same columns.
    """

    def __init__(self, channel: Channel, place: Place) -> None:
        self._channel, self._place = channel, place
        whole = next((n for n, piece in enumerate(channel.pieces) if piece.kind in WHOLE), len(channel.pieces))
        self._by_chunk, self._at_once = channel.pieces[:whole], channel.pieces[whole:]
        self._counts = channel.counts
        if self._counts:
            self._by_chunk = self._by_chunk[:-1]
        self._merges = channel.merging is not None and not self._at_once
        self._parts: list[Column] = []
        self._rows = self._merged_rows = 0

    def add(self, column: Column, tick: int) -> None:
        """Take rows in; errors name the tick.

        Raises:
            UserCodeError: A function of a piece raised, or gave what cannot be used.
        """
        for chunk in chunks(column):
            part = self._after(self._by_chunk, chunk, tick)
            if self._counts:
                part = counted(self._channel.pieces[-1].name, part, tick)
            elif not self._at_once:
                part = self._paired(part, tick)
            if len(part):
                self._parts.append(part)
                self._rows += len(part)
        if (
            self._channel.merging is not None
            and not self._at_once
            and self._rows >= max(MERGE_ROWS, 4 * self._merged_rows)
        ):
            self._merge(tick)

    def block(self, tick: int) -> Content:
        """The block of all that was added: one batch, of the interval's last tick. The next one begins.

        Raises:
            UserCodeError: As ``add``; functions of whole partitions are called here.
        """
        if self._at_once:
            column = self._after(self._at_once, concat(self._parts) if self._parts else [], tick)
            self._parts = [self._paired(column, tick)]
        elif self._merges and len(self._parts) > 1:
            self._merge(tick)
        column = concat(self._parts) if self._parts else []
        self._parts, self._rows, self._merged_rows = [], 0, 0
        return ((tick, self._batch(column, tick)),) if len(column) else ()

    @property
    def size_bytes(self) -> int:
        """Memory of what was added."""
        return sum(map(size_bytes, self._parts))

    def _after(self, pieces: Sequence[Piece], column: Column, tick: int) -> Column:
        for piece in pieces:
            column = apply(piece, column, tick=tick, place=self._place)
        return column

    def _paired(self, column: Column, tick: int) -> Column:
        """Keyed rows as pairs, values of one key merged if the channel says so."""
        if not self._channel.keyed or not len(column):
            return column
        pairs, merging = as_pairs(column, tick, self._step), self._channel.merging
        return pairs if merging is None else merged(merging, pairs.keys, pairs.values, tick)

    def _merge(self, tick: int) -> None:
        self._parts = [self._paired(concat(self._parts), tick)]
        self._rows = self._merged_rows = len(self._parts[0])

    def _batch(self, column: Column, tick: int) -> Batch:
        if not self._channel.keyed:
            return Batch(np.full(len(column), self._place.low, np.uint16), None, column)
        return keyed(as_pairs(column, tick, self._step), self._place.key_groups, tick, self._step)

    @property
    def _step(self) -> str:
        """What errors call the step that needs pairs."""
        return self._channel.step if self._channel.merging is None else self._channel.merging.name


def chunks(column: Column) -> Iterator[Column]:
    """The column in pieces that stay in the caches; at least one, which may be empty."""
    size = size_bytes(column)
    count = max(1, round(size / CHUNK_BYTES))
    length = len(column)
    for i in range(count):
        low, high = length * i // count, length * (i + 1) // count
        if count == 1:
            yield column
        elif isinstance(column, Pairs):
            yield Pairs(column.keys[low:high], column.values[low:high])
        else:
            yield column[low:high]


def apply(piece: Piece, column: Column, *, tick: int, place: Place) -> Column:
    """What a piece makes of the rows.

    Raises:
        UserCodeError: Its function raised, or gave what cannot be used.
    """
    match piece.kind:
        case "map" | "filter" | "flat_map":
            return stepped(Step(piece.kind, piece.name, piece.function, 0), Flow(column, None), tick).column
        case "count":
            return [len(column)]
        case "with_one":
            return Pairs(one(column), pa.array(np.ones(len(column), np.int64)))
        case "map_with_time":
            timed = partial(piece.function, place.now(tick))
            return stepped(Step("map", piece.name, timed, 0), Flow(column, None), tick).column
        case "timed":
            for each in piece.function(place.now(tick)):
                column = apply(each, column, tick=tick, place=place)
            return column
        case "merge":
            pairs = as_pairs(column, tick, piece.name)
            return merged(piece.function, pairs.keys, pairs.values, tick)
        case "map_values":
            pairs = as_pairs(column, tick, piece.name)
            return Pairs(pairs.keys, one(mapped(piece.name, piece.function, pairs.values, tick)))
        case "flat_map_values":
            return _flat_map_values(piece, as_pairs(column, tick, piece.name), tick)
        case "map_partitions" | "map_partitions_with_index":
            arguments: tuple[Any, ...] = (iter(rows(column)),)
            if piece.kind == "map_partitions_with_index":
                arguments = (place.partition, *arguments)
            return one(_listed(piece, arguments, column, tick))


def _flat_map_values(piece: Piece, pairs: Pairs, tick: int) -> Column:
    lists = [list(v) for v in rows(mapped(piece.name, piece.function, pairs.values, tick))]
    index = np.repeat(np.arange(len(lists)), [len(values) for values in lists])
    return Pairs(one(take(pairs.keys, index)), one(list(chain.from_iterable(lists))))


def _listed(piece: Piece, arguments: tuple[Any, ...], column: Column, tick: int) -> list[Any]:
    try:
        found: Iterable[Any] = piece.function(*arguments)
        return list(found)
    except Exception as error:
        raise user_error(piece.name, tick, f"a partition of {len(column)} rows", error) from error
