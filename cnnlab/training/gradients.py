"""How the gradients of a batch come about: in micro-batches one after the other, or in parts, a thread a part."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cnnlab.tasks import Task
from cnnlab.training.network import Network
from cnnlab.training.threads import Parts


class BatchResult(NamedTuple):
    """What a batch leaves on the device; nobody has waited for it yet."""

    loss: Tensor
    """() the mean over the batch's samples, as it is trained."""
    sums: Tensor
    """The task's, over the batch's samples."""


class Gradients(Protocol):
    """Puts the gradient of the mean loss over a batch into the weights' `grad`."""

    def __call__(self, inputs: Tensor, targets: Tensor) -> BatchResult: ...


class InMicroBatches:
    """Their sum, weighted by size: memory for one micro-batch is enough.

    Args:
        count: how many a batch is cut into; 1 for the batch as a whole.
    """

    def __init__(self, network: Network, task: Task, weights: Sequence[Tensor], count: int) -> None:
        self.network = network
        self.task = task
        self.weights = weights
        self.count = count
        self.never_one = has_batch_norm(network.model)

    def __call__(self, inputs: Tensor, targets: Tensor) -> BatchResult:
        for weight in self.weights:
            weight.grad = None
        losses, sums = [], []
        for part, wanted in zip(self._cut(inputs), self._cut(targets), strict=True):
            outputs = self.network(part)
            loss = self.task.loss(outputs, wanted)
            if len(part) < len(inputs):
                loss = loss * (len(part) / len(inputs))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            sums.append(self.task.step_sums(outputs.detach(), wanted))
        if len(losses) == 1:
            return BatchResult(losses[0], sums[0])
        return BatchResult(torch.stack(losses).sum(), torch.stack(sums).sum(0))

    def _cut(self, batch: Tensor) -> Sequence[Tensor]:
        cut = batch.chunk(self.count)
        if self.never_one and len(cut) > 1 and len(cut[-1]) == 1:
            cut = (*cut[:-2], torch.cat(cut[-2:]))
        return cut


class InParts:
    """A thread a part; summed in the order of the parts, so the bits are the same each time."""

    def __init__(self, network: Network, task: Task, weights: Sequence[Tensor], parts: Parts) -> None:
        self.network = network
        self.task = task
        self.weights = weights
        self.parts = parts

    def __call__(self, inputs: Tensor, targets: Tensor) -> BatchResult:
        count = min(self.parts.count, len(inputs))
        shares = [len(part) / len(inputs) for part in targets.tensor_split(count)]
        done = self.parts.map(self._part, inputs.tensor_split(count), targets.tensor_split(count), shares)
        for weight, *gradients in zip(self.weights, *(part.gradients for part in done), strict=True):
            weight.grad = _sum_like(weight, [gradient for gradient in gradients if gradient is not None])
        return BatchResult(
            torch.stack([part.loss for part in done]).sum(), torch.stack([part.sums for part in done]).sum(0)
        )

    def _part(self, inputs: Tensor, targets: Tensor, share: float) -> "_PartResult":
        """Of a part that is `share` of a batch, without touching what other threads see."""
        outputs = self.network(inputs)
        loss = self.task.loss(outputs, targets) * share
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
        return _PartResult(loss.detach(), self.task.step_sums(outputs.detach(), targets), gradients)


class _PartResult(NamedTuple):
    loss: Tensor
    """Its share of the batch's mean loss."""
    sums: Tensor
    gradients: tuple[Tensor | None, ...]


def has_batch_norm(model: nn.Module) -> bool:
    """Whether it takes statistics over a batch, which one sample has none of."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())


def _sum_like(weight: Tensor, gradients: list[Tensor]) -> Tensor | None:
    """Their sum, in the weight's memory format: fused kernels walk both in the order of memory."""
    if not gradients:
        return None
    total = gradients[0]
    if total.stride() != weight.stride():
        total = torch.empty_like(weight).copy_(total)
    for gradient in gradients[1:]:
        total = total.add_(gradient)
    return total
