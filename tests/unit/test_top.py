"""Both levels of a ranking: what they emit when, and whose fault an error is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from elastic.batch import columnar, rows, sorted_batch
from elastic.errors import UserCodeError
from elastic.keys import KeyInterval, groups_of
from elastic.operators.base import Output, Processor, ProcessorContext, TickInput
from elastic.operators.stateless import Chain
from elastic.operators.top import ALL_TOGETHER, Leaders, Top
from elastic.plan import Edge

GROUPS = 4
CONTEXT = ProcessorContext("top", KeyInterval(0, GROUPS), GROUPS, 10, 0.0, 0)


class Ranking:
    """Both levels, with one instance each."""

    def __init__(self, k: int, by: Callable[[Any], Any] | None = None, *, pairs: bool = True, every: int = 1) -> None:
        self.first: Processor = Leaders(k, by, pairs, every).make(CONTEXT)
        self.second: Processor = Top(k).make(CONTEXT)
        self._chain = Chain(Edge(1, "op", "top", keyed=True, key=ALL_TOGETHER), GROUPS, tracked=False)
        self.sent: list[Output] = []

    def take(self, tick: int, *pairs: tuple[Any, Any], final: bool = False) -> list[Any]:
        keys = columnar([key for key, _ in pairs])
        batch = sorted_batch(groups_of(keys, GROUPS), keys, columnar([value for _, value in pairs]))
        self.sent = list(self.first.process(TickInput(tick, [(0, batch)] if pairs else [], final)))
        batches = [self._chain.run([(output, {})], tick) for output in self.sent]
        found = self.second.process(TickInput(tick, [(0, b) for b in batches if b is not None]))
        return [row for output in found for row in rows(output.values)]


def test_only_places_that_have_another_row_are_emitted() -> None:
    ranking = Ranking(3)

    assert ranking.take(1, ("a", 5), ("b", 7)) == [(1, "b", 7), (2, "a", 5)]
    assert ranking.take(2, ("c", 6)) == [(2, "c", 6), (3, "a", 5)]
    assert ranking.take(3, ("d", 1)) == []
    assert ranking.take(4, ("a", 9)) == [(1, "a", 9), (2, "b", 7), (3, "c", 6)]
    assert ranking.take(5, ("b", 0), ("a", 0)) == [(1, "c", 6), (2, "d", 1), (3, "a", 0)]


def test_ties_go_to_the_key_that_comes_first_in_canonical_order() -> None:
    assert Ranking(4).take(1, ("b", 1), ("a", 1), (2, 1), (None, 1)) == [
        (1, None, 1),
        (2, 2, 1),
        (3, "a", 1),
        (4, "b", 1),
    ]


def test_the_first_level_sends_only_groups_in_which_leaders_may_have_changed() -> None:
    ranking = Ranking(1)
    ranking.take(1, *((key, 10 + key) for key in range(40)))

    assert len(ranking.sent) == 1
    assert len(ranking.sent[0].groups) == GROUPS
    ranking.take(2, *((key, 9) for key in range(40, 80)))
    assert ranking.sent == []
    ranking.take(3, (100, 1000))
    assert [len(output.groups) for output in ranking.sent] == [1]


def test_changes_wait_for_the_tick_of_emission() -> None:
    ranking = Ranking(2, every=3)

    assert ranking.take(1, ("a", 1)) == ranking.take(2, ("a", 2)) == []
    assert ranking.first.due_after(2) == 3
    assert ranking.take(3) == [(1, "a", 2)]
    assert ranking.first.due_after(3) is None
    assert ranking.take(4, ("b", 5), final=True) == [(1, "b", 5), (2, "a", 2)]


def test_a_function_ranks_pairs_or_rows() -> None:
    assert Ranking(1, lambda row: -row[1]).take(1, ("a", 5), ("b", 7)) == [(1, "a", 5)]
    assert Ranking(1, lambda row: row["n"], pairs=False).take(1, ("a", {"n": 5}), ("b", {"n": 7})) == [
        (1, "b", {"n": 7})
    ]


@pytest.mark.parametrize("ranks", [("a", 1), ({}, {}), (1, None)])
def test_what_cannot_be_ranked_is_refused_with_what_to_write(ranks: tuple[Any, Any]) -> None:
    ranking = Ranking(5)

    with pytest.raises(UserCodeError, match=r"give top_k a function of what can be compared") as caught:
        ranking.take(7, *enumerate(ranks))

    assert (caught.value.operator, caught.value.tick) == ("top", 7)


def test_a_function_that_raises_is_named_with_its_row() -> None:
    with pytest.raises(UserCodeError, match="ZeroDivisionError") as caught:
        Ranking(5, lambda row: 1 // row[1]).take(7, ("a", 1), ("b", 0))

    assert caught.value.record == "('b', 0)"
