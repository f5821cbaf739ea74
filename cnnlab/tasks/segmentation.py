"""Segmentation: the class of each pixel of an image."""

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cnnlab.config import RunConfig
from cnnlab.config.data import VOID
from cnnlab.tasks.classification import Classification, Counts, accuracy, count_cells, square
from cnnlab.tasks.loss_functions import MASK_LOSSES, Losses


class Segmentation(Classification):
    """One of several classes for each pixel: outputs (N, K, H, W) scores, targets (N, H, W) uint8 masks.

    255 is void and is not counted.
    """

    losses: ClassVar[Losses] = MASK_LOSSES
    examples = 6

    def __init__(self, config: RunConfig, classes: Sequence[str], image_shape: tuple[int, ...]) -> None:
        super().__init__(config, classes, image_shape)
        self.output_shape = (len(classes), *image_shape[1:])
        self.names = metric_names(classes)

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(K * K,) pixels by true and predicted class."""
        return self.count(outputs.argmax(1), targets)

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """Mean IoU and pixel accuracy."""
        return _overall(square(sums, len(self.classes)))

    def count(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return count_cells(targets, predicted, len(self.classes), ignored=VOID)

    def metrics_of(self, counts: Counts) -> dict[str, float]:
        """Mean IoU, pixel accuracy, and the IoU of each class that occurs."""
        by_class = zip(self.names, intersection_over_union(counts), strict=True)
        return {**_overall(counts), **{f"iou/{name}": iou for name, iou in by_class if iou == iou}}

    def answer(self, outputs: Tensor) -> Tensor:
        """(N, H, W) uint8 masks."""
        return outputs.argmax(1).to(torch.uint8)


def _overall(counts: Counts) -> dict[str, float]:
    return {"mean_iou": mean_iou(counts), "pixel_accuracy": accuracy(counts)}


def intersection_over_union(counts: Counts) -> list[float]:
    """Of each class: right / (true + predicted - right), NaN if it does not occur (Everingham et al. 2010, 4.3)."""
    columns = [sum(column) for column in zip(*counts, strict=True)]
    unions = [sum(row) + columns[true] - row[true] for true, row in enumerate(counts)]
    return [
        row[true] / union if union else float("nan")
        for true, (row, union) in enumerate(zip(counts, unions, strict=True))
    ]


def mean_iou(counts: Counts) -> float:
    """Over the classes that occur in truth or prediction; 0 if all pixels are void."""
    known = [iou for iou in intersection_over_union(counts) if iou == iou]
    return sum(known) / len(known) if known else 0.0


def metric_names(classes: Sequence[str]) -> list[str]:
    """The classes' names with only the characters that MLflow allows in a metric's name; all names differ."""
    names: list[str] = []
    for number, name in enumerate(classes):
        plain = re.sub(r"[^\w\-. ]", "_", name)[:100].strip(". ") or str(number)
        names.append(plain if plain not in names else f"{plain}_{number}")
    return names
