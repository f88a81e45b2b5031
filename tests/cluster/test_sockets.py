"""Hubs talk, refuse strangers and let go; hung processes are told from busy ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from elastic.batch import Batch
from elastic.errors import UserError
from elastic.wire.codec import Codec, WireError
from elastic.wire.liveness import LivenessMonitor
from elastic.wire.sockets import CurveKeys, Hub, ipc_address, require_private

HEARTBEAT_MS = 1000
pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    content: Any = None


CODEC = Codec([Note], trusted=True)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A private directory with a short path, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="elastic-") as path:
        yield Path(path)


@pytest.fixture
def hub(directory: Path) -> Iterator[Callable[..., Hub]]:
    """Makes hubs, and closes them in the end."""
    hubs: list[Hub] = []

    def make(name: str, codec: Codec = CODEC, **options: Any) -> Hub:
        hubs.append(Hub(name, options.pop("address", ipc_address(directory, name)), codec, **options))
        return hubs[-1]

    yield make
    for one in hubs:
        one.close()


def received(hub: Hub, count: int, timeout_s: float = 60) -> list[tuple[str, Any]]:
    """The first ``count`` messages, or what came of them in time."""
    messages: list[tuple[str, Any]] = []
    deadline = time.monotonic() + timeout_s
    while len(messages) < count and (left := deadline - time.monotonic()) > 0:
        hub.wait(left)
        messages += hub.receive()
    return messages


def test_messages_arrive_in_order_and_name_their_sender(hub: Callable[..., Hub]) -> None:
    one, other = hub("one"), hub("other")
    one.connect("other", other.address)

    for n in range(250):
        assert one.send("other", Note(str(n)))

    assert received(other, 250) == [("one", Note(str(n))) for n in range(250)]


def test_bulky_content_arrives_whole(hub: Callable[..., Hub]) -> None:
    one, other = hub("one"), hub("other")
    one.connect("other", other.address)
    batch = Batch(np.zeros(200_000, np.uint16), None, ["a", "b"] * 100_000)

    one.send("other", Note("batch", batch))
    ((_, note),) = received(other, 1)

    assert note.content.values == batch.values


def test_messages_wait_for_a_peer_that_is_not_there_yet(hub: Callable[..., Hub], directory: Path) -> None:
    one = hub("one")
    one.connect("late", ipc_address(directory, "late"))
    one.send("late", Note("hello"))

    late = hub("late")

    assert received(late, 1) == [("one", Note("hello"))]


def test_a_peer_that_comes_back_at_its_address_is_found_again(hub: Callable[..., Hub]) -> None:
    one, first = hub("one"), hub("other")
    one.connect("other", first.address)
    one.send("other", Note("first"))
    received(first, 1)

    first.close()
    second = hub("other")
    one.send("other", Note("second"))

    assert received(second, 1) == [("one", Note("second"))]


def test_nothing_is_sent_to_a_peer_that_was_dropped(hub: Callable[..., Hub]) -> None:
    one, other = hub("one"), hub("other")
    one.connect("other", other.address)

    one.drop("other")

    assert not one.send("other", Note("lost"))
    assert received(other, 1, timeout_s=0.1) == []


def test_a_message_of_another_version_is_refused_with_its_sender(hub: Callable[..., Hub]) -> None:
    one, other = hub("one", Codec([Note, CurveKeys], trusted=True)), hub("other")
    one.connect("other", other.address)

    one.send("other", CurveKeys(b"", b""))

    with pytest.raises(WireError, match=r"other from one: .*unknown type 'CurveKeys'"):
        received(other, 1)


def test_wait_returns_at_once_when_another_thread_wakes_it(hub: Callable[..., Hub]) -> None:
    one = hub("one")
    start = time.monotonic()

    threading.Timer(0.05, one.wake).start()
    one.wait(10)

    assert time.monotonic() - start < 5
    one.wait(0.001)  # the wake was used up


def test_waking_a_closed_hub_does_nothing(hub: Callable[..., Hub]) -> None:
    one = hub("one")
    one.close()

    one.wake()


def test_wait_names_the_registered_sources_that_can_be_read(hub: Callable[..., Hub]) -> None:
    one = hub("one")
    read, write = os.pipe()
    one.register(read)

    assert one.wait(0.001) == []
    os.write(write, b"x")

    assert one.wait(5) == [read]
    os.close(read)
    os.close(write)


def test_a_closed_hub_leaves_no_socket_file(hub: Callable[..., Hub], directory: Path) -> None:
    one = hub("one")
    assert list(directory.iterdir())

    one.close()

    assert list(directory.iterdir()) == []


def test_a_network_address_without_keys_is_refused(hub: Callable[..., Hub]) -> None:
    with pytest.raises(UserError, match="without CURVE keys"):
        hub("one", address="tcp://127.0.0.1:*")
    with pytest.raises(UserError, match="without CURVE keys"):
        hub("two").connect("one", "tcp://127.0.0.1:1")


def test_an_address_in_use_is_the_users_error(hub: Callable[..., Hub]) -> None:
    keys = CurveKeys.generate()
    one = hub("one", address="tcp://127.0.0.1:*", keys=keys)

    with pytest.raises(UserError, match="two cannot listen at tcp:"):
        hub("two", address=one.address, keys=keys)


def test_a_socket_path_that_is_too_long_is_refused(directory: Path) -> None:
    with pytest.raises(UserError, match="TMPDIR"):
        ipc_address(directory / ("x" * 100), "one")


def test_members_of_a_cluster_talk_over_the_network_and_strangers_are_not_heard(hub: Callable[..., Hub]) -> None:
    keys = CurveKeys.generate()
    member = hub("member", address="tcp://127.0.0.1:*", keys=keys)
    other = hub("other", address="tcp://127.0.0.1:*", keys=keys)
    other.connect("member", member.address)
    # Knows the cluster's public key, as anybody may, but not the secret one.
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.linger = 0
        stranger.curve_serverkey = keys.public
        stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
        stranger.connect(member.address)
        stranger.send_multipart([bytes(f) for f in CODEC.encode(Note("let me in"))])

        other.send("member", Note("hello"))

        assert received(member, 1) == [("other", Note("hello"))]
        assert received(member, 1, timeout_s=0.3) == []


#: A worker that binds, says so, and, if told to, holds the interpreter from then on.
WORKER = """
import re, signal, sys
from elastic.wire.codec import Codec
from elastic.wire.sockets import Hub

