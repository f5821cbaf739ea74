"""What a dataset is once it is loaded."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cnnlab.config.data import VOID


@dataclass(frozen=True)
class Split:
    """Samples: inputs, and what is to be learned of each.

    inputs: (N, C, H, W) uint8; targets: classes (N,) int64, or masks (N, H, W) uint8 of the class of each pixel, where
    255 is void: of no class.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def nbytes(self) -> int:
        return self.inputs.nbytes + self.targets.nbytes

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
    notes: tuple[str, ...] = ()
    """What people should know about how it was read, one line each."""
    marks: dict[str, Tensor] = field(default_factory=dict)
    """Split -> (N,) int64, a hash of each image's pixels; the cache adds them."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """Split -> each image's name for people, where images have names; the cache does not keep them."""
    conflicts: str = ""
    """How many images have several labels, and the first of them, if there are any; the cache adds it."""

    def fault(self) -> str | None:
        """What no run could work with: no images, fewer targets than images, labels outside the classes."""
        if "train" not in self.splits:
            return "no training images"
        for name, split in self.splits.items():
            if not len(split.inputs):
                return f"no images in its {name} split"
            if len(split.inputs) != len(split.targets):
                return f"{len(split.inputs)} images but {len(split.targets)} labels in its {name} split"
            if (wrong := outside(split.targets, len(self.classes))) is not None:
                return f"the label {wrong} in its {name} split, but its {len(self.classes)} classes are numbered from 0"
        return None


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
    notes: tuple[str, ...] = ()
    """What people should know before they trust a result on it, one line each."""
    doubts: tuple[str, ...] = ()
    """Those of the notes that warn: why results on these splits deserve less trust than they seem to."""
    held_out: tuple[str, ...] = ()
    """Which of "val" and "test" were taken from the training images, since none were published."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        channels, height, width = self.train.inputs.shape[1:]
        return channels, height, width

    @property
    def counts(self) -> dict[str, tuple[int, ...]]:
        """Split -> the number of images of each class; empty if targets are no classes."""
        if not has_classes(self.train.targets):
            return {}
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {
            name: tuple(torch.bincount(split.targets, minlength=len(self.classes)).tolist())
            for name, split in splits.items()
        }


def has_classes(targets: Tensor) -> bool:
    """Whether each target is a class, rather than a mask or an image."""
    return targets.dim() == 1 and not targets.is_floating_point()


def has_masks(targets: Tensor) -> bool:
    """Whether each target is a mask: a class for each pixel."""
    return targets.dim() == 3 and targets.dtype == torch.uint8


def count_pixels(masks: Tensor) -> list[int]:
    """(N, H, W) uint8 -> how many pixels have each of the values 0 .. 255."""
    # in parts, since counting takes eight bytes for each pixel
    parts = [torch.bincount(part.flatten(), minlength=256) for part in torch.split(masks, 1024)]
    return torch.stack(parts).sum(0).tolist()


def outside(targets: Tensor, classes: int) -> int | None:
    """A label that is none of 0 .. classes - 1, nor void in a mask, if there is one; None of other targets."""
    if has_masks(targets):
        counts = count_pixels(targets)
        return next((value for value in range(classes, VOID) if counts[value]), None)
    if not has_classes(targets):
        return None
    values = targets.numpy()
    return next((int(value) for value in (values.min(), values.max()) if not 0 <= value < classes), None)
