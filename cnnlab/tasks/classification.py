"""Classification: the class of each image; counts by true and predicted class."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate, pairwise, zip_longest
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.metrics import Measured
from cnnlab.models import build
from cnnlab.tasks.loss_functions import CLASS_LOSSES, Losses
from cnnlab.tasks.task import Task

Counts = tuple[tuple[int, ...], ...]
"""[true class][predicted class]"""


class Classification(Task):
    """One of several classes for each image: outputs (N, K) scores, targets (N,) int64."""

    losses: ClassVar[Losses] = CLASS_LOSSES

    def __init__(self, config: RunConfig, classes: Sequence[str], image_shape: tuple[int, ...]) -> None:
        super().__init__(config, classes, image_shape)
        self.mean_loss, self.total_loss = self.losses[type(config.loss)](config.loss)
        self.output_shape = (len(classes),)

    def build(self, seed: int) -> nn.Module:
        return build(self.config.model, self.image_shape, len(self.classes), seed)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """As of `Task`; of two mixed images, the weighted mean of the losses with either class."""
        return over_labels(partial(self.mean_loss, outputs), targets)

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() the number of images whose class was predicted correctly; of two mixed images, the weights of the classes
        that were."""
        predicted = outputs.argmax(1)
        return over_labels(lambda classes: (predicted == classes).sum(), targets)

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        return {"accuracy": sums[0] / samples}

    def measure(self, answered: Iterable[tuple[Tensor, Tensor]]) -> tuple[list[float], list[int], list[bytes]]:
        """The losses of the chunks, each summed over its samples; the cells of the confusion matrix; for each chunk, as
        `Measured.correct`, which samples the score counts, if it counts samples."""
        losses, cells, correct = [], [], []
        counts_samples = self.config.task.metric.counts_samples
        for outputs, targets in answered:
            predicted = outputs.argmax(1)
            losses.append(self.total_loss(outputs, targets))
            cells.append(self.count(predicted, targets))
            if counts_samples:
                correct.append(predicted == targets)
        if not losses:
            return [], [], []
        return torch.stack(losses).tolist(), torch.stack(cells).sum(0).tolist(), _bytes_of(correct)

    def metrics(self, parts: Sequence[Any], samples: int) -> Measured:
        loss = math.fsum(loss for losses, *_ in parts for loss in losses)  # the order does not matter
        cells = [sum(column) for column in zip(*(cells for _, cells, _ in parts if cells), strict=True)]
        counts = square(cells, len(self.classes))
        turns = zip_longest(*(chunks for *_, chunks in parts), fillvalue=b"")  # part r has every `len(parts)`th chunk
        correct = b"".join(chunk for turn in turns for chunk in turn)
        return Measured({"loss": loss / samples, **self.metrics_of(counts)}, counts, correct or None)

    def count(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """(K * K,) samples by true and predicted class."""
        return count_cells(targets, predicted, len(self.classes))

    def metrics_of(self, counts: Counts) -> dict[str, float]:
        return {"accuracy": accuracy(counts)}

    def answer(self, outputs: Tensor) -> Tensor:
        """(N,) int64, the class of each image."""
        return outputs.argmax(1)


def over_labels(function: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
    """The function of the targets; if they are from `mixup`, the weighted mean of that of either class."""
    if targets.ndim != 2:
        return function(targets)
    (first, second), weight = targets[:, :2].long().unbind(1), targets[0, 2]
    return weight * function(first) + (1 - weight) * function(second)


def _bytes_of(chunks: Sequence[Tensor]) -> list[bytes]:
    """The bytes of each chunk, (N,) bool on the device; copied to the CPU all at once."""
    if not chunks:
        return []
    flags = torch.cat(list(chunks)).cpu().numpy().tobytes()
    ends = list(accumulate(map(len, chunks), initial=0))
    return [flags[first:end] for first, end in pairwise(ends)]


def count_cells(true: Tensor, predicted: Tensor, classes: int, ignored: int | None = None) -> Tensor:
    """The number of times that each pair of classes occurs. Does not wait for the device.

    Args:
        true, predicted: int64 (or uint8) of one shape.
        ignored: a true class that is not counted (void).

    Returns:
        (classes * classes,) int64, the cell of true class t and predicted class p at t * classes + p.
    """
    cells = true.long() * classes + predicted
    size = classes**2
    if ignored is not None:
        cells = torch.where(true == ignored, size, cells)
    counts = torch.zeros(size + 1, dtype=torch.int64, device=cells.device)
    return counts.scatter_add_(0, cells.flatten(), torch.ones_like(cells.flatten()))[:size]


def square(sums: Sequence[float], classes: int) -> Counts:
    """The result of `count_cells` as rows, one per true class."""
    return tuple(tuple(int(n) for n in sums[row * classes : (row + 1) * classes]) for row in range(classes))


def accuracy(counts: Counts) -> float:
    """The share that was predicted correctly; NaN if nothing was counted."""
    total = sum(map(sum, counts))
    return sum(row[true] for true, row in enumerate(counts)) / total if total else float("nan")
