"""What a task is: the networks that it owns, how they are trained, and how they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.metrics import Measured


class Task(ABC):
    """What a dataset asks of networks.

    *Step sums* are numbers that add up over samples, on the device: of a batch, an epoch, or several processes.

    Args:
        config: of the run.
        classes: their names, in the order of the targets; empty if there are none.
        image_shape: (C, H, W)
    """

    examples = 0
    """The number of test samples that its figure shows with their answers; 0 if the journal suffices."""
    additive = True
    """Whether the loss of a batch is the mean of its samples' losses: micro-batches, ranks and data parallelism need
    that."""
    output_shape: tuple[int, ...] = ()
    """Of one sample's output."""

    def __init__(self, config: RunConfig, classes: Sequence[str], image_shape: tuple[int, int, int]) -> None:
        self.config = config
        self.classes = tuple(classes)
        self.image_shape = image_shape

    @abstractmethod
    def build(self, seed: int) -> nn.Module:
        """Everything that is trained and saved: one network or several, and the loss's own weights, as one module."""

    def forward(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """What the loss and the measurement take.

        Args:
            network: as built.
            images: (N, C, H, W) float32, normalised.
            targets: the batch's; for a task that has a network for them too.
        """
        return network(images)  # type: ignore[no-any-return]

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() what is trained: the mean over the samples."""

    @abstractmethod
    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The numbers that are added up at each step, (K,) or ()."""

    @abstractmethod
    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """Of an epoch's training, from its step sums."""

    @abstractmethod
    def measure(self, answered: Iterable[tuple[Tensor, Tensor]]) -> Any:
        """A part of a split.

        Args:
            answered: outputs and targets of one chunk after the other; none if there are more ranks than chunks.

        Returns:
            What `metrics` needs of this part, such as sums or embeddings; on the CPU, since ranks are processes.
        """

    @abstractmethod
    def metrics(self, parts: Sequence[Any], samples: int) -> Measured:
        """Of a split, from what `measure` returned for each of its parts."""

    def answer(self, outputs: Tensor) -> Tensor:
        """The network's answer for each sample, in the form of the targets."""
        return outputs
