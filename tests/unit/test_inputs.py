"""The consumer's side of an edge: what is taken, what is dropped, and when it asks again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elastic.batch import Batch
from elastic.instance.inputs import Input
from elastic.keys import KeyInterval
from elastic.protocol import Ack, Command, Credit, Deliver, Nondeterministic, ProducerRef, Send, Subscribe, Tell, View

EDGE, ME = 7, 10
LEFT, RIGHT, ALL = KeyInterval(0, 2), KeyInterval(2, 4), KeyInterval(0, 4)
ONE, OTHER = ProducerRef(1, LEFT, 100), ProducerRef(2, RIGHT, 200)


def batch(*values: int) -> Batch:
    return Batch(np.zeros(len(values), np.uint16), None, list(values))


def view(version: int, *producers: ProducerRef) -> View:
    return View(1, ME, EDGE, version, producers)


def connected(
    *producers: ProducerRef, tau: int = 0, own: KeyInterval = ALL, memory_bytes: int = 1 << 30,
    narrow: bool = False, prompt: bool = False,
) -> Input:  # fmt: skip
    found = Input(
        EDGE, 0, ME, 3, own, 5, key_groups=4, memory_bytes=memory_bytes, keep_rows=True, narrow=narrow, prompt=prompt
    )
    found.on_view(view(1, *(producers or (ONE, OTHER))), tau)
    return found


def deliver(first: int, tick: int, *values: int, producer: int = 1, serial: int | None = None) -> Deliver:
    rows = batch(*values) if values else None
    serial = {1: 1, 2: 2}[producer] if serial is None else serial
    return Deliver(EDGE, producer, ME, serial, first, tick, rows, size_bytes=100 if values else 0, fingerprint=tick)


def subscriptions(commands: list[Command]) -> list[Subscribe]:
    return [c.message for c in commands if isinstance(c, Send) and isinstance(c.message, Subscribe)]


def values(found: Input, tick: int) -> list[list[int]]:
    return [list(b.values) for b in found.take(tick) if isinstance(b.values, list)]


def test_a_view_makes_it_subscribe_from_its_position_at_every_producer() -> None:
    found = Input(EDGE, 0, ME, 3, KeyInterval(0, 4), 5, key_groups=4, memory_bytes=1 << 30, keep_rows=False)

    asked = subscriptions(found.on_view(view(1, ONE, OTHER), 42))

    assert [(s.producer, s.after, s.version, s.consumer) for s in asked] == [(1, 42, 5, ME), (2, 42, 5, ME)]


def test_a_view_that_is_not_newer_changes_nothing() -> None:
    found = connected()

    assert found.on_view(view(1, ONE), 0) == []
    assert len(found.producers) == 2


def test_nothing_is_closed_while_the_producers_leave_a_gap() -> None:
    found = connected(ONE)
    found.on_deliver(deliver(1, 5))

    assert (found.complete, found.closed) == (False, -1)


def test_a_tick_is_closed_when_every_producer_has_closed_it() -> None:
    found = connected()
    found.on_deliver(deliver(1, 5))
    assert found.closed == 0

    found.on_deliver(deliver(1, 3, producer=2))

    assert found.closed == 3


def test_rows_are_taken_by_the_intervals_of_their_producers() -> None:
    found = connected(OTHER, ONE)
    found.on_deliver(deliver(1, 3, 20, producer=2, serial=2))
    found.on_deliver(deliver(1, 3, 10, producer=1, serial=1))

    assert values(found, 3) == [[10], [20]]


def test_what_was_delivered_already_is_dropped() -> None:
    found = connected()
    found.on_deliver(deliver(1, 3, 10))

    assert found.on_deliver(deliver(1, 3, 10)) == []

    assert values(found, 3) == [[10]]
    assert values(found, 3) == []


def test_a_gap_makes_it_subscribe_again_from_what_it_has() -> None:
    found = connected()
    found.on_deliver(deliver(1, 3, 10))

    (again,) = subscriptions(found.on_deliver(deliver(5, 6, 11)))

    assert (again.after, again.serial) == (3, 3)
    assert found.producers[1].closed == 3


def test_what_was_sent_for_an_earlier_subscription_is_dropped() -> None:
    found = connected()
    found.subscribe(found.producers[1])

    assert found.on_deliver(deliver(1, 3, 10, serial=1)) == []

    assert found.producers[1].closed == 0


def test_a_predecessor_is_forgotten_with_all_that_was_not_processed() -> None:
    found = connected()
    found.on_deliver(deliver(1, 3, 10))

    (asked,) = subscriptions(found.on_view(view(2, replace(ONE, instance=9), OTHER), 1))

    assert (asked.producer, asked.after) == (9, 1)
    assert values(found, 3) == []
    assert found.on_deliver(deliver(4, 5, 11)) == []


def test_a_successor_is_told_what_its_predecessor_delivered() -> None:
    found = connected()
    found.on_deliver(deliver(1, 3, 10))
    found.on_deliver(deliver(4, 6, 11))
    list(found.take(3))

    (asked,) = subscriptions(found.on_view(view(2, replace(ONE, instance=9), OTHER), 3))

    assert asked.seen == ((3, 3),)


def test_what_never_comes_again_need_not_be_remembered() -> None:
    found = connected()
    found.on_deliver(deliver(1, 3, 10))
    found.on_deliver(deliver(4, 6, 11))
    list(found.take(3))
    list(found.take(6))
    found.on_deliver(replace(deliver(7, 8), stable=3))

    (asked,) = subscriptions(found.on_view(view(2, replace(ONE, instance=9), OTHER), 6))

    assert (asked.seen_from, asked.seen) == (3, ((6, 6),))


def test_credit_is_given_for_what_was_consumed_and_not_for_what_waits() -> None:
    found = connected(memory_bytes=16 * 399)  # a window of 399 bytes
    found.on_deliver(deliver(1, 3, 10))
    assert found.credits() == []

    list(found.take(3))

    ((worker, credit),) = [(c.worker, c.message) for c in found.credits() if isinstance(c, Send)]
    assert (worker, credit) == (100, Credit(EDGE, 1, ME, 1, 100))
    assert found.credits() == []


def test_less_than_a_quarter_of_the_window_is_not_worth_a_message() -> None:
    found = connected(memory_bytes=16 * 401)
    found.on_deliver(deliver(1, 3, 10))

    list(found.take(3))

    assert found.credits() == []


def test_where_rows_keep_their_groups_only_producers_of_the_own_groups_count() -> None:
    found = connected(own=KeyInterval(0, 1), narrow=True)

    assert list(found.producers) == [1]
    found.on_deliver(deliver(1, 3, 10))
    assert (found.complete, found.closed) == (True, 3)
    assert {c.worker for c in found.acks(3) if isinstance(c, Send)} == {100}


def test_while_the_producers_leave_a_gap_nothing_is_closed_wherever_it_is() -> None:
    found = connected(ONE, own=KeyInterval(0, 1), narrow=True)

    assert (found.complete, found.closed) == (False, -1)


def test_a_source_that_has_just_sent_rows_is_not_asked_for_its_next_tick() -> None:
    found = connected(prompt=True)
    found.on_deliver(deliver(1, 3, 10))
    found.on_deliver(deliver(1, 4, 11, producer=2))

    assert found.wants(4) == []
    found.on_deliver(deliver(4, 5))  # it closes more without rows: from now on it closes what is asked for
    found.on_deliver(deliver(5, 6, 12, producer=2))
    assert [c.worker for c in found.wants(6) if isinstance(c, Send)] == [100]


def test_rows_that_waited_already_give_no_credit_to_a_new_subscription() -> None:
    found = connected()
    found.on_deliver(deliver(1, 3, 10))
    found.subscribe(found.producers[1])

    list(found.take(3))

    assert found.producers[1].consumed_bytes == 0


def test_a_tick_is_asked_for_once_and_again_after_a_new_subscription() -> None:
    found = connected()
    assert len(found.wants(5)) == 2
    assert found.wants(5) == []

    found.subscribe(found.producers[1])

    assert [c.worker for c in found.wants(5) if isinstance(c, Send)] == [100]


def test_a_new_producer_hears_at_once_what_is_safe_here() -> None:
    found = connected()
    found.acks(4)

    commands = found.on_view(view(2, replace(ONE, instance=9), OTHER), 4)

    assert Send(100, Ack(EDGE, 9, KeyInterval(0, 4), 4)) in commands


def test_a_difference_is_explained_by_the_first_row_that_differs() -> None:
    found = connected()
    found.on_deliver(replace(deliver(1, 3), batch=Batch(np.zeros(2, np.uint16), ["a", "b"], [1, 2])))
    list(found.take(3))

    told = found.explain("fold", 1, 3, Batch(np.zeros(2, np.uint16), ["a", "b"], [1, 7]))

    assert told == [Tell(Nondeterministic("fold", 3, "'b'", "2", "7"))]


def test_of_rows_that_only_serve_to_explain_a_difference_the_newest_are_kept_and_of_all_the_fingerprints() -> None:
    found = connected(memory_bytes=2 * 16 * 299)  # 299 bytes for each of two producers: two ticks
    for tick in range(1, 6):
        found.on_deliver(deliver(tick, tick, 10 * tick))
        list(found.take(tick))

    told = [explained(found, tick) for tick in range(1, 6)]
    (asked,) = subscriptions(found.on_view(view(2, replace(ONE, instance=9), OTHER), 5))

    assert told == ["", "", "", "40", "50"]
    assert asked.seen == tuple((tick, tick) for tick in range(1, 6))
    found.on_deliver(replace(deliver(6, 6, producer=2), stable=9))
    assert explained(found, 5, producer=9) == "50", "what another producer says"
    found.on_deliver(replace(deliver(6, 6, producer=1, serial=asked.serial), producer=9, stable=5))
    assert explained(found, 5, producer=9) == ""


def explained(found: Input, tick: int, producer: int = 1) -> str:
    """The row that was there before, as far as it is known."""
    (told,) = found.explain("fold", producer, tick, batch(0))
    assert isinstance(told, Tell)
    assert isinstance(told.message, Nondeterministic)
    return told.message.before
