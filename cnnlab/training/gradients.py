"""The gradient of a batch: in micro-batches, one after the other, or over ranks, in parallel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cnnlab.data import Split
from cnnlab.training.network import Network
from cnnlab.training.ranks import Ranks, shared_zeros


class InMicroBatches:
    """The gradient is the sum over micro-batches, weighted by size, so that memory for one micro-batch suffices.

    Args:
        count: the number of micro-batches per batch.
    """

    def __init__(self, network: Network, weights: Sequence[Tensor], generator: torch.Generator, count: int) -> None:
        self.network = network
        self.weights = weights
        self.generator = generator
        self.count = count
        self.join_single = has_batch_norm(network.model)

    def __call__(self, inputs: Tensor, targets: Tensor, noise: int) -> tuple[Tensor, Tensor]:
        """Put the gradient of the mean loss over a batch into the weights' `grad`. Does not wait for the device.

        Args:
            noise: the seed of the network's own randomness (dropout).

        Returns:
            () the mean loss over the batch's samples, and the task's step sums.
        """
        self.generator.manual_seed(noise)
        for weight in self.weights:
            weight.grad = None
        losses, sums = [], []
        for part, part_targets in zip(self._cut(inputs), self._cut(targets), strict=True):
            outputs = self.network(part, part_targets)
            loss = self.network.task.loss(outputs, part_targets)
            if len(part) < len(inputs):
                loss = loss * (len(part) / len(inputs))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            sums.append(self.network.task.step_sums(outputs.detach(), part_targets))
        if len(losses) == 1:
            return losses[0], sums[0]
        return torch.stack(losses).sum(), torch.stack(sums).sum(0)

    def _cut(self, batch: Tensor) -> Sequence[Tensor]:
        cut = batch.chunk(self.count)
        if self.join_single and len(cut) > 1 and len(cut[-1]) == 1:
            cut = (*cut[:-2], torch.cat(cut[-2:]))
        return cut


class OverRanks:
    """Each rank computes the gradient of a part of the batch. They are summed in the order of the parts, so that the
    bits depend only on the number of parts. Weights and batches lie in memory that the ranks share.

    Args:
        samples: a split, for the shapes and types of a batch.
        batch_size: of the largest batch.
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
        self.part_gradients = [_views(row, weights) for row in self.parts]
        self.sum = torch.zeros(size)
        self.batch_gradients = _views(self.sum, weights)
        for weight, shared in zip(weights, _views(shared_zeros((size,)), weights), strict=True):
            weight.data = shared.copy_(weight.data)

    def __call__(self, inputs: Tensor, targets: Tensor, noise: int) -> tuple[Tensor, Tensor]:
        """As of `InMicroBatches`."""
        size = len(inputs)
        self.inputs[:size], self.targets[:size] = inputs, targets
        count = min(self.ranks.count, size)
        results = self.ranks.map(self.part, [(part, count, size, noise) for part in range(count)])
        losses, sums = zip(*results, strict=True)
        self.sum.copy_(self.parts[0])
        for part in self.parts[1:count]:
            self.sum.add_(part)
        for weight, gradient in zip(self.weights, self.batch_gradients, strict=True):
            weight.grad = gradient
        return torch.tensor(losses).sum(), torch.tensor(sums).sum(0)

    def part(self, part: int, count: int, size: int, noise: int) -> tuple[float, list[float]]:
        """The share of part number `part` of `count` in the mean loss of a batch of `size` samples, and its step sums.

        Writes the part's gradient into `part_gradients`.
        """
        if not self.network.model.training:
            self.network.train()
        self.generator.manual_seed(noise + part)
        samples = slice(size * part // count, size * (part + 1) // count)
        targets = self.targets[samples]
        outputs = self.network(self.inputs[samples], targets)
        loss = self.network.task.loss(outputs, targets) * (len(targets) / size)
        for view, gradient in zip(self.part_gradients[part], torch.autograd.grad(loss, self.weights), strict=True):
            view.copy_(gradient)
        return loss.item(), self.network.task.step_sums(outputs.detach(), targets).flatten().tolist()


def _aligned(weight: Tensor) -> int:
    """The number of its elements, rounded up to a multiple of 64 bytes."""
    return -(-weight.numel() // 16) * 16


def _views(row: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Views of the row in the shape and memory format of each weight: fused kernels read both in memory order."""
    parts = torch.split(row, [_aligned(weight) for weight in weights])
    return [part.as_strided(weight.shape, weight.stride()) for part, weight in zip(parts, weights, strict=True)]


def has_batch_norm(model: nn.Module) -> bool:
    """Whether it has batch statistics, which are undefined for a single sample."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
