"""Lines of text from a TCP connection: they come once, so the input log keeps them before they are used."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from elastic.batch import Column
from elastic.connectors.base import Chunk, Malformed, Partition, Position, Rate, Reader, Source
from elastic.connectors.lines import Piece, as_text, chunk_of, first_lines, lines_of, shown, told_of
from elastic.connectors.rate import RateLike, as_rate
from elastic.connectors.text_format import InvalidText, TextFormat
from elastic.errors import QueryError, SourceError
from elastic.surface import surface

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""Between two attempts to connect; each pause is twice the one before it."""

CONNECT_S = 10.0
LONGEST_LINE_BYTES = 64 << 20
RECEIVE_BYTES = 1 << 18


@surface
def tcp_lines(
    host: str, port: int, *, errors: InvalidText = "replace", reconnect: bool = True, rate: RateLike = None
) -> TcpLines:
    r"""A source whose rows are the lines that a TCP server sends, as ``str`` without the line's end.

    One instance connects. What it has received is in the input log before it is used, so that a failure of any worker
    neither loses nor repeats a line that was logged. Lost is what was under way to the source's own worker when that
    died, and what the server does not keep for whoever connects again; the event log says so each time.

    Args:
        host: Name or address of the server.
        port: Its port.
        errors: What happens to a line that is not UTF-8: ``replace`` its bad bytes with U+FFFD, ``skip`` it, ``fail``
            the job, or ``divert`` it to the output ``errors``. All but the first of these are counted as failures.
        reconnect: Connect again when the server closes the connection, after a pause that doubles from 0.1 to 10 s.
            False takes it for the end of the input.
        rate: Such as ``"200k/s"`` (lines); the server is held back by what is not read.

    Raises:
        QueryError: An argument is none of the above.
        UnitError: ``rate`` is no rate.
    """
    if not isinstance(host, str) or not host:
        raise QueryError(f"tcp_lines(host={host!r}): expected the name or address of a server")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65_536:
        raise QueryError(f"tcp_lines(port={port!r}): expected a number from 1 to 65535")
    if errors not in get_args(InvalidText):
        raise QueryError(f"tcp_lines(errors={errors!r}): expected 'replace', 'skip', 'fail' or 'divert'")
    return TcpLines(TcpPartition("tcp_lines[0]", host, port, TextFormat(errors, "tcp_lines"), reconnect), as_rate(rate))


class TcpLines(Source):
    """One connection; made by ``tcp_lines``."""

    name = "tcp_lines"

    def __init__(self, partition: TcpPartition, rate: Rate | None) -> None:
        self.partition, self.rate = partition, rate
        self.errors = partition.format.errors

    def with_errors(self, errors: str) -> TcpLines:
        """The same lines, where bad ones are another matter."""
        return TcpLines(replace(self.partition, format=self.partition.format.with_errors(errors)), self.rate)

    def partitions(self, count: int) -> Sequence[TcpPartition]:
        """There is one connection, however many workers there are."""
        return [self.partition]


@dataclass(frozen=True, slots=True)
class TcpPartition(Partition):
    """A connection to be made; a position is the number of bytes that were taken from it, in all incarnations."""

    name: str
    host: str
    port: int
    format: TextFormat
    reconnect: bool

    def open(self) -> TcpReader:
        return TcpReader(self)


