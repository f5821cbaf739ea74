"""What training sets for its whole process: memory, threads, cuDNN, the default generator."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from cnnlab.seeds import drawing

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""


@contextmanager
def set_for_training(operator_threads: int, generator: torch.Generator) -> Iterator[None]:
    """Within it this process is one that trains; at its end it is as it was, but for the memory that is kept.

    Args:
        operator_threads: how many threads share an operator on the CPU; another number gives other bits.
        generator: which the training reseeds.

    Raises:
        InUse: another thread of this process trains.
    """
    cudnn = torch.backends.cudnn
    with drawing(until_trained=True):
        before = usable_threads(None), torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark
        state = generator.get_state()
        torch.set_num_threads(operator_threads)
        keep_freed_memory()
        # the same bits each time on the same machine: a benchmark among algorithms decides by time
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            _, threads, cudnn.deterministic, cudnn.benchmark = before
            torch.set_num_threads(threads)
            generator.set_state(state)


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