hub = Hub("worker", sys.argv[1], Codec(trusted=True))
print("ready", flush=True)
re.match(r"(a+)+$", sys.argv[2])
signal.pause()
"""


@pytest.fixture
def worker(directory: Path) -> Iterator[Callable[..., tuple[int, str]]]:
    """Starts a worker process that is ready to be watched."""
    started: list[subprocess.Popen[bytes]] = []

    def start(hold: str = "") -> tuple[int, str]:
        address = ipc_address(directory, f"worker-{len(started)}")
        process = subprocess.Popen([sys.executable, "-c", WORKER, address, hold], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return process.pid, address

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def monitor() -> Iterator[LivenessMonitor]:
    monitor = LivenessMonitor(HEARTBEAT_MS)
    yield monitor
    monitor.close()


def changes(monitor: LivenessMonitor, timeout_s: float) -> tuple[list[tuple[str, str]], float]:
    """The next changes and how long they took; none when time is up."""
    start = time.monotonic()
    while (passed := time.monotonic() - start) < timeout_s:
        if found := monitor.poll():
            return list(found), passed
        monitor.socket.poll(50)
    return [], passed


def settle(monitor: LivenessMonitor) -> None:
    """Wait until all watched peers have answered, however late."""
    deadline = time.monotonic() + 60
    while monitor._unheard:
        monitor.poll()
        assert time.monotonic() < deadline
        monitor.socket.poll(10)


@pytest.mark.slow
def test_a_worker_that_holds_the_interpreter_is_alive(
    worker: Callable[..., tuple[int, str]], monitor: LivenessMonitor
) -> None:
    _, address = worker("a" * 40 + "b")  # backtracks for hours
    monitor.watch("worker", address)
    settle(monitor)

    found = changes(monitor, 4)[0]
    assert found == [] or changes(monitor, 60)[0] == [("worker", "back")], "late, where the machine has more to do"


@pytest.mark.slow
def test_a_stopped_worker_is_lost_within_the_heartbeat_and_back_when_it_goes_on(
    worker: Callable[..., tuple[int, str]], monitor: LivenessMonitor
) -> None:
    pid, address = worker()
    monitor.watch("worker", address)
    settle(monitor)

    os.kill(pid, signal.SIGSTOP)
    lost, took_s = changes(monitor, 60)
    assert lost == [("worker", "lost")]
    assert took_s < 20.0  # 1.1 s on a machine of one's own
    assert changes(monitor, 2.5)[0] == []  # the kernel accepts connections for it, which does not count

    os.kill(pid, signal.SIGCONT)
    assert changes(monitor, 60)[0] == [("worker", "back")]


def test_a_killed_worker_is_lost_at_once(worker: Callable[..., tuple[int, str]]) -> None:
    monitor = LivenessMonitor(60_000)
    pid, address = worker()
    _, healthy = worker()
    monitor.watch("worker", address)
    monitor.watch("healthy", healthy)
    settle(monitor)

    os.kill(pid, signal.SIGKILL)
    lost, took_s = changes(monitor, 60)

    assert lost == [("worker", "lost")]
    assert took_s < 20.0, "long before the heartbeat"
    monitor.close()


def test_a_peer_that_never_answers_is_lost_after_the_heartbeat(directory: Path) -> None:
    monitor = LivenessMonitor(100)
    monitor.watch("nobody", ipc_address(directory, "nobody"))

    assert changes(monitor, 60)[0] == [("nobody", "lost")]

    monitor.close()


def test_nothing_is_reported_of_a_forgotten_peer(
    worker: Callable[..., tuple[int, str]], monitor: LivenessMonitor
) -> None:
    pid, address = worker()
    monitor.watch("worker", address)
    settle(monitor)

    monitor.forget("worker")
    os.kill(pid, signal.SIGKILL)

    assert changes(monitor, 0.3)[0] == []


def test_a_private_address_needs_no_keys() -> None:
    require_private("ipc:///somewhere", None)
