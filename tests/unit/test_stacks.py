"""Where a worker is whose interpreter is held: what its process wrote of it, once that has stood for a moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from elastic.worker.stacks import held_by

DUMP = """Current thread 0x00007f0000000000 (most recent call first):
  File "/home/user/job.py", line 7 in slow
  File "/home/user/job.py", line 12 in process
"""


def test_what_a_process_has_just_written_may_be_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.stack"
    assert held_by(path) is None

    path.write_text(DUMP)
    assert held_by(path) is None

    os.utime(path, (time.time(), time.time() - 5))
    found = held_by(path)
    assert found is not None
    lines, users = found
    assert users
    assert [line.partition(":")[0] for line in lines] == [
        "/home/user/job.py, line 12, in process",
        "/home/user/job.py, line 7, in slow",
    ]


def test_a_file_that_was_emptied_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.stack"
    path.touch()
    os.utime(path, (time.time(), time.time() - 5))
    assert held_by(path) is None
