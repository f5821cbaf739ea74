"""Which class an image is of."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from cnnlab.tasks.confusion import Counts, accuracy, count_cells, square
from cnnlab.tasks.losses import CLASS_LOSSES, Loss, Losses


class Classification:
    """One of several classes for each image; the network answers with a score for each, (N, K).

    Args:
        classes: their names, in the order of the targets (N,) int64.
        image_shape: (C, H, W), of no matter here.
    """

    losses: ClassVar[Losses] = CLASS_LOSSES
    examples = 0

    def __init__(self, loss: Loss, classes: Sequence[str], image_shape: tuple[int, int, int]) -> None:
        self.loss, self.loss_sum, self.additive = loss.mean, loss.total, loss.additive
        self.outputs = len(classes)
        self.output_shape = (self.outputs,)

    def answer(self, outputs: Tensor) -> Tensor:
        """(N,) int64, the class of each image."""
        return outputs.argmax(1)

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() the number of images whose class was predicted."""
        return (outputs.argmax(1) == targets).sum()

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        return {"accuracy": sums[0] / samples}

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return count_cells(targets, outputs.argmax(1), self.outputs)

    def metrics_of(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        return {"accuracy": accuracy(self.confusion(sums))}

    def confusion(self, sums: Sequence[float]) -> Counts:
        return square(sums, self.outputs)
