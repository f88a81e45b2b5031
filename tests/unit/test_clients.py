"""Who asks a running job gets an answer, also when others ask, and is forgotten afterwards."""

from __future__ import annotations

from typing import Any

from elastic import Query, sinks, sources
from elastic.coordinator.machine import Coordinator
from elastic.report import Progress
from elastic.server.clients import KEPT_S, Clients
from elastic.wire.control import Answer, DrainWorker, Hello, JoinJob, ScaleJob


class Wire:
    """Stands in for a hub."""

    def __init__(self) -> None:
        self.connected: dict[str, str] = {}
        self.sent: list[tuple[str, Any]] = []

    def connect(self, peer: str, address: str) -> None:
        self.connected[peer] = address

    def drop(self, peer: str) -> None:
        del self.connected[peer]

    def send(self, peer: str, message: Any) -> None:
        self.sent.append((self.connected[peer], message))


def test_everybody_who_asks_is_answered_over_a_connection_of_their_own_and_forgotten() -> None:
    query = Query("job")
    query.source(sources.from_list([1])).key_by().count().sink(sinks.discard())
    wire = Wire()
    clients = Clients(wire, Coordinator(query.plan(workers=1), 1, 0), Progress(), {}, lambda _: None)  # type: ignore[arg-type]

    clients.on_question(ScaleJob("cuont", 2, "ipc://one"), 1.0, 1)
    clients.on_question(DrainWorker(7, "ipc://other"), 2.0, 9)

    assert [(address, message.number, type(message.message)) for address, message in wire.sent] == [
        ("ipc://one", 1, Answer), ("ipc://other", 9, Answer),
    ]  # fmt: skip
    assert set(wire.connected.values()) == {"ipc://one", "ipc://other"}
    clients.forget(1.0 + KEPT_S + 0.1)
    assert set(wire.connected.values()) == {"ipc://other"}
    clients.forget(2.0 + KEPT_S + 0.1)
    assert not wire.connected


def test_a_question_that_is_asked_again_gets_the_same_answer_and_nothing_is_done_twice() -> None:
    query = Query("job")
    query.source(sources.from_list([1])).key_by().count().sink(sinks.discard())
    wire, machine = Wire(), Coordinator(query.plan(workers=1), 1, 0)
    greeted = {0: Hello(0, "ipc://worker", 1)}
    clients = Clients(wire, machine, Progress(), greeted, lambda _: None)  # type: ignore[arg-type]

    for number in (1, 1, 2):
        clients.on_question(JoinJob("ipc://one"), 1.0, number)

    first, again, other = (message.message.worker for _, message in wire.sent)
    assert first == again != other
