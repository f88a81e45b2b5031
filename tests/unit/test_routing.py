"""Routing state: replay is the same path as live data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from elastic.batch import Batch
from elastic.fingerprint import fingerprint
from elastic.keys import KeyInterval
from elastic.protocol import Credit, Deliver, Differs, Send, Subscribe
from elastic.state.buffer import BufferState
from elastic.state.routing import RoutingState

EDGE, PRODUCER = 7, 1
ALL, LEFT, RIGHT = KeyInterval(0, 4), KeyInterval(0, 2), KeyInterval(2, 4)
CONSUMER = Subscribe(EDGE, PRODUCER, 10, 3, ALL, after=0, version=1, serial=1, window_bytes=1 << 20)


def batch(*groups: int) -> Batch:
    return Batch(np.array(groups, np.uint16), None, [f"row of {g}" for g in groups])


def routing(*ticks: int) -> tuple[RoutingState, BufferState]:
    buffer = BufferState(4)
    for tick in ticks:
        buffer.append(tick, batch(0, 1, 3))
    return RoutingState(EDGE, PRODUCER, buffer), buffer


def subscribe(routes: RoutingState, message: Subscribe, *, closed: int = 9) -> tuple[bool, list[Send]]:
    return routes.subscribe(message, closed=closed, start=0)


def served(routes: RoutingState, closed: int, *, final: bool = False) -> list[Deliver]:
    sent = [send.message for send in routes.serve(closed, stable=0, final=final)]
    assert all(isinstance(message, Deliver) for message in sent)
    return sent


def ranges(deliveries: list[Deliver]) -> list[tuple[int, int, int]]:
    """First tick, last tick and number of rows of each."""
    return [(d.first, d.tick, 0 if d.batch is None else len(d.batch)) for d in deliveries]


def test_a_subscription_gets_all_that_lies_past_its_tick_and_then_what_comes() -> None:
    routes, buffer = routing(2, 5)
    subscribe(routes, replace(CONSUMER, after=2))

    assert ranges(served(routes, 6)) == [(3, 5, 3), (6, 6, 0)]
    buffer.append(8, batch(2))
    assert ranges(served(routes, 9)) == [(7, 8, 1), (9, 9, 0)]
    assert served(routes, 9) == []


def test_a_consumer_gets_the_rows_of_its_key_interval_and_every_closing() -> None:
    routes, _ = routing(2)
    subscribe(routes, replace(CONSUMER, interval=RIGHT))
    subscribe(routes, replace(CONSUMER, consumer=11, interval=LEFT))

    assert ranges(served(routes, 2)) == [(1, 2, 1), (1, 2, 2)]


def test_a_newer_version_supersedes_what_it_overlaps_and_an_older_one_is_refused() -> None:
    routes, _ = routing()
    subscribe(routes, replace(CONSUMER, consumer=20, version=1))
    subscribe(routes, replace(CONSUMER, consumer=21, version=2, interval=LEFT))

    assert [s.consumer for s in routes] == [21]
    assert subscribe(routes, replace(CONSUMER, consumer=20, version=1, serial=9)) == (False, [])
    assert [s.consumer for s in routes] == [21]


def test_neighbours_do_not_supersede_each_other() -> None:
    routes, _ = routing()
    subscribe(routes, replace(CONSUMER, consumer=20, version=2, interval=LEFT))
    subscribe(routes, replace(CONSUMER, consumer=21, version=1, interval=RIGHT))

    assert sorted(s.consumer for s in routes) == [20, 21]


def test_an_earlier_subscription_of_the_same_consumer_that_comes_late_is_ignored() -> None:
    routes, _ = routing(2)
    subscribe(routes, replace(CONSUMER, after=2, serial=4))

    subscribe(routes, replace(CONSUMER, after=0, serial=3))

    assert ranges(served(routes, 2)) == []


def test_a_subscription_from_below_the_trim_point_is_refused_aloud() -> None:
    routes, buffer = routing(2, 5)
    buffer.acknowledge(ALL, 2)

    assert subscribe(routes, replace(CONSUMER, after=1)) == (True, [])
    assert subscribe(routes, replace(CONSUMER, after=2)) == (False, [])


def test_rows_wait_for_credit_and_time_waits_with_them() -> None:
    routes, _ = routing(2, 5)
    subscribe(routes, replace(CONSUMER, window_bytes=1))
    (first,) = served(routes, 9)

    assert (first.tick, served(routes, 9)) == (2, [])
    routes.credit(Credit(EDGE, PRODUCER, CONSUMER.consumer, CONSUMER.serial, first.size_bytes))
    assert ranges(served(routes, 9)) == [(3, 5, 3), (6, 9, 0)]


def test_a_batch_larger_than_the_window_goes_out_when_nothing_is_under_way() -> None:
    routes, _ = routing(2)
    subscribe(routes, replace(CONSUMER, window_bytes=1))

    assert ranges(served(routes, 2)) == [(1, 2, 3)]


def test_credit_for_an_earlier_subscription_is_void() -> None:
    routes, _ = routing(2, 5)
    subscribe(routes, replace(CONSUMER, window_bytes=1, serial=2))
    served(routes, 9)

    routes.credit(Credit(EDGE, PRODUCER, CONSUMER.consumer, serial=1, consumed_bytes=1 << 20))

    assert served(routes, 9) == []


def test_unsent_bytes_are_those_that_wait_for_credit() -> None:
    routes, _ = routing(2, 5, 7)
    subscribe(routes, replace(CONSUMER, window_bytes=1))
    served(routes, 9)

    assert routes.unsent_bytes == 2 * batch(0, 1, 3).size_bytes


def test_what_is_replayed_for_others_does_not_count_as_unsent() -> None:
    """A successor replays ticks that this consumer is past: nothing of them will ever be sent to it."""
    routes, buffer = routing()
    subscribe(routes, replace(CONSUMER, after=9), closed=0)
    for tick in range(1, 6):
        buffer.append(tick, batch(0, 1, 3))
        assert served(routes, tick) == []

    assert routes.unsent_bytes == 0


def test_the_end_is_told_with_the_last_rows_or_alone() -> None:
    routes, _ = routing(5)
    subscribe(routes, CONSUMER)

    assert [(d.tick, d.final) for d in served(routes, 5, final=True)] == [(5, True)]
    subscribe(routes, replace(CONSUMER, after=5, serial=2))
    assert [(d.first, d.tick, d.final) for d in served(routes, 5, final=True)] == [(5, 5, True)]


def test_a_replay_that_gives_other_rows_is_told_to_who_saw_the_first() -> None:
    routes, buffer = routing()
    seen = ((2, fingerprint(batch(0, 1, 3))), (5, fingerprint(batch(1))))
    subscribe(routes, replace(CONSUMER, after=6, seen=seen), closed=0)
    buffer.append(2, batch(0, 1, 3))
    buffer.append(5, batch(3))

    assert routes.check(2, buffer.at(2)) == []
    ((worker, message),) = [(s.worker, s.message) for s in routes.check(5, buffer.at(5))]
    assert isinstance(message, Differs)
    assert (worker, message.consumer, message.tick) == (CONSUMER.worker, CONSUMER.consumer, 5)


def test_a_tick_that_lost_all_its_rows_in_the_replay_differs() -> None:
    routes, _ = routing()
    subscribe(routes, replace(CONSUMER, after=6, seen=((2, fingerprint(batch(1))),)), closed=0)

    assert len(routes.check(2, None)) == 1


def test_what_was_replayed_before_the_consumer_subscribed_is_compared_when_it_does() -> None:
    routes, _ = routing(2)

    _, found = subscribe(routes, replace(CONSUMER, after=6, seen=((2, fingerprint(batch(1))),)), closed=6)

    assert [type(s.message) for s in found] == [Differs]
