"""Ranks: processes that each compute a part of every batch on one CPU thread and synchronise once per step.

Threads that share every operator of a network wait for one another at the end of each operator. On a busy machine,
the thread that the others wait for may have no processor (docs/performance.md).
"""

import ctypes
import mmap
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, NoReturn, TypeVar

import torch
from torch import Tensor

from cnnlab.process import ignore_signals
from cnnlab.training.place import usable_threads

T = TypeVar("T")

SMALL_STEP = 10_000_000
"""Multiply-adds. Up to this number, a second thread or rank costs more time than it saves."""
IMAGES_PER_RANK = 16
"""With fewer, the calls of a step take longer than its arithmetic."""
MOST_RANKS = 8
"""With more, rank 0 takes too long to add the gradients."""
PATIENCE = 600.0
"""Seconds that rank 0 waits for another rank after its own part."""
START_PATIENCE = 5.0
"""Seconds that rank 0 waits for a new fork's first matrix product."""
PR_SET_PDEATHSIG = 1
"""Of Linux's prctl(2): the signal for this process if its parent dies."""
STARTS = 3
"""Attempts to fork, per rank."""


def threads_for_step(multiply_adds: int, asked: int | None) -> int:
    """The number of CPU threads of a training.

    Args:
        multiply_adds: of the forward pass of a batch (convolutions and fully connected layers).
        asked: `place.threads`. None means 1 if the step is small: other processes then do not slow it down, and its
            bits do not depend on the number of cores. Otherwise None means PyTorch's number.
    """
    return usable_threads(asked or (1 if multiply_adds <= SMALL_STEP else None))


def ranks_for_step(multiply_adds: int, batch_size: int, threads: int) -> int:
    """The number of ranks: one per thread, or 1 if the threads are to share every operator."""
    small = multiply_adds <= SMALL_STEP or batch_size < IMAGES_PER_RANK * threads
    return 1 if small or threads > MOST_RANKS or sys.platform != "linux" else threads


def shared_zeros(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Zeros in memory that this process shares with its later forks. It is freed with its last tensor."""
    size = max(1, torch.Size(shape).numel())
    return torch.frombuffer(mmap.mmap(-1, size * dtype.itemsize), dtype=dtype)[: torch.Size(shape).numel()].view(shape)


class Ranks:
    """This process, which is rank 0, and, within `at_work`, `count - 1` forks of it.

    A fork has a copy of this process's memory; it sees later changes only in shared memory.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._functions: tuple[Callable[..., Any], ...] = ()
        self._forks: dict[int, _Fork] = {}

    @contextmanager
    def at_work(self, *functions: Callable[..., Any]) -> Iterator[None]:
        """Within the context, the ranks are running, and `map` accepts these functions."""
        self._functions = functions
        try:
            for rank in range(1, self.count):
                self._start(rank)
            yield
        finally:
            for rank in list(self._forks):
                self._end(rank)

    def map(self, function: Callable[..., T], rows: Sequence[tuple[Any, ...]]) -> list[T]:
        """The results of `function` for each row of arguments, in order.

        Rank r computes row r. If a rank is not running (outside of `at_work`), was killed or failed, this process
        computes its row; an error of the function is raised here. So the result does not depend on the ranks.
        """
        for rank in [rank for rank in self._forks if rank < len(rows)]:
            with self._alive(rank) as fork:
                fork.pipe.send((self._functions.index(function), rows[rank]))
        results = [function(*rows[0])]
        for rank, row in enumerate(rows[1:], 1):
            answer = []
            if rank in self._forks:
                with self._alive(rank) as fork:
                    answer.append(self._receive(fork, PATIENCE))
            results.append(answer[0] if answer else function(*row))
        return results

    def _start(self, rank: int) -> None:
        """Fork until a fork can multiply. A fork made while another thread holds MKL's locks would wait for ever."""
        for _ in range(STARTS):
            self._forks[rank] = self._fork()
            with self._alive(rank) as fork:
                self._receive(fork, START_PATIENCE)
                return

    @contextmanager
    def _alive(self, rank: int) -> Iterator["_Fork"]:
        """The rank's fork. If it is dead, it is removed."""
        try:
            yield self._forks[rank]
        except (EOFError, OSError):
            self._end(rank)

    def _receive(self, fork: "_Fork", seconds: float) -> Any:
        if not fork.pipe.poll(seconds):
            raise EOFError
        return fork.pipe.recv()

    def _fork(self) -> "_Fork":
        here, there = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about other threads, which a rank does not need
            pid = os.fork()
        if pid == 0:
            self._serve(there)
        there.close()
        return _Fork(pid, here)

    def _serve(self, pipe: Connection) -> NoReturn:
        """Compute rows until rank 0 closes the pipe or dies."""
        try:
            ignore_signals()
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # one that waits for a lock reads no pipe
            for name in os.listdir("/proc/self/fd"):  # else rank 0's locks and the other ranks' pipes stay open here
                if int(name) > 2 and int(name) != pipe.fileno():
                    with suppress(OSError):
                        os.close(int(name))
            torch.set_num_threads(1)  # a fork does not have GNU OpenMP's other threads
            pipe.send(bool(torch.mm(torch.ones(16, 16), torch.ones(16, 16)).all()))
            while True:
                number, row = pipe.recv()
                pipe.send(self._functions[number](*row))
        finally:
            os._exit(1)

    def _end(self, rank: int) -> None:
        fork = self._forks.pop(rank)
        fork.pipe.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(fork.pid, signal.SIGKILL)
            os.waitpid(fork.pid, 0)


class _Fork(NamedTuple):
    pid: int
    pipe: Connection
