"""A place for commands, of which none is left running; parents of jobs that are there at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic.cluster import local
from tests.cluster.command import HELPER, JOB, our_processes
from tests.cluster.nursery import Nursery


@pytest.fixture(scope="session", autouse=True)
def _nursery() -> Iterator[None]:
    """Jobs that tests start themselves need not wait until an interpreter has imported everything once more."""
    if not hasattr(os, "pidfd_open"):  # not Linux
        yield
        return
    nursery = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "start_parent", nursery.start_parent)
        yield
    nursery.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with a job, a module beside it, and another for temporary files."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    for process in our_processes(tmp_path):
        process.kill()
