"""What a dataset is once it is loaded."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Samples: inputs, and what is to be learned of each.

    inputs: (N, C, H, W) uint8; targets: classes (N,) int64.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: Tensor) -> "Split":
        """The samples at `indices`, (M,) int64."""
        return Split(self.inputs[indices], self.targets[indices])


@dataclass(frozen=True)
class Source:
    """A dataset as it was published: what its reader gives and its cache keeps."""

    classes: tuple[str, ...]
    splits: dict[str, Split]
    """"train", and "val" and "test" where they were published."""
    origin: str
    """Where it came from."""
    skipped: int = 0
    """Files that were no images and were skipped."""


@dataclass(frozen=True)
class Dataset:
    """A dataset as a run uses it."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    digest: str
    """Of all images and labels before the split into training and validation: 32 hex digits."""
    source: str
    skipped: int = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        channels, height, width = self.train.inputs.shape[1:]
        return channels, height, width
