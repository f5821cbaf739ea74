"""Checkpoints: safetensors for the tensors, JSON for the rest, nothing pickled, a digest that holds the two together.

A checkpoint is a pair `step-00000120.safetensors` and `step-00000120.json`; the JSON file comes last and holds the
other's digest, so a pair without it, or one that was damaged since, is no checkpoint and the one before it is used.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from cnnlab.files import written_whole
from cnnlab.training.weights import load_tensors, save_tensors

log = logging.getLogger("cnnlab")

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Where a run was: its tensors (weights, best weights, optimizer state) and plain values (position, best epoch)."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def seal(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Put the checkpoint of `step` on disk, synced, then drop all but the last two. Returns the JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.json"
    tensor_file = path.with_suffix(".safetensors")
    save_tensors(checkpoint.tensors, tensor_file)
    with written_whole(path, synced=True) as file:
        file.write_text(json.dumps({"sha256": _digest(tensor_file), "values": checkpoint.values}))
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def load_latest(folder: Path, up_to_step: int) -> Checkpoint | None:
    """The newest checkpoint of `up_to_step` or before that is whole; a damaged one is passed over with a warning.

    None where there is none.
    """
    damaged = 0
    for path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            if int(path.stem.removeprefix("step-")) > up_to_step:
                continue
            return _load(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            log.warning("checkpoint %s is damaged (%s) and passed over", path, " ".join(str(error).split()))
            damaged += 1
    if damaged:
        log.warning("no checkpoint in %s is whole: the run begins again at its first step", folder)
    return None


def _load(path: Path) -> Checkpoint:
    sealed = json.loads(path.read_text())
    for part in ("progress", "optimizer"):
        if not isinstance(sealed["values"][part], dict):
            raise ValueError(f"its {part} is {sealed['values'][part]!r:.40}")
    tensor_file = path.with_suffix(".safetensors")
    if _digest(tensor_file) != sealed["sha256"]:
        raise ValueError(f"the digest of {tensor_file.name} is not the one that was sealed")
    return Checkpoint(load_tensors(tensor_file), sealed["values"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
