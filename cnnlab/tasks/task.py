"""What every task answers: what a network has to put out, what it is trained by, and how it is measured."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Task(Protocol):
    """What is wanted of a network on a dataset.

    *Sums* are numbers that add up over samples, on the device: of a batch, an epoch, a split, or several processes.
    Metrics are computed from them once, on the CPU.
    """

    @property
    def outputs(self) -> int:
        """The number of channels or logits that the network puts out."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one sample's output."""

    @property
    def additive(self) -> bool:
        """Whether the loss of a batch is the mean of its samples' losses: micro-batches, ranks and data
        parallelism need that."""

    @property
    def examples(self) -> int:
        """How many test samples its figure shows with their answers; 0 if it is drawn from the journal alone."""

    def answer(self, outputs: Tensor) -> Tensor:
        """What the network says of each sample, as targets are given."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() what is trained: the mean over the samples."""

    def loss_sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() what is measured: the sum over the samples, without what only helps training (label smoothing)."""

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is counted at each step, (K,) or ()."""

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """Of an epoch's training, from what its steps counted."""

    def sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What is counted when a split is measured, (K,)."""

    def metrics_of(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """Of a split."""

    def confusion(self, sums: Sequence[float]) -> tuple[tuple[int, ...], ...] | None:
        """What was counted by [true class][predicted class]; None of a task without classes."""
