"""Lines from a connection: whole, in order, through closed connections and servers that are not there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from elastic.batch import rows
from elastic.connectors import sources, tcp_lines
from elastic.connectors.base import Chunk
from elastic.connectors.tcp_lines import TcpReader
from elastic.errors import QueryError, SourceError

DEADLINE_S = 60.0


class Server:
    """Listens, and lets the test do what the server does."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(DEADLINE_S)
        self.port = self.listening.getsockname()[1]

    def accept(self) -> socket.socket:
        return self.listening.accept()[0]

    def reader(self, **options: Any) -> TcpReader:
        (partition,) = sources.tcp_lines("127.0.0.1", self.port, **options).partitions(4)
        return partition.open()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.listening.close()


def chunk_of(reader: TcpReader, *limits: Any) -> Chunk:
    """The next chunk, as soon as it is there."""
    deadline = time.monotonic() + DEADLINE_S
    while (chunk := reader.read(*limits or (1 << 20,))) is None:
        assert time.monotonic() < deadline, "nothing came"
    return chunk


def until(reader: TcpReader, condition: Callable[[], object]) -> None:
    """Ask the reader again and again, which has nothing, until something else holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert reader.read(1 << 20) is None
        assert time.monotonic() < deadline


def said(reader: TcpReader, text: str) -> Callable[[], bool]:
    """Whether the reader has said so."""
    told: list[str] = []

    def has() -> bool:
        told.extend(reader.notices())
        return any(text in notice for notice in told)

    return has


def test_lines_come_whole_however_they_arrive(server: Server) -> None:
    with closing(server.reader()) as reader:
        assert reader.read(1 << 20) is None
        with server.accept() as connection:
            connection.sendall(b"one\ntw")
            first = chunk_of(reader)
            connection.sendall(b"o\r\nthree\n")
            second = chunk_of(reader)

    assert (rows(first.rows), first.kept, first.position) == (["one"], b"one\n", 4)
    assert rows(second.rows) == ["two", "three"]
    assert rows(reader.recall(second.kept or b"").rows) == ["two", "three"]


def test_limits_leave_lines_for_later(server: Server) -> None:
    with closing(server.reader(reconnect=False)) as reader:
        assert reader.read(1 << 20) is None
        with server.accept() as connection:
            connection.sendall(b"".join(b"%d\n" % n for n in range(10)) + b"long" * 10 + b"\n")
        chunks = [chunk_of(reader, 1 << 20, 3), chunk_of(reader, 4), chunk_of(reader, 1), chunk_of(reader)]

    assert [rows(c.rows) for c in chunks] == [["0", "1", "2"], ["3", "4"], ["5"], ["6", "7", "8", "9", "long" * 10]]


def test_a_closed_connection_is_the_end_if_it_is_said_to_be(server: Server) -> None:
    with closing(server.reader(reconnect=False)) as reader:
        assert reader.read(1 << 20) is None
        with server.accept() as connection:
            connection.sendall(b"one\nlast")
        assert rows(chunk_of(reader).rows) == ["one"]
        assert rows(chunk_of(reader).rows) == ["last"]
        assert reader.finished
        assert reader.read(1 << 20) is None
        assert reader.notices() == []


def test_a_lost_connection_is_made_again_and_what_that_cost_is_said(server: Server) -> None:
    with closing(server.reader()) as reader:
        assert reader.read(1 << 20) is None
        with server.accept() as connection:
            connection.sendall(b"one\nhal")
        assert rows(chunk_of(reader).rows) == ["one"]
        until(reader, said(reader, "in the middle of a line; its first 3 bytes are dropped"))
        until(reader, lambda: reader._connecting is not None or reader._socket is not None)
        with server.accept() as connection:
            connection.sendall(b"two\n")
            assert rows(chunk_of(reader).rows) == ["two"]
        (again,) = [text for text in reader.notices() if "again after" in text]
        assert f"127.0.0.1:{server.port}" in again


def test_a_server_that_is_not_there_is_waited_for_ever_longer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp_lines, "LONGEST_PAUSE_S", 0.2)
    server.listening.close()
    with closing(server.reader()) as reader:
        until(reader, said(reader, "cannot connect"))
        until(reader, lambda: reader._pause_s == 0.2)
        assert reader.notices() == []  # once is enough
        with socket.create_server(("127.0.0.1", server.port)) as listening:
            listening.settimeout(DEADLINE_S)
            until(reader, lambda: reader._socket is not None)
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"at last\n")
                assert rows(chunk_of(reader).rows) == ["at last"]


def test_a_successor_says_that_lines_may_be_lost(server: Server) -> None:
    with closing(server.reader()) as reader:
        reader.seek(120)
        assert reader.read(1 << 20) is None
        (notice,) = reader.notices()
        with server.accept() as connection:
            connection.sendall(b"on\n")
            assert chunk_of(reader).position == 123

    assert "anew, after 120 bytes; lines that were under way to the reader before this one" in notice


def test_a_successor_of_one_that_had_come_to_its_end_does_not_connect(server: Server) -> None:
    with closing(server.reader(reconnect=False)) as reader:
        reader.seek(8)
        reader.finished = True  # as the log says
        assert reader.read(1 << 20) is None
        assert reader.notices() == []


def test_lines_that_are_not_text_follow_the_policy(server: Server) -> None:
    for errors, expected, counts in (
        ("replace", ["a", "\ufffd"], (0, 1, 0)), ("skip", ["a"], (1, 0, 1)), ("divert", ["a"], (0, 0, 1)),
    ):  # fmt: skip
        with closing(server.reader(errors=errors)) as reader:
            assert reader.read(1 << 20) is None
            with server.accept() as connection:
                connection.sendall(b"a\n\xff\n")
                chunk = chunk_of(reader)
        again = reader.recall(chunk.kept or b"")
        assert rows(chunk.rows) == rows(again.rows) == expected
        assert (chunk.skipped, chunk.repaired, len(chunk.malformed)) == counts
        assert again.malformed == chunk.malformed

    with closing(server.reader(errors="fail")) as reader:
        assert reader.read(1 << 20) is None
        with server.accept() as connection:
            connection.sendall(b"a\n\xff\n")
            with pytest.raises(SourceError, match=r"byte 2: the line is not UTF-8: \\xff"):
                chunk_of(reader)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("", 1), "name or address"), (("localhost", 0), "1 to 65535"), (("localhost", "80"), "1 to 65535"),
        (("localhost", 80, "ignore"), "expected 'replace'"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused_when_the_query_is_built(arguments: Any, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        sources.tcp_lines(*arguments[:2], **({"errors": arguments[2]} if arguments[2:] else {}))
