"""A model's weights as a file, and their digest."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cnnlab.errors import RunFailed
from cnnlab.files import written_whole


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file that is there whole and synced, or not at all."""
    with written_whole(path, synced=True) as file:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, file)
        except SafetensorError as error:  # of a full disk it says "... (os error 28)"
            if (number := re.search(r"os error (\d+)", str(error))) is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def load_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Names -> tensors on the CPU. Raises RunFailed if they are not those with this digest, or cannot be read."""
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunFailed(f"{path}: the weights cannot be read ({' '.join(str(error).split())})") from None
    if weights_digest(weights) != sha256:
        raise RunFailed(f"{path}: the weights are damaged: their SHA-256 is not the one in the run's journal")
    return weights


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


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, named by the rest."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
