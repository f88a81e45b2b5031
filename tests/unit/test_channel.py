"""Messages between the command and the parent of its processes."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from elastic.cluster.channel import Channel

MANY = 2_000
"""Of a kilobyte each: more than any socket holds."""


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    pair = socket.socketpair()
    ends = Channel(pair[0]), Channel(pair[1])
    yield ends
    for end in ends:
        end.close()


def send_many(end: Channel) -> None:
    for number in range(MANY):
        end.send({"number": number, "text": "x" * 1000})


def test_messages_arrive_in_order(ends: tuple[Channel, Channel]) -> None:
    one, other = ends

    one.send({"a": 1})
    one.send({"b": [2, "\n"]})

    assert other.receive() == [{"a": 1}, {"b": [2, "\n"]}]
    assert other.receive() == []


@pytest.mark.timeout(20)
def test_two_ends_that_write_before_they_read_do_not_wait_for_one_another(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    thread = threading.Thread(target=send_many, args=(other,), daemon=True)

    thread.start()
    send_many(one)
    received = one.receive()
    while len(received) < MANY:
        select.select([one], [], [], 0.01)  # to spin here would keep the other thread from the interpreter
        received += one.receive()
    thread.join()

    numbers = list(range(MANY))
    assert [message["number"] for message in received] == numbers
    assert [message["number"] for message in other.receive()] == numbers


def test_what_is_sent_to_an_end_that_is_gone_is_dropped(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    other.close()

    send_many(one)

    assert one.receive() == []
    assert one.closed
