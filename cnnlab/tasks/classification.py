"""Classification: the class of each image."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.metrics import Measured
from cnnlab.models import build
from cnnlab.tasks.confusion import Counts, accuracy, count_cells, square
from cnnlab.tasks.losses import CLASS_LOSSES, Losses
from cnnlab.tasks.task import Task


class Classification(Task):
    """One of several classes for each image: outputs (N, K) scores, targets (N,) int64."""

    losses: ClassVar[Losses] = CLASS_LOSSES

    def __init__(self, config: RunConfig, classes: Sequence[str], image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, classes, image_shape)
        loss = self.losses[type(config.loss)](config.loss)
        self.mean_loss, self.total_loss, self.additive = loss.mean, loss.total, loss.additive
        self.output_shape = (len(classes),)

    def build(self, seed: int) -> nn.Module:
        return build(self.config.model, self.image_shape, len(self.classes), seed)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.mean_loss(outputs, targets)

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() the number of images whose class was predicted correctly."""
        return (outputs.argmax(1) == targets).sum()

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        return {"accuracy": sums[0] / samples}

    def measure(self, answered: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[float], list[int]]:
        """The losses of the chunks, each summed over its samples, and the cells of the confusion matrix."""
        losses, cells = [], []
        for outputs, targets in answered:
            losses.append(self.total_loss(outputs, targets))
            cells.append(self.count(outputs, targets))
        return (torch.stack(losses).tolist(), torch.stack(cells).sum(0).tolist()) if losses else ([], [])

    def metrics(self, parts: Sequence[Any], samples: int) -> Measured:
        loss = math.fsum(loss for losses, _ in parts for loss in losses)  # the order does not matter
        cells = [sum(column) for column in zip(*(cells for _, cells in parts if cells), strict=True)]
        counts = square(cells, len(self.classes))
        return Measured({"loss": loss / samples, **self.metrics_of(counts)}, counts)

    def count(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(K * K,) samples by true and predicted class."""
        return count_cells(targets, outputs.argmax(1), len(self.classes))

    def metrics_of(self, counts: Counts) -> dict[str, float]:
        return {"accuracy": accuracy(counts)}

    def answer(self, outputs: Tensor) -> Tensor:
        """(N,) int64, the class of each image."""
        return outputs.argmax(1)
