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


@pytest.mark.timeout(120)
def test_two_ends_that_write_before_they_read_do_not_wait_for_one_another(ends: tuple[Channel, Channel]) -> None:
    received: dict[str, list[int]] = {"one": [], "other": []}

    def write_then_read(end: Channel, name: str) -> None:
        send_many(end)
        while len(received[name]) < MANY:
            received[name] += [message["number"] for message in end.receive()]
            select.select([end], [], [], 0.01)  # to spin here would keep the other thread from the interpreter

    thread = threading.Thread(target=write_then_read, args=(ends[1], "other"), daemon=True)
    thread.start()
    write_then_read(ends[0], "one")
    thread.join()

    assert received == {"one": list(range(MANY)), "other": list(range(MANY))}


def test_what_is_sent_to_an_end_that_is_gone_is_dropped(ends: tuple[Channel, Channel]) -> None:
    one, other = ends
    other.close()

    send_many(one)

    assert one.receive() == []
    assert one.closed
