"""A network on a split: needs no optimizer, so that whatever uses a trained network can measure it."""

from typing import NamedTuple

import torch
from torch import Tensor

from cnnlab.data import Split
from cnnlab.tasks import Task
from cnnlab.training.ledger import Measured
from cnnlab.training.network import Network
from cnnlab.training.threads import Parts

PIXELS_PER_CHUNK = 400_000
"""Beyond, activations outgrow the memory that is kept (docs/performance.md)."""


def evaluate(network: Network, split: Split, task: Task, parts: Parts | None = None) -> Measured:
    """Measure a network on a whole split, in evaluation mode. Waits for the device once, at the end.

    Args:
        parts: CPU threads that each take chunks of the split; None for this one alone.
    """
    network.model.eval()

    @torch.inference_mode()
    def chunk(inputs: Tensor, targets: Tensor) -> _ChunkResult:
        wanted = targets.to(network.device, non_blocking=True)
        outputs = network(inputs.to(network.device, non_blocking=True))
        return _ChunkResult(task.loss_sum(outputs, wanted), task.sums(outputs, wanted))

    done = (parts or Parts(1)).map(chunk, *zip(*_chunks(split), strict=True))
    sums = torch.stack([part.sums for part in done]).sum(0).tolist()  # here the device is waited for
    loss = torch.stack([part.loss for part in done]).cpu().double().sum().item()
    metrics = {"loss": loss / len(split), **task.metrics_of(sums, len(split))}
    return Measured(metrics, task.confusion(sums))


@torch.inference_mode()
def answers(network: Network, split: Split, task: Task) -> Tensor:
    """What a network says of each sample, on the CPU."""
    network.model.eval()
    return torch.cat([task.answer(network(inputs.to(network.device))).cpu() for inputs, _ in _chunks(split)])


class _ChunkResult(NamedTuple):
    loss: Tensor
    """() the sum over the chunk's samples, float32."""
    sums: Tensor
    """(K,) the task's."""


def _chunks(split: Split) -> list[tuple[Tensor, Tensor]]:
    height, width = split.inputs.shape[2:]
    size = max(16, min(1024, PIXELS_PER_CHUNK // (height * width)))
    return list(zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True))
