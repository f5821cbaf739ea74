"""Memory that one step frees stays with the process for the next."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def keep_freed_memory() -> None:
    """Have glibc keep freed memory instead of returning it to the system.

    By default it gives back what a step has freed, and some 2,000 page faults of the next step fetch it again: up to
    half of the time of a small network on a CPU (docs/performance.md). Elsewhere than on glibc nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
            mallopt(M_TRIM_THRESHOLD, 2**30)
