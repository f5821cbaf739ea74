"""Weights trained on ImageNet, as torchvision and timm publish them: their file, and the normalisation they need."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cnnlab.config.models import TimmModel, TorchvisionModel
from cnnlab.errors import BadInput, one_line
from cnnlab.models.timm_model import import_timm

HALVES = ("googlenet", "inception_v3")
"""torchvision's that take [-1, 1]; with its own weights they convert the output of its preprocessing to that."""


def imagenet_file(config: TorchvisionModel | TimmModel) -> Path:
    """The file of the library's default weights. The library's cache keeps it after the first download.

    Raises:
        BadInput: it cannot be downloaded; the message names the file and where to put it.
    """
    return _torchvision_file(config) if isinstance(config, TorchvisionModel) else _timm_file(config)


def imagenet_statistics(config: TorchvisionModel | TimmModel) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the colours, (3,) each, on the scale 0..255, with which the library trained it."""
    if isinstance(config, TimmModel):
        published = _timm_weights(config)
        mean, std = published.mean, published.std
    elif config.name.removeprefix("torchvision/") in HALVES:
        mean = std = (0.5, 0.5, 0.5)
    else:
        preset = _torchvision_weights(config).transforms()
        mean, std = preset.mean, preset.std
    return 255 * torch.tensor(mean), 255 * torch.tensor(std)


def _torchvision_file(config: TorchvisionModel) -> Path:
    url = _torchvision_weights(config).url
    path = Path(torch.hub.get_dir(), "checkpoints", os.path.basename(url))
    if not path.exists():
        digest = path.stem.rpartition("-")[2]  # the first digits of its SHA-256
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digest, progress=False)
        except (OSError, RuntimeError) as error:
            raise _no_download(config, error, f"put {url} into {path.parent}") from None
    return path


def _timm_file(config: TimmModel) -> Path:
    from huggingface_hub import hf_hub_download, logging  # timm needs it too

    logging.set_verbosity_error()  # it would report each of its attempts
    repository = _timm_weights(config).hf_hub_id
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # of several HTTP libraries
        raise _no_download(
            config, error, f"get model.safetensors of {repository} and set model.weights to it"
        ) from None


def _no_download(config: TorchvisionModel | TimmModel, error: Exception, remedy: str) -> BadInput:
    return BadInput(
        f"model.weights: the imagenet weights of {config.name} cannot be downloaded "
        f"({one_line(str(error)).split('. ')[0]}); {remedy}"
    )


def _torchvision_weights(config: TorchvisionModel) -> Any:
    from torchvision import models as zoo

    return zoo.get_model_weights(config.name.removeprefix("torchvision/")).DEFAULT


def _timm_weights(config: TimmModel) -> Any:
    published = import_timm().get_pretrained_cfg(config.name.removeprefix("timm/"))
    if published is None or not published.hf_hub_id:
        raise BadInput(f"model.weights: imagenet is not allowed for {config.name}: timm has no weights of it")
    return published
