"""What a worker's process does to its memory before the first tick."""

import subprocess
import sys

import pytest

from elastic.worker.allocator import TOUCHED_BYTES, TOUCHED_SHARE

LATER = """
import psutil
from elastic.worker.allocator import keep_freed_memory, touch_memory
keep_freed_memory()
before = psutil.Process().memory_info().rss
touch_memory({memory_bytes})
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's malloc")
@pytest.mark.parametrize("memory_bytes", [512 << 20, 64 << 20])
def test_a_worker_has_pages_at_hand_and_no_more_than_a_part_of_its_memory(memory_bytes: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LATER.format(memory_bytes=memory_bytes)], capture_output=True, text=True, check=True
    )
    expected = min(TOUCHED_BYTES, memory_bytes // TOUCHED_SHARE)
    assert 0.8 * expected <= int(run.stdout) <= 1.2 * expected + (4 << 20)
