"""The threads of a CPU: a batch in parts, a thread a part, where that is faster than all threads on each operator.

Two threads that share the small operators of a small network wait for each other at the end of each, and for each
other's cache lines. With half of the batch each they meet once a step, but take turns at Python. Which of the two costs
more depends on the processor (docs/performance.md).
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from cnnlab.config import RunConfig
from cnnlab.config.models import CNN, LeNet5
from cnnlab.training.process import usable_threads

T = TypeVar("T")

SLOW_TO_MEET = ("AVX2",)
"""PyTorch's names of the processors on which parts were measured to be faster; on one with AVX512 they are slower."""
IMAGES_A_PART = 16
"""A part of fewer is not worth its thread."""
PIXELS_A_BATCH = 2**14
"""Nor is a batch of fewer pixels: its step is as short as the meeting."""


SMALL_STEP = 10_000_000
"""Multiply-adds; up to so many, threads that share the operators of a step cost more than they give."""


def threads_for_step(multiply_adds: int, asked: int | None) -> int:
    """The number of CPU threads of a training.

    Args:
        multiply_adds: of a step: of the network's forward pass (convolutions and fully connected layers) over a batch.
        asked: `place.threads`; None for 1 if the step is small, which is steady beside other processes and whose bits
            do not depend on the number of cores, else for as many as PyTorch took when this process began.
    """
    return usable_threads(asked or (1 if multiply_adds <= SMALL_STEP else None))


class Parts:
    """So many threads that each work on a part of a batch.

    Args:
        count: 1 for the batch as a whole.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._others = ThreadPoolExecutor(count - 1) if count > 1 else None

    def map(self, function: Callable[..., T], *columns: Iterable[object]) -> list[T]:
        """What `function` gives for each row, in order; the rows are dealt out in turn, this thread has the first."""
        rows = list(zip(*columns, strict=True))
        if self._others is None:
            return [function(*row) for row in rows]

        def work(thread: int) -> list[T]:
            return [function(*row) for row in rows[thread :: self.count]]

        others = [self._others.submit(work, thread) for thread in range(1, self.count)]
        done = [work(0), *(other.result() for other in others)]
        return [done[row % self.count][row // self.count] for row in range(len(rows))]


def count_parts(config: RunConfig, device: torch.device, batch_size: int, side: tuple[int, int], threads: int) -> int:
    """Into how many parts a batch is cut: a function of config, processor and number of threads, never of a timing.

    Not where a part would see something else than the whole: batch normalisation takes its statistics over the batch,
    dropout draws from one generator, a micro-batch is a part already.

    Args:
        side: (H, W) of the images.
    """
    model = config.model
    alone = not isinstance(model, CNN | LeNet5) or config.training.accumulate > 1
    if isinstance(model, CNN):
        alone = alone or model.norm == "batch" or model.dropout > 0
    if alone or device.type != "cpu" or _processor() not in SLOW_TO_MEET:
        return 1
    if batch_size * side[0] * side[1] < PIXELS_A_BATCH:
        return 1
    return max(1, min(threads, batch_size // IMAGES_A_PART))


def _processor() -> str:
    """The widest instructions that PyTorch uses here: DEFAULT, AVX2, AVX512, ..."""
    return torch.backends.cpu.get_cpu_capability()
