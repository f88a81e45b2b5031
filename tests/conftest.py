"""What holds for every test: nothing is left running, and property tests have no clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import HealthCheck, settings

# Tests share their cores: how long an example takes says nothing about the code.
settings.register_profile("shared cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared cores")

_STOPPING_S = 5.0
"""What a test has started may still be ending when it returns; the product itself promises 2 s for a whole job."""


def _running() -> dict[str, str]:
    """Child processes and threads of this test process that keep it from ending: identity to description."""
    children = {f"p{p.pid}": f"process {p.pid} ({p.name()})" for p in _children()}
    threads = {f"t{t.ident}": f"thread {t.name!r}" for t in threading.enumerate() if not t.daemon}
    return children | threads


def _children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:  # ended since it was listed
            continue
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    before = _running()
    yield
    deadline = time.monotonic() + _STOPPING_S
    while left := {k: v for k, v in _running().items() if k not in before}:
        if time.monotonic() > deadline:
            pytest.fail(f"the test left running: {', '.join(left.values())}")
        time.sleep(0.02)
