"""ZeroMQ sockets: each process receives on one address and holds one connection per peer to send on.

A hub belongs to one thread; only ``wake`` may be called from others. Its queues have no mark of their own: credit
bounds what is under way between instances, and the rest are small messages.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85

from elastic.errors import UserError
from elastic.wire.codec import Codec, Frame, WireError

_PATH_LIMIT = 107 if sys.platform == "linux" else 103  # bytes of a Unix socket's path
_ZERO_COPY_BYTES = 256 << 10
"""Sending from here on without a copy; below, copying is cheaper than telling Python when the buffer is free again."""
_DETACH_BYTES = 16 << 10
"""Received frames up to here are copied: they lie unaligned in a buffer of libzmq's, and would keep it alive."""
_RECONNECT_MS = 20


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """The CURVE key pair that all members of one cluster share: whoever has it is a member, nobody else is heard."""

    public: bytes
    secret: bytes

    @staticmethod
    def generate() -> CurveKeys:
        """A new pair."""
        return CurveKeys(*zmq.curve_keypair())

    def secure(self, sock: zmq.Socket[bytes], *, server: bool) -> None:
        """Make a socket speak only CURVE with these keys; call before it is bound or connected."""
        sock.curve_publickey, sock.curve_secretkey = self.public, self.secret
        if server:
            sock.curve_server = True
            sock.zap_domain = b"elastic"
        else:
            sock.curve_serverkey = self.public


def ipc_address(directory: Path, name: str) -> str:
    """The address of a process in a cluster's private directory.

    Raises:
        UserError: The path is longer than a Unix socket's may be.
    """
    path = directory / name
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise UserError(
            f"the socket path {path} is longer than the {_PATH_LIMIT} bytes that the system allows; "
            "set TMPDIR to a shorter path"
        )
    return f"ipc://{path}"


def require_private(address: str, keys: CurveKeys | None) -> None:
    """Return only if nobody but members can listen in at the address.

    Raises:
        UserError: The address can be reached over a network and there are no keys.
    """
    if keys is None and not address.startswith(("ipc://", "inproc://")):
        raise UserError(
            f"{address} can be reached over the network, and without CURVE keys anyone could send code to it: give the "
            "cluster a key pair, or use addresses that start with ipc://"
        )


