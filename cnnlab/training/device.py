"""The words `device` and `precision` of a config -> what this machine has."""

import torch

from cnnlab.errors import BadInput


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU. Raises BadInput for a device that is not here."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise BadInput(f"place.device: {name} is not here: {_cuda_devices(count)}; use auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadInput("place.device: mps is not here: it needs a Mac with Apple silicon; use auto or cpu")
    return device


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that layers such as dropout draw from on this device.

    Seeding it alone takes a microsecond; `torch.manual_seed`, which seeds those of all kinds of devices, takes 300.
    """
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory did not suffice; on a CPU PyTorch says so by a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` is bf16 where the hardware computes it natively, else fp32: never the outcome of a timing."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if _cpu_has_bf16() else "fp32"
    return "fp32"


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _cuda_devices(count: int) -> str:
    return f"PyTorch sees {count} CUDA device{'s' if count != 1 else ''}"
