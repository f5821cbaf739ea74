"""A model's weights as a file, and their digest."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write to a temporary name, sync, rename: whoever reads `path` finds all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    seal_file(temporary, path)


def seal_file(temporary: Path, path: Path) -> None:
    """Sync a finished file to disk and give it its name."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Names -> tensors on the CPU. Raises SafetensorError or OSError where the file is damaged or missing."""
    return load_file(path)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, types, shapes and bytes, in the order of the names; whatever the memory format."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers as they are now, in tensors of their own."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
