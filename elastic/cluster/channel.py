"""Small messages between the command and the parent of a job's processes: JSON, a line each, over a pair of sockets."""

from __future__ import annotations

import json
import select
import socket
from typing import Any


class Channel:
    """One end. Reading never blocks; writing waits for the other end, but reads meanwhile what that has to say.

    So two ends that write at once, each more than the other's socket holds, do not wait for one another.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._rest = b""
        self.closed = False
        """The other end is gone; nothing more comes, and what is sent is dropped."""

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """The message is on its way, unless the other end is gone."""
        data = json.dumps(message).encode() + b"\n"
        while data and not self.closed:
            try:
                data = data[self._socket.send(data, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                readable, _, _ = select.select([self], [self], [])
                if readable:
                    self._read()
            except OSError:  # a broken pipe: reading tells the same, at the right time
                return

    def receive(self) -> list[dict[str, Any]]:
        """All messages that have arrived."""
        while not self.closed and self._read():
            pass
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """The other end finds this one gone."""
        self._socket.close()

    def _read(self) -> bool:
        """Take in what there is; whether there was anything."""
        try:
            data = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        self.closed = not data
        self._rest += data
        return True
