"""Which class each pixel of an image is of."""

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cnnlab.config.data import VOID
from cnnlab.tasks.confusion import Counts, accuracy, count_cells, intersection_over_union, square
from cnnlab.tasks.losses import Loss, Losses
from cnnlab.tasks.mask_losses import MASK_LOSSES


class Segmentation:
    """One of several classes for each pixel; the network answers with scores (N, K, H, W).

    Args:
        classes: their names, in the order of the numbers in the masks (N, H, W) uint8, where 255 is void and counts
            for nothing.
        image_shape: (C, H, W)
    """

    losses: ClassVar[Losses] = MASK_LOSSES
    examples = 6

    def __init__(self, loss: Loss, classes: Sequence[str], image_shape: tuple[int, int, int]) -> None:
        self.loss, self.loss_sum, self.additive = loss.mean, loss.total, loss.additive
        self.outputs = len(classes)
        self.output_shape = (self.outputs, *image_shape[1:])
        self.names = metric_names(classes)

    def answer(self, outputs: Tensor) -> Tensor:
        """(N, H, W) uint8 masks."""
        return outputs.argmax(1).to(torch.uint8)

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(K * K,) pixels by true and predicted class."""
        return self.sums(outputs, targets)

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """Without those of each class, which come with every measured split."""
        counts = self.confusion(sums)
        return {"mean_iou": mean_iou(counts), "pixel_accuracy": accuracy(counts)}

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return count_cells(targets, outputs.argmax(1), self.outputs, ignored=VOID)

    def metrics_of(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """Mean IoU, pixel accuracy, and the IoU of each class that occurs."""
        by_class = zip(self.names, intersection_over_union(self.confusion(sums)), strict=True)
        return {**self.step_metrics(sums, samples), **{f"iou/{name}": iou for name, iou in by_class if iou == iou}}

    def confusion(self, sums: Sequence[float]) -> Counts:
        return square(sums, self.outputs)


def mean_iou(counts: Counts) -> float:
    """Over the classes that occur in truth or prediction; 0 if there is nothing but void."""
    known = [iou for iou in intersection_over_union(counts) if iou == iou]
    return sum(known) / len(known) if known else 0.0


def metric_names(classes: Sequence[str]) -> list[str]:
    """The classes' names as MLflow takes them in a metric's: letters, digits, and `_-. ` between them; each its own."""
    names: list[str] = []
    for number, name in enumerate(classes):
        plain = re.sub(r"[^\w\-. ]", "_", name)[:100].strip(". ") or str(number)
        names.append(plain if plain not in names else f"{plain}_{number}")
    return names
