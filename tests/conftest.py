"""What holds for every test: nothing is left running, files lie in memory, and property tests have no clock."""

from __future__ import annotations

import contextlib
import gc
import heapq
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from elastic.cluster import local
from tests.nursery import Nursery

# Tests share their cores: how long an example takes says nothing about the code. And whoever runs them twice gets the
# same answer twice: what nobody has seen yet is looked for by `make explore`.
settings.register_profile("same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("fast", settings.get_profile("same"), max_examples=20)  # for `make test-fast`
settings.register_profile("explore", settings.get_profile("same"), derandomize=False, max_examples=300)
settings.load_profile("same")

_SAME_SEED = 2013
"""Of the tests' order, which is not that of the files, and of what they draw; another one is ``--randomly-seed``."""

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 << 30
_made: list[str] = []
"""Directories of ours."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Temporary files of tests lie in memory, where the system has such a place and nobody has chosen another.

    Processes are killed here, never the machine: waiting for a disk would show nothing, and be half of the time. The
    directory's name is short, since there is a limit to the path of a socket.
    """
    if getattr(config.option, "randomly_seed", None) == "default":
        config.option.randomly_seed = _SAME_SEED
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's background job; tests send themselves Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = config.option.basetemp or any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    if not chosen and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
        os.environ["TMPDIR"] = str(_MEMORY)  # of the processes that share the work too
        tempfile.tempdir = None  # asked for again
        config.option.basetemp = tempfile.mkdtemp(prefix="t-")
        _made.append(config.option.basetemp)


def pytest_sessionfinish(exitstatus: int) -> None:
    """What failed tests have left is there to be looked at."""
    if exitstatus == 0:
        for directory in _made:
            shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What was imported stays: to look through it for garbage again and again is a tenth of the time of tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that in the end nobody waits for one test: what has a timeout of its own.

    Tests with processes mostly wait, slow ones without compute: they lie evenly among each other, so that the cores
    have work at all times, and never only tests that measure time.
    """
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
    waiting = [item for item in items if item.get_closest_marker("cluster")]
    others = [item for item in items if not item.get_closest_marker("cluster")]
    working = [item for item in others if item.get_closest_marker("slow")]
    quick = [item for item in others if not item.get_closest_marker("slow")]
    quick.sort(key=lambda item: "/simulation/" not in item.nodeid)
    items[:] = [item for _, item in heapq.merge(_spread(waiting), _spread(working), key=itemgetter(0))] + quick


def _spread(items: list[pytest.Item]) -> list[tuple[float, pytest.Item]]:
    """Items with their places between 0 and 1."""
    return [((n + 0.5) / len(items), item) for n, item in enumerate(items)]


@pytest.fixture(scope="session")
def nursery() -> Iterator[None]:
    """Jobs that tests start themselves need not wait until an interpreter has imported everything once more."""
    if not hasattr(os, "pidfd_open"):  # not Linux
        yield
        return
    nursery = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "start_parent", nursery.start_parent)
        yield
    nursery.close()


_CHILDREN = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
_STOPPING_S = 30.0
"""What a test has started may still be ending when it returns; the product itself promises 2 s for a whole job."""


def _running() -> dict[str, str]:
    """Child processes and threads of this test process that keep it from ending: identity to description."""
    children = {f"p{p.pid}": f"process {p.pid} ({p.name()})" for p in _children()}
    threads = {f"t{t.ident}": f"thread {t.name!r}" for t in threading.enumerate() if not t.daemon}
    return children | threads


def _children() -> list[psutil.Process]:
    found = []
    for pid in _descendants(os.getpid()):
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
    return found


def _descendants(pid: int) -> list[int]:
    """To look at every process of the system, twice for each test, takes long: Linux knows the children of each."""
    if not _CHILDREN.exists():
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended since
            found += [int(child) for child in thread.read_text().split()]
    return found + [further for child in found for further in _descendants(child)]


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    before = _running()
    yield
    deadline = time.monotonic() + _STOPPING_S
    while left := {k: v for k, v in _running().items() if k not in before}:
        if time.monotonic() > deadline:
            pytest.fail(f"the test left running: {', '.join(left.values())}")
        time.sleep(0.02)
