"""How the gradients of a batch come about: in micro-batches one after the other, or over ranks, side by side."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cnnlab.data import Split
from cnnlab.training.network import Network
from cnnlab.training.ranks import Ranks, shared_zeros


class BatchResult(NamedTuple):
    """What a batch leaves on the device; nobody has waited for it yet."""

    loss: Tensor
    """() the mean over the batch's samples, as it is trained."""
    sums: Tensor
    """The task's, over the batch's samples."""


class Gradients(Protocol):
    """Puts the gradient of the mean loss over a batch into the weights' `grad`."""

    def __call__(self, inputs: Tensor, targets: Tensor, noise: int) -> BatchResult:
        """noise: the seed of what is random inside the network (dropout)."""


class InMicroBatches:
    """Their sum, weighted by size: memory for one micro-batch is enough.

    Args:
        count: how many a batch is cut into; 1 for the batch as a whole.
    """

    def __init__(self, network: Network, weights: Sequence[Tensor], generator: torch.Generator, count: int) -> None:
        self.network = network
        self.weights = weights
        self.generator = generator
        self.count = count
        self.never_one = has_batch_norm(network.model)

    def __call__(self, inputs: Tensor, targets: Tensor, noise: int) -> BatchResult:
        self.generator.manual_seed(noise)
        for weight in self.weights:
            weight.grad = None
        losses, sums = [], []
        for part, wanted in zip(self._cut(inputs), self._cut(targets), strict=True):
            outputs = self.network(part, wanted)
            loss = self.network.task.loss(outputs, wanted)
            if len(part) < len(inputs):
                loss = loss * (len(part) / len(inputs))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            sums.append(self.network.task.step_sums(outputs.detach(), wanted))
        if len(losses) == 1:
            return BatchResult(losses[0], sums[0])
        return BatchResult(torch.stack(losses).sum(), torch.stack(sums).sum(0))

    def _cut(self, batch: Tensor) -> Sequence[Tensor]:
        cut = batch.chunk(self.count)
        if self.never_one and len(cut) > 1 and len(cut[-1]) == 1:
            cut = (*cut[:-2], torch.cat(cut[-2:]))
        return cut


class OverRanks:
    """A part of the batch per rank; summed in the order of the parts, so the bits depend on their number alone.

    The weights are moved into memory that the ranks share, and so are the samples of each batch.

    Args:
        samples: any of the data, for the shapes and types of a batch.
        batch_size: the largest.
    """

    def __init__(
        self,
        network: Network,
        weights: Sequence[Tensor],
        generator: torch.Generator,
        ranks: Ranks,
        samples: Split,
        batch_size: int,
    ) -> None:
        self.network = network
        self.weights = weights
        self.generator = generator
        self.ranks = ranks
        self.inputs = shared_zeros((batch_size, *samples.inputs.shape[1:]), samples.inputs.dtype)
        self.targets = shared_zeros((batch_size, *samples.targets.shape[1:]), samples.targets.dtype)
        size = sum(_aligned(weight) for weight in weights)
        self.parts = shared_zeros((ranks.count, size))
        self.of_parts = [_views(row, weights) for row in self.parts]
        self.sum = torch.zeros(size)
        self.of_batch = _views(self.sum, weights)
        for weight, shared in zip(weights, _views(shared_zeros((size,)), weights), strict=True):
            weight.data = shared.copy_(weight.data)

    def __call__(self, inputs: Tensor, targets: Tensor, noise: int) -> BatchResult:
        size = len(inputs)
        self.inputs[:size], self.targets[:size] = inputs, targets
        count = min(self.ranks.count, size)
        done = self.ranks.map(self.part, [(part, count, size, noise) for part in range(count)])
        losses, sums = zip(*done, strict=True)
        self.sum.copy_(self.parts[0])
        for part in self.parts[1:count]:
            self.sum.add_(part)
        for weight, gradient in zip(self.weights, self.of_batch, strict=True):
            weight.grad = gradient
        return BatchResult(torch.tensor(losses).sum(), torch.tensor(sums).sum(0))

    def part(self, part: int, count: int, size: int, noise: int) -> tuple[float, list[float]]:
        """Of a batch of `size` samples in `count` parts: its share of the mean loss, and the task's sums.

        Its share of the gradient is left in `of_parts`.
        """
        if not self.network.model.training:
            self.network.model.train()
        self.generator.manual_seed(noise + part)
        samples = slice(size * part // count, size * (part + 1) // count)
        targets = self.targets[samples]
        outputs = self.network(self.inputs[samples], targets)
        loss = self.network.task.loss(outputs, targets) * (len(targets) / size)
        for kept, gradient in zip(self.of_parts[part], torch.autograd.grad(loss, self.weights), strict=True):
            kept.copy_(gradient)
        return loss.item(), self.network.task.step_sums(outputs.detach(), targets).flatten().tolist()


def _aligned(weight: Tensor) -> int:
    """Its numbers, and as many more as it takes to fill the last 64 bytes."""
    return -(-weight.numel() // 16) * 16


def _views(row: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Of the row, as large as each weight, in its memory format: fused kernels walk both in the order of memory."""
    parts = torch.split(row, [_aligned(weight) for weight in weights])
    return [part.as_strided(weight.shape, weight.stride()) for part, weight in zip(parts, weights, strict=True)]


def has_batch_norm(model: nn.Module) -> bool:
    """Whether it has batch statistics, which are undefined for a single sample."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
