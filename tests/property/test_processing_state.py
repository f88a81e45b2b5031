"""Folding, cutting and joining state tables lose nothing, repeat nothing, and go by Python's equality of keys."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elastic.batch import columnar, rows
from elastic.keys import KeyInterval, encode_key, groups_of
from elastic.state.processing import StateTable, cut_table, fold, join_tables, merge_deltas

GROUPS = 8
NAN = float("nan")

#: Of one type, so that they make a typed column, or of several.
some_keys = st.one_of(
    st.lists(st.integers(-3, 3) | st.integers(-(2**70), 2**70)),
    st.lists(st.text("aß\0", max_size=9)),
    st.lists(st.sampled_from([0.0, -0.0, 1.0, NAN, float("nan"), 2.5])),
    st.lists(st.booleans()),
    st.lists(st.sampled_from([1, 1.0, True, 0, False, -0.0, None, "", b"", (1, "a"), (True, "a"), (NAN,), NAN])),
)
Delta = tuple[list[Any], list[Any]]  # keys set, keys deleted
deltas = st.lists(st.tuples(some_keys, some_keys), max_size=4)


def different(keys: list[Any]) -> list[Any]:
    return list({encode_key(key): key for key in keys}.values())


def table(keys: list[Any], deleted: list[Any], label: str) -> StateTable:
    keys = different(keys)
    kept = {encode_key(key) for key in keys}
    deleted = [key for key in different(deleted) if encode_key(key) not in kept]
    column, gone = columnar(keys), columnar(deleted)
    fields = {"value": columnar([f"{label}{i}" for i in range(len(keys))]), "size": columnar(list(range(len(keys))))}
    if not deleted:
        return StateTable(groups_of(column, GROUPS), column, fields)
    return StateTable(groups_of(column, GROUPS), column, fields, groups_of(gone, GROUPS), gone)


def replayed(tables: list[StateTable]) -> dict[bytes, tuple[Any, ...]]:
    state: dict[bytes, tuple[Any, ...]] = {}
    for t in tables:
        for key in rows(t.deleted_keys or []):
            state.pop(encode_key(key), None)
        state |= entries(t)
    return state


def entries(t: StateTable) -> dict[bytes, tuple[Any, ...]]:
    found = {
        encode_key(key): entry
        for key, *entry in zip(rows(t.keys), t.groups.tolist(), *map(rows, t.fields.values()), strict=True)
    }
    assert len(found) == len(t), "some key is there twice"
    return found  # type: ignore[return-value]


def tables(given_deltas: list[Delta]) -> list[StateTable]:
    return [table(written, gone, f"delta {n}:") for n, (written, gone) in enumerate(given_deltas)]


@given(base=some_keys, given_deltas=deltas)
def test_folding_gives_what_replaying_the_deltas_gives(base: list[Any], given_deltas: list[Delta]) -> None:
    start, later = table(base, [], "base:"), tables(given_deltas)

    folded = fold(start, later)

    assert entries(folded) == replayed([start, *later])
    assert folded.deleted_keys is None


@given(base=some_keys, given_deltas=deltas.filter(bool), at=st.integers(0, 4))
def test_deltas_merged_first_fold_to_the_same(base: list[Any], given_deltas: list[Delta], at: int) -> None:
    start, later = table(base, [], "base:"), tables(given_deltas)
    parts = [merge_deltas(part) for part in (later[:at], later[at:]) if part]

    assert entries(fold(start, parts)) == entries(fold(start, later))
    assert entries(fold(start, [merge_deltas(later)])) == entries(fold(start, later))


@given(keys=some_keys, deleted=some_keys, inner=st.sets(st.integers(1, GROUPS - 1)))
def test_the_parts_of_a_table_add_up_to_it(keys: list[Any], deleted: list[Any], inner: set[int]) -> None:
    whole = table(keys, deleted, "")
    bounds = [0, *sorted(inner), GROUPS]
    intervals = [KeyInterval(low, high) for low, high in pairwise(bounds)]

    parts = [cut_table(whole, interval) for interval in intervals]

    assert all(set(p.groups.tolist()) <= set(range(*i)) for p, i in zip(parts, intervals, strict=True))
    assert entries(join_tables(parts)) == entries(whole)
    assert sorted(map(encode_key, rows(join_tables(parts).deleted_keys or []))) == sorted(
        map(encode_key, rows(whole.deleted_keys or []))
    )


@given(keys=some_keys, given_deltas=deltas, low=st.integers(0, GROUPS), high=st.integers(0, GROUPS))
def test_it_does_not_matter_whether_tables_are_cut_before_or_after_folding(
    keys: list[Any], given_deltas: list[Delta], low: int, high: int
) -> None:
    interval = KeyInterval(min(low, high), max(low, high))
    start, later = table(keys, [], "base:"), tables(given_deltas)

    first = fold(cut_table(start, interval), [cut_table(delta, interval) for delta in later])

    assert entries(first) == entries(cut_table(fold(start, later), interval))


def test_the_size_of_a_table_counts_every_column() -> None:
    keys = columnar([1, 2])
    one = StateTable(np.zeros(2, np.uint16), keys, {"a": keys}, np.zeros(2, np.uint16), keys)

    assert one.size_bytes == 2 * 4 + 3 * 16
