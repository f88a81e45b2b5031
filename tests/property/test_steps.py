"""Steps before and after a key: what plain Python gives, in rows and in columns, however a tick is cut into pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic import functions
from elastic.batch import Column, Pairs, columnar, rows
from elastic.connectors.discard import DiscardSink
from elastic.connectors.from_list import from_list
from elastic.operators.base import Output
from elastic.operators.stateless import Chain
from elastic.plan import Edge
from elastic.query import Query
from elastic.streams import Stream

GROUPS = 8
Rows = list[tuple[Any, Any]]

texts = st.text("aAb ", max_size=6)
ints = st.integers(-9, 9)
records = st.lists(st.tuples(st.sampled_from(["k", "l", "m"]), texts), max_size=30)


def edge_of(build: Callable[[Stream], Any]) -> Edge:
    """The first edge of a query."""
    query = Query("job")
    build(query.source(from_list([1])))
    return query.plan(workers=1).edges[0]


def run(edge: Edge, given_rows: Rows, sizes: list[int], *, typed: bool) -> Rows:
    """(key, value) of all rows that the edge carries, key by key in their order."""
    pieces: list[tuple[Output, Any]] = []
    at = 0
    while at < len(given_rows):
        part = given_rows[at : at + sizes[len(pieces) % len(sizes)]]
        at += len(part)
        column: Column = list(part)
        if typed:
            column = Pairs(columnar([key for key, _ in part]), columnar([value for _, value in part]))
        pieces.append((Output(np.zeros(len(part), np.uint16), column), {}))
    batch = Chain(edge, GROUPS, tracked=not edge.keyed).run(pieces, 1)
    if batch is None:
        return []
    assert batch.groups.tolist() == sorted(batch.groups.tolist())
    found = rows(batch.values)
    return found if batch.keys is None else list(zip(rows(batch.keys), found, strict=True))


def by_key(pairs: Rows) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


FORMS: list[tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[Any], Any]]] = [
    (functions.upper(), functions.contains("A"), functions.split()),
    (lambda text: text.upper(), lambda text: "A" in text, lambda text: text.split()),
    (lambda text: text.upper(), lambda text: text.count("A"), lambda text: iter(text.split())),
]


@pytest.mark.parametrize("form", range(len(FORMS)))
@given(records, st.lists(st.integers(1, 9), min_size=1, max_size=3), st.booleans())
def test_steps_after_the_key_give_what_python_gives(form: int, given_rows: Rows, sizes: list[int], typed: Any) -> None:
    upper, has_a, split = FORMS[form]
    first, second = functions.field(0), functions.field(1)

    def build(stream: Stream) -> None:
        keyed = stream.key_by(first).map_values(second).map_values(upper).filter(has_a).flat_map_values(split)
        keyed.reduce(max).sink(DiscardSink())

    found = run(edge_of(build), given_rows, sizes, typed=typed)

    expected = [(key, word) for key, text in given_rows if "A" in text.upper() for word in text.upper().split()]
    assert by_key(found) == by_key(expected)


@pytest.mark.parametrize("form", range(len(FORMS)))
@given(records, st.lists(st.integers(1, 9), min_size=1, max_size=3), st.booleans())
def test_steps_on_pairs_give_what_python_gives(form: int, given_rows: Rows, sizes: list[int], typed: Any) -> None:
    upper, _, split = FORMS[form]
    edge = edge_of(lambda stream: stream.map_values(upper).flat_map_values(split).sink(DiscardSink()))

    found = run(edge, given_rows, sizes, typed=typed)

    assert found == [(key, word) for key, text in given_rows for word in text.upper().split()]
