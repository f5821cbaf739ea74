"""The base class of tasks: their networks, their training and their measurement."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.metrics import Measured


class Task(ABC):
    """A task owns its networks, their forward pass, the loss and the measurement of a split.

    *Step sums* are numbers on the device that are added over samples: of a batch, an epoch, or several processes.

    Args:
        config: of the run.
        classes: the classes' names, in the order of the targets; empty if there are none.
        image_shape: (C, H, W), or (2,) for points
    """

    examples = 0
    """The number of test samples that the task's figure shows with their answers; 0 if it needs only the journal."""
    additive = True
    """Whether the loss of a batch is the mean of its samples' losses. Micro-batches and ranks need it."""
    output_shape: tuple[int, ...] = ()
    """Of one sample's output."""

    def __init__(self, config: RunConfig, classes: Sequence[str], image_shape: tuple[int, ...]) -> None:
        self.config = config
        self.classes = tuple(classes)
        self.image_shape = image_shape

    @abstractmethod
    def build(self, seed: int) -> nn.Module:
        """One module with everything that is trained and saved: one or several networks, and the loss's parameters."""

    def forward(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """The outputs, for the loss and the measurement.

        Args:
            network: from `build`.
            images: (N, C, H, W), or points (N, 2); float32, normalised.
            targets: of the batch, for a task that has a network for them too.
        """
        return network(images)  # type: ignore[no-any-return]

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """() the training loss: the mean over the samples."""

    @abstractmethod
    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The step sums of a batch, (K,) or ()."""

    @abstractmethod
    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        """The training metrics of an epoch, from its step sums."""

    @abstractmethod
    def measure(self, answered: Iterable[tuple[Tensor, Tensor]]) -> Any:
        """Measure a part of a split.

        Args:
            answered: outputs and targets of each chunk; empty if there are more ranks than chunks.

        Returns:
            What `metrics` needs from this part, such as sums or embeddings; on the CPU, since ranks are processes.
        """

    @abstractmethod
    def metrics(self, parts: Sequence[Any], samples: int) -> Measured:
        """The results on a split, from what `measure` returned for each part."""

    def answer(self, outputs: Tensor) -> Tensor:
        """The prediction for each sample, of the same kind as the targets."""
        return outputs
