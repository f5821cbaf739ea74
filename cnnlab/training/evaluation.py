"""A network on a split: needs no optimizer, so that whatever uses a trained network can measure it."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cnnlab.data import Split
from cnnlab.training.network import Network

PIXELS_PER_CHUNK = 400_000
"""Beyond, activations outgrow the memory that is kept (docs/performance.md)."""


@torch.inference_mode()
def measure_part(network: Network, split: Split, rank: int = 0, count: int = 1) -> Any:
    """What rank `rank` of `count` measures, in evaluation mode: each `count`th chunk of the split.

    Returns:
        What the task's `metrics` takes. It waits for the device once, at the end.
    """
    network.model.eval()
    return network.task.measure(_answered(network, _chunks(split)[rank::count]))


@torch.inference_mode()
def answers(network: Network, split: Split) -> Tensor:
    """The network's answer for each sample, on the CPU."""
    network.model.eval()
    return torch.cat([network.task.answer(outputs).cpu() for outputs, _ in _answered(network, _chunks(split))])


def _answered(network: Network, chunks: Sequence[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and targets of each chunk, on the device."""
    for inputs, targets in chunks:
        wanted = targets.to(network.device, non_blocking=True)
        yield network(inputs.to(network.device, non_blocking=True), wanted), wanted


def _chunks(split: Split) -> list[tuple[Tensor, Tensor]]:
    height, width = split.inputs.shape[2:]
    size = max(16, min(1024, PIXELS_PER_CHUNK // (height * width)))
    return list(zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True))
