"""A network on a split: needs no optimizer, so that whatever uses a trained network can measure it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cnnlab.data import Split
from cnnlab.tasks import Task
from cnnlab.training.ledger import Measured
from cnnlab.training.network import Network

PIXELS_PER_CHUNK = 400_000
"""Beyond, activations outgrow the memory that is kept (docs/performance.md)."""


@torch.inference_mode()
def share_of_split(network: Network, split: Split, task: Task, rank: int = 0, count: int = 1) -> "SplitShare":
    """What rank `rank` of `count` measures, in evaluation mode: each `count`th chunk of the split.

    Waits for the device once, at the end.
    """
    network.model.eval()
    losses, sums = [], []
    for inputs, targets in _chunks(split)[rank::count]:
        wanted = targets.to(network.device, non_blocking=True)
        outputs = network(inputs.to(network.device, non_blocking=True))
        losses.append(task.loss_sum(outputs, wanted))
        sums.append(task.sums(outputs, wanted))
    if not losses:
        return SplitShare([], [])
    return SplitShare(torch.stack(losses).tolist(), torch.stack(sums).sum(0).tolist())


def measured(shares: Sequence["SplitShare"], task: Task, size: int) -> Measured:
    """The measurement of a split of `size` samples, from all its shares."""
    sums = [sum(column) for column in zip(*(share.sums for share in shares if share.sums), strict=True)]
    loss = math.fsum(loss for share in shares for loss in share.losses)  # in whatever order
    return Measured({"loss": loss / size, **task.metrics_of(sums, size)}, task.confusion(sums))


@torch.inference_mode()
def answers(network: Network, split: Split, task: Task) -> Tensor:
    """What a network says of each sample, on the CPU."""
    network.model.eval()
    return torch.cat([task.answer(network(inputs.to(network.device))).cpu() for inputs, _ in _chunks(split)])


class SplitShare(NamedTuple):
    losses: list[float]
    """Of each chunk, the sum over its samples."""
    sums: list[float]
    """The task's, (K,), over all chunks."""


def _chunks(split: Split) -> list[tuple[Tensor, Tensor]]:
    height, width = split.inputs.shape[2:]
    size = max(16, min(1024, PIXELS_PER_CHUNK // (height * width)))
    return list(zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True))
