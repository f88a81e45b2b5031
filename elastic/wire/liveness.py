"""Which processes are alive, asked of libzmq's I/O threads: user code that holds the interpreter does not delay them.

The coordinator keeps one connection to every worker, over which no message goes, only the heartbeats of ZeroMQ's own
protocol (ZMTP 3.1, ``PING`` and ``PONG``). A killed process closes it at once; a stopped one lets it time out. That a
connection can be opened says nothing, since the kernel accepts it on behalf of a stopped process: only the completed
handshake does.
"""

from __future__ import annotations

import struct
import time
from typing import Literal, TypeAlias

import zmq

from elastic.wire.sockets import CurveKeys, require_private

Change: TypeAlias = "tuple[str, Literal['lost', 'back']]"

_RECONNECT_MS = 100
_EVENT = struct.Struct("=hi")  # (event, value); pyzmq's own reader would import asyncio, for 15 ms of every start


class LivenessMonitor:
    """Tells when watched peers stop answering and when they answer again. Belongs to one thread."""

    def __init__(self, heartbeat_ms: int, *, keys: CurveKeys | None = None) -> None:
        """Watch nobody yet.

        Args:
            heartbeat_ms: A peer that is silent for so long is lost, and reported within it.
            keys: The cluster's key pair; required for tcp.
        """
        self._keys = keys
        self._silence_s = heartbeat_ms / 1000
        self._context = zmq.Context()
        self._dealer: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._dealer.linger = 0
        # Silence starts at most one interval before the unanswered ping: interval + timeout = heartbeat.
        interval_ms = max(1, heartbeat_ms // 4)
        self._dealer.heartbeat_ivl = interval_ms
        self._dealer.heartbeat_timeout = heartbeat_ms - interval_ms
        self._dealer.handshake_ivl = heartbeat_ms
        self._dealer.reconnect_ivl = _RECONNECT_MS
        if keys is not None:
            keys.secure(self._dealer, server=False)
        self.socket = self._dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        """Readable when ``poll`` has something to tell; can be given to a ``zmq.Poller``."""
        self._peers: dict[str, str] = {}  # by address
        self._lost: set[str] = set()
        self._unheard: dict[str, float] = {}  # never answered yet -> until when they may take

    def watch(self, peer: str, address: str) -> None:
        """Changes of ``peer`` are reported from now on. It is taken for alive, but must answer within the heartbeat."""
        require_private(address, self._keys)
        self.forget(peer)
        self._peers[address] = peer
        self._unheard[peer] = time.monotonic() + self._silence_s
        self._dealer.connect(address)

    def forget(self, peer: str) -> None:
        """Nothing more is reported of ``peer``; unknown ones are ignored."""
        for address in [a for a, p in self._peers.items() if p == peer]:
            del self._peers[address]
            self._dealer.disconnect(address)
        self._unheard.pop(peer, None)
        self._lost.discard(peer)

    def poll(self) -> list[Change]:
        """What changed since the last call, in order. Never blocks. Call at least once per heartbeat."""
        changes: list[Change] = []
        while self.socket.poll(0):
            description, endpoint = self.socket.recv_multipart()
            event, _ = _EVENT.unpack(description)
            peer = self._peers.get(endpoint.decode())
            if peer is None:  # forgotten while the event was under way
                continue
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._unheard.pop(peer, None)
                if peer in self._lost:
                    self._lost.discard(peer)
                    changes.append((peer, "back"))
            elif peer not in self._lost:
                changes.append(self._lose(peer))
        now = time.monotonic()
        changes += [self._lose(peer) for peer, until in list(self._unheard.items()) if until < now]
        return changes

    def close(self) -> None:
        """All connections are closed."""
        self._dealer.disable_monitor()
        self._context.destroy(linger=0)

    def _lose(self, peer: str) -> Change:
        self._unheard.pop(peer, None)
        self._lost.add(peer)
        return peer, "lost"
