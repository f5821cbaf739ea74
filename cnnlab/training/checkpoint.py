"""Checkpoints, which are written atomically and verified when they are read; and a model's weights as a file."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cnnlab.errors import RunFailed
from cnnlab.files import written_whole

log = logging.getLogger("cnnlab")

KEPT = 2
"""The number of checkpoints in a folder."""
SEAL = ', "sha256": "{}"}}'
"""The end of the JSON file: the SHA-256 of the tensors' file and of the JSON before it."""


@dataclass(frozen=True)
class Checkpoint:
    """A run's state: tensors (weights, best weights, optimizer state) and plain values (position, best epoch)."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def seal(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write the checkpoint of `step` to disk, synced, then remove old ones. Returns the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.json"
    tensor_file = path.with_suffix(".safetensors")
    save_tensors(checkpoint.tensors, tensor_file)
    values = json.dumps({"values": checkpoint.values})[:-1]
    with written_whole(path, synced=True) as file:
        file.write_text(values + _seal_of(tensor_file.read_bytes(), values))
    # later checkpoints are of a damaged attempt; the run overwrites them when it reaches their steps
    for _, old in [(number, old) for number, old in _checkpoints(folder) if number <= step][:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def load_latest(folder: Path, up_to_step: int) -> Checkpoint | None:
    """The newest checkpoint of `up_to_step` or before that is whole; None if there is none.

    Each newer checkpoint is skipped with a warning.
    """
    checkpoints = _checkpoints(folder)
    for step, path in reversed(checkpoints):
        if step > up_to_step:
            log.warning("checkpoint %s is passed over: the journal has lost its last lines and ends before it", path)
            continue
        try:
            return _load(path)
        except (OSError, ValueError) as error:
            log.warning("checkpoint %s is damaged (%s) and passed over", path, " ".join(str(error).split()))
    if checkpoints:
        log.warning("no checkpoint in %s is whole: the run begins again at its first step", folder)
    return None


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Steps and JSON files, oldest first."""
    names = ((path.stem.removeprefix("step-"), path) for path in folder.glob("step-*.json"))
    return sorted((int(step), path) for step, path in names if step.isdecimal())


def _load(path: Path) -> Checkpoint:
    """Raises OSError if a file is missing, ValueError if a byte has changed."""
    tensors, text = path.with_suffix(".safetensors").read_bytes(), path.read_text()
    values = text[: -len(SEAL.format("0" * 64))]
    if text != values + _seal_of(tensors, values):
        raise ValueError("its SHA-256 is not the one that was sealed")
    return Checkpoint(safetensors.torch.load(tensors), json.loads(text)["values"])


def _seal_of(tensors: bytes, values: str) -> str:
    digest = hashlib.sha256(tensors)
    digest.update(values.encode())
    return SEAL.format(digest.hexdigest())


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file atomically and synced."""
    with written_whole(path, synced=True) as file:
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, file)
        except SafetensorError as error:  # of a full disk: "... (os error 28)"
            if (number := re.search(r"os error (\d+)", str(error))) is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def load_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Names -> tensors on the CPU. Raises RunFailed if they cannot be read or have another digest."""
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunFailed(f"{path}: the weights cannot be read ({' '.join(str(error).split())})") from None
    if weights_digest(weights) != sha256:
        raise RunFailed(f"{path}: the weights are damaged: their SHA-256 is not the one in the run's journal")
    return weights


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes, in the order of the names, whatever the memory format."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
