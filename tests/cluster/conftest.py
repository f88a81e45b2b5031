"""A place for commands, of which none is left running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.command import HELPER, JOB, our_processes


@pytest.fixture(scope="session", autouse=True)
def _jobs_start_at_once(nursery: None) -> None:
    """Here all do, but for those of test_local_cluster.py."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with a job, a module beside it, and another for temporary files."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    for process in our_processes(tmp_path):
        process.kill()
