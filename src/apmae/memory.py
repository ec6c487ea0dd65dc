"""Keeping freed memory in the process, for arithmetic on the CPU.

glibc gives every freed tensor of more than a few hundred KiB back to the system and asks for it
again in the next step, at the cost of a page fault for every 4 KiB (`benchmarks/capture.py`
measures it).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
"""Parameters of mallopt(3), from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Tell glibc to reuse large blocks; does nothing where the C library has no mallopt."""
    if mallopt := _libc_function("mallopt"):
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 64 * 2**20)


def release_freed_memory() -> None:
    """Give what is free back to the system; for the end of a stage."""
    if malloc_trim := _libc_function("malloc_trim"):
        malloc_trim(0)


def _libc_function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
