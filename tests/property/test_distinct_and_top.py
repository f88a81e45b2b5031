"""Distinct rows and the first of all: what plain Python computes, however key space is cut and whatever is restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic import functions
from elastic.batch import rows
from elastic.keys import encode_key, key_group, key_hash
from elastic.operators.base import Output, ProcessorContext, TickInput
from elastic.operators.distinct import Distinct
from elastic.operators.stateless import Chain
from elastic.operators.top import ALL_TOGETHER, Leaders, Top
from elastic.plan import Edge
from elastic.state.processing import StateTable, cut_table, fold
from tests.examples import examples
from tests.property.test_operators import ALL, GROUPS, Row, Story, batches, inputs, keyed_edge, run, stories

FIRST, SECOND = functions.field(0), functions.field(1)
NAN = float("nan")

values = st.integers(-3, 3) | st.sampled_from(["a", "b", 1.0, -0.0, True, None, NAN])


def in_order(ticks: Sequence[Sequence[Row]]) -> Iterator[tuple[int, Any, Any]]:
    """(tick, key, value) in canonical order of what was emitted upstream."""
    for tick, tick_rows in enumerate(ticks, 1):
        for _, key, value in sorted(tick_rows, key=lambda r: r[0]):
            yield tick, key, value


def first_seen(ticks: list[list[Row]], ttl_ticks: int | None, key_of: Any, row_of: Any) -> list[tuple[int, int, str]]:
    seen: dict[bytes, int] = {}
    found = []
    for tick, key, value in in_order(ticks):
        own = key_of(key, value)
        code = encode_key(own)
        if code not in seen or (ttl_ticks is not None and seen[code] <= tick - ttl_ticks):
            seen[code] = tick
            found.append((tick, key_group(own, GROUPS), key_hash(own), repr(row_of(key, value))))
    return [(tick, group, row) for tick, group, _, row in sorted(found)]


@pytest.mark.parametrize("ttl_ticks", [None, 2])
@examples(50)
@given(data=st.data())
def test_the_first_row_of_a_key_is_emitted_once(ttl_ticks: int | None, data: st.DataObject) -> None:
    ticks = data.draw(inputs(values))
    story = data.draw(stories(len(ticks)))
    logic = Distinct(None if ttl_ticks is None else ttl_ticks * 10 - 5)

    found = run(logic, keyed_edge("first"), ticks, story)

    assert found == first_seen(ticks, ttl_ticks, lambda key, value: key, lambda key, value: value)


@examples(50)
@given(data=st.data())
def test_each_different_row_is_emitted_once(data: st.DataObject) -> None:
    ticks = data.draw(inputs(values))
    story = data.draw(stories(len(ticks)))
    edge = Edge(0, "in", "op", key=FIRST, keyed=True, combine="keys")

    found = run(Distinct(), edge, ticks, story)

    plain = first_seen(ticks, None, lambda key, value: key, lambda key, value: key)
    assert found == plain


@examples(50)
@given(data=st.data())
def test_each_different_value_of_a_key_is_emitted_once(data: st.DataObject) -> None:
    ticks = data.draw(inputs(values))
    story = data.draw(stories(len(ticks)))

    found = run(Distinct(), keyed_edge("pairs"), ticks, story)

    plain = first_seen(ticks, None, lambda key, value: (key, value), lambda key, value: (key, value))
    assert found == plain


def ranked(latest: dict[bytes, tuple[Any, Any]], k: int, by: Any) -> list[tuple[int, Any, Any]]:
    """The table that ``top_k`` stands for: place, key and latest value."""

    def rank(item: tuple[bytes, tuple[Any, Any]]) -> Any:
        return -float("inf") if by(item[1]) != by(item[1]) else by(item[1])

    order = sorted(sorted(latest.items(), key=lambda item: item[0]), key=rank, reverse=True)
    return [(n, key, value) for n, (_, (key, value)) in enumerate(order[:k], 1)]


class SecondLevel:
    """The one instance of the second level, which is checkpointed and restored at times."""

    def __init__(self, k: int) -> None:
        self._make = Top(k).make
        self._context = ProcessorContext("top", ALL, GROUPS, 10, 0.0, 0)
        self._instance = self._make(self._context)
        self._stored: StateTable | None = None
        self._chain = Chain(Edge(1, "op", "top", keyed=True, key=ALL_TOGETHER), GROUPS, tracked=False)

    def process(self, tick: int, outputs: list[Output]) -> list[Any]:
        pieces = [self._chain.run([(output, {})], tick) for output in outputs]
        slices = [(0, batch) for batch in pieces if batch is not None]
        found = self._instance.process(TickInput(tick, slices)) if slices else []
        return [row for output in found for row in rows(output.values)]

    def restart(self) -> None:
        self._stored = self._instance.full() if self._stored is None else fold(self._stored, [self._instance.delta()])
        self._instance = self._make(self._context)
        self._instance.restore(self._stored)


RANKINGS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "by value": (st.integers(-3, 9), None),
    "by odd numbers": (st.sampled_from([1.5, 1, 2**70, -(2**70), NAN, -0.0, 0, float("-inf"), True]), None),
    "by doubles": (st.sampled_from([1.5, NAN, -0.0, 0.0, float("-inf"), float("inf")]), None),
    "by text": (st.sampled_from(["", "a", "b", "ba"]), None),
    "by function": (st.integers(-3, 9), lambda row: -row[1]),
}


@pytest.mark.parametrize("ranking", RANKINGS)
@examples(50)
@given(data=st.data())
def test_the_first_of_all_are_those_of_a_sorted_list(ranking: str, data: st.DataObject) -> None:
    kind, by = RANKINGS[ranking]
    ticks = data.draw(inputs(kind))
    story = data.draw(stories(len(ticks)))
    k, every = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([0, 1, 3]))
    logic = Leaders(k, by, pairs=True, emit_ticks=every)
    firsts = {own: logic.make(ProcessorContext("op", own, GROUPS, 10, 0.0, 0)) for own in story.consumers}
    second = SecondLevel(k)
    shown: dict[int, Any] = {}
    latest: dict[bytes, tuple[Any, Any]] = {}

    for tick, tick_rows in enumerate(ticks, 1):
        final = tick == len(ticks)
        outputs: list[Output] = []
        given_batches = list(batches(keyed_edge("last"), story, tick, tick_rows))
        for interval, instance in firsts.items():
            slices = [(0, part) for b in given_batches if (part := b.slice(interval)) is not None]
            if slices or final or instance.due_after(tick - 1) == tick:
                outputs += instance.process(TickInput(tick, slices, final))
        changes = second.process(tick, outputs)
        for _, key, value in in_order([tick_rows]):
            code = encode_key(key)
            latest[code] = (latest[code][0] if code in latest else key, value)
        if tick in story.crashes:
            second.restart()
        if final or (every and tick % every == 0):
            shown |= {place: (place, key, value) for place, key, value in changes}
            expected = ranked(latest, k, by or SECOND)
            assert repr([shown[place] for place in sorted(shown)]) == repr(expected)
        else:
            assert changes == []


@examples(50)
@given(data=st.data())
def test_the_leaders_of_key_groups_do_not_depend_on_cuts_or_crashes(data: st.DataObject) -> None:
    ticks = data.draw(inputs(st.integers(-3, 9) | st.sampled_from([1.5, NAN])))
    story = data.draw(stories(len(ticks)))
    logic = Leaders(2, None, pairs=True, emit_ticks=data.draw(st.sampled_from([0, 1, 3])))

    plain = run(logic, keyed_edge(), ticks, Story())

    assert run(logic, keyed_edge("last"), ticks, story) == plain


def feed(distinct: Any, chain: Chain, tick: int, given_rows: list[int]) -> list[int]:
    batch = chain.run([(Output(np.zeros(len(given_rows), np.uint16), given_rows), {})], tick)
    assert batch is not None
    return [row for output in distinct.process(TickInput(tick, [(0, batch)])) for row in rows(output.values)]


def test_keys_that_are_too_old_are_thrown_away_and_are_new_when_they_come_again() -> None:
    context = ProcessorContext("op", ALL, GROUPS, 10, 0.0, 0)
    distinct = Distinct(ttl_ms=100).make(context)
    chain = Chain(Edge(0, "in", "op", keyed=True, combine="keys"), GROUPS, tracked=False)
    stored = distinct.full()

    for tick in range(1, 50):
        numbers = list(range(tick * 1000, tick * 1000 + 1000))
        found = feed(distinct, chain, tick, [*numbers, *numbers])
        stored = fold(stored, [distinct.delta()])
        assert sorted(found) == numbers

    assert 10_000 <= len(distinct) <= 21_000
    assert len(stored) == len(distinct)
    assert feed(distinct, chain, 50, [1000, 49_000]) == [1000]
    restored = Distinct(ttl_ms=100).make(context)
    restored.restore(cut_table(fold(stored, [distinct.delta()]), ALL))
    assert feed(restored, chain, 51, [1000, 49_000, 2000]) == [2000]


def test_where_no_checkpoint_is_taken_nobody_remembers_which_keys_were_thrown_away() -> None:
    distinct = Distinct(ttl_ms=100).make(ProcessorContext("op", ALL, GROUPS, 10, 0.0, 0))
    chain = Chain(Edge(0, "in", "op", keyed=True, combine="keys"), GROUPS, tracked=False)

    for tick in range(1, 50):
        feed(distinct, chain, tick, list(range(tick * 1000, tick * 1000 + 1000)))
        distinct.clean()

    delta = distinct.delta()
    assert delta.deleted_keys is None
    assert len(delta) == len(distinct) <= 21_000
