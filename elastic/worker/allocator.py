"""Has a worker's process keep the memory that it once had, and have some before its first tick.

Fresh pages are dear: for columns of a megabyte, each from the system, they cost up to four times what the kernels do
with them, and the first ticks of a job took as long as ten later ones.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MMAP_BYTES, TRIM_BYTES = 32 << 20, 256 << 20

TOUCHED_BYTES = 48 << 20
"""About what the first ticks of a busy worker take, in blocks that malloc puts where it puts columns."""
TOUCHED_SHARE = 8
"""Of a worker's memory setting, at most this part is touched beforehand."""


def keep_freed_memory() -> None:
    """Have glibc reuse large blocks instead of handing them back to the system after every tick."""
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)


def touch_memory(memory_bytes: int) -> None:
    """Have pages at hand for the first ticks; after ``keep_freed_memory``, in a worker of so much memory."""
    if (libc := _glibc()) is not None:
        block_bytes = MMAP_BYTES // 2
        size_bytes = min(TOUCHED_BYTES, memory_bytes // TOUCHED_SHARE)
        blocks = [(libc.malloc(n), n) for n in _cuts(size_bytes, block_bytes)]
        for block, n in blocks:
            if block is not None:
                ctypes.memset(block, 0, n)
        for block, _ in blocks:
            libc.free(block)


def _cuts(size_bytes: int, most_bytes: int) -> list[int]:
    return [min(most_bytes, size_bytes - begin) for begin in range(0, size_bytes, most_bytes)]


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if its malloc can be told."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return None  # musl
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    return libc