class TcpReader(Reader):
    """Receives what is there and never waits; a thread of its own connects, since that may take long."""

    def __init__(self, partition: TcpPartition, clock: Callable[[], float] = time.monotonic) -> None:
        self._partition, self._format, self._clock = partition, partition.format, clock
        self._address = f"{partition.host}:{partition.port}"
        self._position, self._is_successor, self._closed = 0, False, False
        self._received = bytearray()
        self._socket: socket.socket | None = None
        self._connecting: _Connecting | None = None
        self._pause_s, self._connect_at, self._lost_at = FIRST_PAUSE_S, 0.0, 0.0
        self._notices: list[str] = []

    def seek(self, position: Position) -> None:
        """Go on counting from ``position``, in the place of a reader that is gone with what it had not logged."""
        assert isinstance(position, int)
        self._position, self._is_successor = position, position > 0

    def read(self, limit_bytes: int, limit_records: int | None = None) -> Chunk | None:
        """Whole lines that have arrived, of about ``limit_bytes`` in all."""
        if self.finished:
            return None
        if self._is_successor:
            self._is_successor = False
            self._notices.append(
                f"tcp_lines: connects to {self._address} anew, after {self._position} bytes; lines that were under way "
                "to the reader before this one and not yet logged, or that the server sent to nobody, are lost"
            )
        self._receive(max(1, limit_bytes))
        end = self._received.rfind(b"\n", 0, max(1, limit_bytes)) + 1 or self._received.find(b"\n") + 1
        if not end:
            return self._last_line() if self._closed else None
        text = bytes(self._received[:end])
        if limit_records is not None:
            text = first_lines([Piece(text, 0, len(text))], max(1, limit_records))[0].text
        return self._chunk(self._take(len(text)))

    def reread(self, start: Position, end: Position) -> Column:
        raise SourceError(f"tcp_lines: what {self._address} has sent cannot be read again; the input log has it")

    def recall(self, kept: bytes) -> Chunk:
        """The lines in the bytes that were logged."""
        return self._parsed(kept)

    def notices(self) -> Sequence[str]:
        """Connections that were lost, could not be made, or were made again."""
        told, self._notices = self._notices, []
        return told

    def close(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.abandon()
            self._connecting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # -- lines ---------------------------------------------------------------------------------------------------------

    def _take(self, size_bytes: int) -> bytes:
        """The first bytes that were received, ended by a newline, also at the end of the input."""
        text = bytes(self._received[:size_bytes])
        del self._received[:size_bytes]
        return text if text.endswith(b"\n") else text + b"\n"

    def _last_line(self) -> Chunk | None:
        """What is left of a connection that was closed: at the end of the input a line, else the start of one."""
        self._closed = False
        if not self._partition.reconnect:
            self.finished = True
            return self._chunk(self._take(len(self._received))) if self._received else None
        if self._received:
            self._notices.append(
                f"tcp_lines: {self._address} closed the connection in the middle of a line; its first "
                f"{len(self._received)} bytes are dropped"
            )
            self._received.clear()
        return None

    def _chunk(self, text: bytes) -> Chunk:
        chunk = self._parsed(text)
        self._position += len(text)
        return replace(chunk, position=self._position, kept=text)

    def _parsed(self, text: bytes) -> Chunk:
        """What the lines hold; where the next read starts is not told."""
        parsed = self._format.parse(text)
        bad = lines_of([Piece(text, self._position, 0)], told_of(self._format, parsed))
        if bad and self._format.errors == "fail":
            _, at, line = bad[0]
            raise SourceError(f"tcp_lines: {self._address}, byte {at}: {self._format.cause(line)}: {shown(line)}")
        malformed = tuple(Malformed(as_text(line), self._address, self._format.cause(line)) for *_, line in bad)
        return chunk_of(self._format, parsed, 0, len(text), malformed)

    # -- the connection ------------------------------------------------------------------------------------------------

    def _receive(self, limit_bytes: int) -> None:
        """Take what has arrived, until there is about so much; connect where there is no connection."""
        if self._closed or (self._socket is None and not self._connect()):
            return
        assert self._socket is not None
        while len(self._received) < limit_bytes or b"\n" not in self._received:
            try:
                block = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(str(error.strerror or error))
                return
            if not block:
                self._lost("the server closed it")
                return
            self._received += block
            self._pause_s = FIRST_PAUSE_S
            if len(self._received) > LONGEST_LINE_BYTES and b"\n" not in self._received:
                raise SourceError(f"tcp_lines: {self._address} sends a line of more than 64 MiB; is it text at all?")

    def _lost(self, why: str) -> None:
        assert self._socket is not None
        self._socket.close()
        self._socket, self._closed = None, True
        self._lost_at = self._clock()
        self._connect_at = self._lost_at + self._pause_s
        if self._partition.reconnect:
            self._notices.append(
                f"tcp_lines: the connection to {self._address} was lost ({why}); connecting again. What the server "
                "sends to nobody until then is lost"
            )

    def _connect(self) -> bool:
        """Whether there is a connection now; begins to make one where it is time."""
        if self._connecting is None:
            if self._clock() < self._connect_at:
                return False
            self._connecting = _Connecting(self._partition.host, self._partition.port)
        made = self._connecting.result
        if made is None:
            return False
        self._connecting = None
        if isinstance(made, OSError):
            self._connect_at = self._clock() + self._pause_s
            if self._pause_s == FIRST_PAUSE_S:  # once, until there was a connection
                self._notices.append(f"tcp_lines: cannot connect to {self._address} ({made}); trying again and again")
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return False
        if self._lost_at:
            self._notices.append(
                f"tcp_lines: connected to {self._address} again after {self._clock() - self._lost_at:.1f} s"
            )
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a server that vanished is noticed in the end
        self._socket = made
        return True


class _Connecting:
    """A connection under way.

    Attributes:
        result: The connection, or why there is none; None as long as it is not known.
    """

    def __init__(self, host: str, port: int) -> None:
        self.result: socket.socket | OSError | None = None
        self._abandoned = False
        self._lock = threading.Lock()
        threading.Thread(target=self._run, args=(host, port), name="tcp_lines", daemon=True).start()

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._abandoned = True
            if isinstance(self.result, socket.socket):
                self.result.close()

    def _run(self, host: str, port: int) -> None:
        made: socket.socket | OSError
        try:
            made = socket.create_connection((host, port), timeout=CONNECT_S)
        except OSError as error:
            made = error
        with self._lock:
            if self._abandoned and isinstance(made, socket.socket):
                made.close()
            self.result = made
