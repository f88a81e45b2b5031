"""Who of the workers is there: what is known of them by their hellos, and by the signs of life after that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from elastic.coordinator.membership import Membership, Worker
from elastic.plan import Plan, Settings
from elastic.server.attendance import Attendance
from elastic.wire.clock import JobClock
from elastic.wire.control import Hello, Setup


class FakeHub:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, object]] = []

    def register(self, socket: object) -> None: ...

    def connect(self, peer: str, address: str) -> None: ...

    def send(self, peer: str, message: object) -> None:
        self.sent.append((peer, message))


SETUP = Setup(b"", "/nowhere", keep_log=False, path=())


@pytest.fixture
def attendance() -> Iterator[tuple[Attendance, FakeHub, Membership]]:
    members, hub = Membership(Plan("job", {}, (), Settings())), FakeHub()
    made: Any = hub
    attendance = Attendance(made, JobClock(), members, SETUP, heartbeat_ms=1000)
    yield attendance, hub, members
    attendance.close()


def test_who_has_the_plan_from_a_coordinator_before_is_ready_only_after_a_hello_to_this_one(
    attendance: tuple[Attendance, FakeHub, Membership],
) -> None:
    who, hub, _ = attendance

    assert not who.prepared(4)
    who.greet(Hello(4, "ipc://nowhere/4", 0))

    assert hub.sent == [("4", SETUP)]
    assert who.ready == set()
    assert who.prepared(4)
    assert who.ready == {4}


def test_a_worker_that_has_joined_is_not_set_up_again(
    attendance: tuple[Attendance, FakeHub, Membership],
) -> None:
    who, hub, members = attendance
    members.workers[4] = Worker(4, "ipc://nowhere/4")

    who.greet(Hello(4, "ipc://nowhere/4", 0))

    assert hub.sent == []


def test_a_worker_that_says_hello_again_since_it_waits_is_not_set_up_twice(
    attendance: tuple[Attendance, FakeHub, Membership],
) -> None:
    who, hub, _ = attendance

    for _ in range(3):
        who.greet(Hello(4, "ipc://nowhere/4", 77))

    assert hub.sent == [("4", SETUP)]


def test_the_process_of_a_worker_that_was_taken_over_is_known_once_it_says_hello(
    attendance: tuple[Attendance, FakeHub, Membership],
) -> None:
    who, _, members = attendance
    members.workers[4] = Worker(4, "ipc://nowhere/4")
    who.adopt(4, "ipc://nowhere/4")

    who.greet(Hello(4, "ipc://nowhere/4", 77))

    assert who.greeted[4].pid == 77