class Hub:
    """A process's end of the wire: binds one address to receive at, connects to peers to send.

    Messages from one sender to one receiver arrive in order, each at most once; a lost connection loses what was on it.
    """

    def __init__(self, name: str, address: str, codec: Codec, *, keys: CurveKeys | None = None) -> None:
        """Receive at ``address`` from now on.

        Args:
            name: What peers see as the sender of this process's messages; unique in the cluster.
            address: ``ipc://path``, or ``tcp://host:port`` with keys; port ``*`` picks a free one.
            codec: Of every message either way.
            keys: The cluster's key pair; required for tcp.
        """
        require_private(address, keys)
        self._name, self._codec, self._keys = name, codec, keys
        self._context = zmq.Context()
        self._peers: dict[str, tuple[str, zmq.Socket[bytes]]] = {}
        self._poller = zmq.Poller()
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._poller.register(self._wake, zmq.POLLIN)
        self._zap: zmq.Socket[bytes] | None = None
        if keys is not None:
            # libzmq asks here about every peer; it must be bound before anybody can connect.
            self._zap = self._socket(zmq.REP)
            self._zap.bind("inproc://zeromq.zap.01")
            self._poller.register(self._zap, zmq.POLLIN)
        self._router = self._socket(zmq.ROUTER)
        self._router.router_handover = True  # a peer that connects again takes its name over
        if keys is not None:
            keys.secure(self._router, server=True)
        self.address = ""
        """Where peers connect to; the real port where ``*`` was asked for."""
        try:
            self._router.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise UserError(f"{name} cannot listen at {address}: {error.strerror}") from error
        self.address = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        self._poller.register(self._router, zmq.POLLIN)

    def connect(self, peer: str, address: str) -> None:
        """Messages to ``peer`` go to ``address``; what is queued for another address of it is dropped."""
        require_private(address, self._keys)
        if peer in self._peers:
            if self._peers[peer][0] == address:
                return
            self.drop(peer)
        dealer = self._socket(zmq.DEALER)
        dealer.setsockopt_string(zmq.ROUTING_ID, self._name)
        dealer.reconnect_ivl = _RECONNECT_MS
        dealer.copy_threshold = _ZERO_COPY_BYTES
        if self._keys is not None:
            self._keys.secure(dealer, server=False)
        dealer.connect(address)
        self._peers[peer] = (address, dealer)

    def drop(self, peer: str) -> None:
        """Nothing more goes to ``peer``, not even what is queued; unknown peers are ignored."""
        if peer in self._peers:
            _, dealer = self._peers.pop(peer)
            dealer.close(linger=0)

    def send(self, peer: str, message: Any) -> bool:
        """The message is queued for ``peer``; False if it is not connected to. Never blocks.

        Large content is not copied, and must not change afterwards.
        """
        if (connection := self._peers.get(peer)) is None:
            return False
        connection[1].send_multipart(self._codec.encode(message), copy=False)
        return True

    def receive(self, limit: int = 100) -> list[tuple[str, Any]]:
        """What has arrived, oldest first: up to ``limit`` times (sender, message). Never blocks.

        Raises:
            WireError: A peer sent what is no message of this version; names the peer.
        """
        if self._zap is not None:
            self._admit(self._zap)
        messages: list[tuple[str, Any]] = []
        while len(messages) < limit:
            try:
                sender, *frames = self._router.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                break
            name = sender.bytes.decode(errors="replace")
            contents = [_content(frame) for frame in frames]
            try:
                messages.append((name, self._codec.decode(contents)))
            except WireError as error:
                raise WireError(f"{self._name} from {name}: {error}") from error
        return messages

    def register(self, source: zmq.Socket[Any] | int) -> None:
        """``wait`` also returns when this socket or file descriptor can be read."""
        self._poller.register(source, zmq.POLLIN)

    def wait(self, timeout_s: float) -> list[Any]:
        """Return when something can be received, ``wake`` was called, a registered source is readable, or time is up.

        Returns:
            The registered sources that are readable.
        """
        ready = self._poller.poll(math.ceil(timeout_s * 1000))
        own = (self._router, self._zap, self._wake.fileno())
        if any(source == own[2] for source, _ in ready):
            self._drain_wakes()
        if self._zap is not None:
            self._admit(self._zap)
        return [source for source, _ in ready if source not in own]

    def wake(self) -> None:
        """The current or next ``wait`` returns at once. May be called from any thread, also after ``close``."""
        try:
            self._waker.send(b"!")
        except OSError:  # full, so it wakes already; or closed
            return

    def close(self) -> None:
        """All sockets are closed, what is queued is dropped, and the address is free."""
        for peer in list(self._peers):
            self.drop(peer)
        self._context.destroy(linger=0)
        self._wake.close()
        self._waker.close()
        if self.address.startswith("ipc://"):  # libzmq leaves the file behind
            Path(self.address.removeprefix("ipc://")).unlink(missing_ok=True)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(kind)
        sock.linger = 0
        sock.set_hwm(0)
        return sock

    def _drain_wakes(self) -> None:
        try:
            while self._wake.recv(4096):
                pass
        except BlockingIOError:
            return

    def _admit(self, zap: zmq.Socket[bytes]) -> None:
        """Answer libzmq's questions about connecting peers: only the cluster's own key is let in (ZeroMQ RFC 27)."""
        while zap.poll(0):
            version, request, _, _, _, mechanism, *credentials = zap.recv_multipart()
            known = self._keys is not None and credentials == [z85.decode(self._keys.public)]
            status = (b"200", b"OK") if known and mechanism == b"CURVE" else (b"400", b"not a member of this cluster")
            zap.send_multipart([version, request, *status, b"", b""])


def _content(frame: zmq.Frame) -> Frame:
    return frame.bytes if len(frame) <= _DETACH_BYTES else frame.buffer
