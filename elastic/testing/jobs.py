"""Queries that are hard to get right: an order-sensitive operator, two inputs, a diamond, several partitions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import from_list
from elastic.operators.base import Context, Operator, ValueState
from elastic.plan import Settings
from elastic.query import Query


class Fold(Operator):
    """Hashes every value into the key's state: another order of rows, a lost or a repeated one gives another hash."""

    def process(self, key: Any, value: Any, state: ValueState, ctx: Context) -> Iterator[tuple[Any, int]]:
        """Emit the new hash."""
        folded = crc32(repr((state.get() or 0, ctx.input, ctx.tick, value)).encode())
        state.set(folded)
        yield key, folded


def random_query(seed: int) -> tuple[Query, Settings]:
    """A diamond: S feeds a fold and a count under different keys, both feed another fold, which feeds the sink."""
    chance = random.Random(f"job {seed}")
    records = [(chance.randrange(25), chance.randrange(5)) for _ in range(chance.choice((80, 150)))]
    query = Query("simulated")
    pairs = query.source(from_list(records, rate=f"{chance.choice((150, 250))}/s"), name="S")
    folded = pairs.key_by(_first).apply(Fold(), name="A")
    counted = pairs.filter(_is_odd).key_by(_first_of_eleven).count(emit=chance.choice(("tick", "50ms")), name="C")
    both = folded.key_by(_first_of_seven).union(counted.key_by(_first_of_five)).apply(Fold(), name="B")
    both.sink(DiscardSink(), name="K")
    memory = chance.choice((512 << 20, 512 << 20, 4 << 10))
    checkpoint = chance.choice((60, 100, 200))
    return query, Settings(tick_ms=10, checkpoint_ms=checkpoint, key_groups=16, memory_bytes=memory, seed=seed)


def _first(row: tuple[int, int]) -> int:
    return row[0]


def _is_odd(row: tuple[int, int]) -> bool:
    return row[1] % 2 == 1


def _first_of_eleven(row: tuple[int, int]) -> int:
    return row[0] % 11


def _first_of_seven(row: tuple[int, int]) -> int:
    return row[0] % 7


def _first_of_five(row: tuple[int, int]) -> int:
    return row[0] % 5
