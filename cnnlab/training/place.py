"""Where a training runs: its device, precision and threads, and PyTorch's settings for the process."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from cnnlab.errors import BadInput
from cnnlab.seeds import drawing


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU. Raises BadInput if this machine does not have the device."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            devices = f"{count} CUDA device{'s' if count != 1 else ''}"
            raise BadInput(f"place.device: {name} is not here: PyTorch sees {devices}; use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadInput("place.device: mps is not here: it needs a Mac with Apple silicon; use auto or cpu")
    return device


def default_generator(device: torch.device) -> torch.Generator:
    """The generator from which layers such as dropout draw on this device.

    Seeding it takes 1 microsecond; `torch.manual_seed`, which seeds the generators of all devices, takes 300.
    """
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator


def out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory is exhausted; on a CPU, PyTorch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` is bf16 if the hardware computes it natively, else fp32. It never depends on a timing."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return "bf16" if any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"
    return "fp32"


@contextmanager
def set_for_training(operator_threads: int, generator: torch.Generator) -> Iterator[None]:
    """Within the context, PyTorch is set for training. Afterwards only freed memory still stays with the process.

    Args:
        operator_threads: the number of threads that share an operator on the CPU; another number gives other bits.
        generator: the training reseeds it.

    Raises:
        InUse: another thread of this process trains.
    """
    cudnn = torch.backends.cudnn
    with drawing(until_trained=True):
        usable_threads(None)  # remembers PyTorch's own number
        before = torch.get_num_threads(), cudnn.deterministic, cudnn.benchmark
        state = generator.get_state()
        torch.set_num_threads(operator_threads)
        keep_freed_memory()
        # the same bits each time on the same machine: cudnn.benchmark chooses algorithms by their time
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            threads, cudnn.deterministic, cudnn.benchmark = before
            torch.set_num_threads(threads)
            generator.set_state(state)


_initial_threads = cache(torch.get_num_threads)


def usable_threads(asked: int | None) -> int:
    """`place.threads`, or the number that PyTorch chose when this process began."""
    return asked or _initial_threads()


def keep_freed_memory() -> None:
    """Have glibc, if it is used, keep freed memory instead of returning it to the system.

    Else the next step gets it back by about 2,000 page faults: up to half of the time of a small network on a CPU
    (docs/performance.md).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, the largest value that it accepts
            mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
