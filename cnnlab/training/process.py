"""What training sets for its whole process: memory, threads, cuDNN. Whoever owns the process calls it, by name."""

import ctypes
import sys
from functools import cache

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


def configure_process(operator_threads: int) -> None:
    """Make this process one that trains.

    Args:
        operator_threads: how many threads share an operator on the CPU; another number gives other bits.
    """
    usable_threads(None)  # what PyTorch took by itself, before it is told another number
    torch.set_num_threads(operator_threads)
    keep_freed_memory()
    # the same bits each time on the same machine: a benchmark among algorithms decides by time
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def usable_threads(asked: int | None) -> int:
    """`place.threads`, or as many as PyTorch took when this process began."""
    return asked or _threads_at_first()


@cache
def _threads_at_first() -> int:
    return torch.get_num_threads()


def keep_freed_memory() -> None:
    """Have glibc keep freed memory instead of returning it to the system.

    By default it gives back what a step has freed, and some 2,000 page faults of the next step fetch it again: up to
    half of the time of a small network on a CPU (docs/performance.md). Without glibc nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
            mallopt(M_TRIM_THRESHOLD, 2**30)
