"""What a dataset is: samples in splits, how splits are held out, and its description for people."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cnnlab.config.data import VOID
from cnnlab.seeds import derive

LISTED = 20
"""The most classes that are listed one by one."""


@dataclass(frozen=True)
class Split:
    """Samples: inputs, which are images (N, C, H, W) uint8 or points (N, 2) float32, and their targets.

    Targets are classes (N,) int64, or masks (N, H, W) uint8 with the class of each pixel, where 255 is void: no class.
    """

    inputs: Tensor
    targets: Tensor
    marks: Tensor | None = None
    """(N,) int64, a hash of each image's pixels; the cache adds it."""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def has_points(self) -> bool:
        return self.inputs.dim() == 2

    @property
    def nbytes(self) -> int:
        return self.inputs.nbytes + self.targets.nbytes

    def take(self, indices: Tensor) -> "Split":
        """The samples at `indices`, (M,) int64."""
        marks = None if self.marks is None else self.marks[indices]
        return Split(self.inputs[indices], self.targets[indices], marks)

    def hold_out(self, fraction: float, seed: int) -> "tuple[Split, Split]":
        """The samples that stay and those that are held out, as the function `hold_out` says."""
        stay, out = hold_out(self.targets, fraction, seed)
        return self.take(stay), self.take(out)


@dataclass(frozen=True)
class Source:
    """A dataset before it is split: what a reader returns and the cache keeps."""

    classes: tuple[str, ...]
    splits: dict[str, Split]
    """"train", and "val" and "test" if they were published."""
    origin: str
    """Where it came from."""
    skipped: int = 0
    """The number of files that should be images but could not be decoded."""
    notes: tuple[str, ...] = ()
    """How it was read, one line each."""
    names: dict[str, list[str]] = field(default_factory=dict)
    """Split -> the name of each image, if images have names; the cache does not keep them."""
    rendering: tuple[float, float, int] = (0.0, 65535.0, 255)
    """How values of more than 8 bits and transparent parts were shown: the fields of `pictures.Rendering`."""
    stored_size: tuple[int, int] = (0, 0)
    """(H, W) of the images before `data.resize`."""
    conflicts: str = ""
    """The number of images with several labels, and the first of them; empty if there are none; the cache adds it."""

    def fault(self) -> str | None:
        """Why no run could use this: no images, fewer targets than images, labels outside the classes."""
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
    """Of all images and labels before the validation split was held out: 32 hex digits."""
    source: str
    skipped: int = 0
    notes: tuple[str, ...] = ()
    """What people should know before they trust a result, one line each."""
    doubts: tuple[str, ...] = ()
    """Those of the notes that are warnings."""
    rendering: tuple[float, float, int] = (0.0, 65535.0, 255)
    stored_size: tuple[int, int] = (0, 0)
    """These two are as of `Source`."""
    held_out: tuple[str, ...] = ()
    """Which of "val" and "test" were held out of the training images, since none were published."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W); of points (2,)"""
        return tuple(self.train.inputs.shape[1:])

    @property
    def splits(self) -> dict[str, Split]:
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def counts(self) -> dict[str, tuple[int, ...]]:
        """Split -> the number of images per class; empty if targets are no classes."""
        if not has_classes(self.train.targets):
            return {}
        most = len(self.classes)
        return {name: tuple(torch.bincount(s.targets, minlength=most).tolist()) for name, s in self.splits.items()}


def has_classes(targets: Tensor) -> bool:
    """Whether each target is a class, rather than a mask or an image."""
    return targets.dim() == 1 and not targets.is_floating_point()


def has_masks(targets: Tensor) -> bool:
    """Whether each target is a mask: a class for each pixel."""
    return targets.dim() == 3 and targets.dtype == torch.uint8


def count_pixels(masks: Tensor) -> list[int]:
    """(N, H, W) uint8 -> the number of pixels with each of the values 0 .. 255."""
    # in parts, since counting takes eight bytes per pixel
    parts = [torch.bincount(part.flatten(), minlength=256) for part in torch.split(masks, 1024)]
    return torch.stack(parts).sum(0).tolist()


def outside(targets: Tensor, classes: int) -> int | None:
    """A label outside 0 .. classes - 1 that is not void in a mask; None if there is none, or targets are no labels."""
    if has_masks(targets):
        counts = count_pixels(targets)
        return next((value for value in range(classes, VOID) if counts[value]), None)
    if not has_classes(targets):
        return None
    values = targets.numpy()
    return next((int(value) for value in (values.min(), values.max()) if not 0 <= value < classes), None)


def stratified_order(targets: Tensor, seed: int) -> Tensor:
    """(N,) int64, a seeded order of all images. The first n of them have about the class shares of all, for each n.

    Targets that are no classes give a plain random order. A function of the targets and the seed alone.
    """
    by_class, rank, counts = _ranks(targets, derive(seed, "subset"))
    # an image's position is its rank as a share of its class
    return by_class[torch.argsort((rank.double() + 0.5) / counts, stable=True)]


def hold_out(targets: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that stay and of those held out, both ascending.

    Of a class with n images round(n * fraction) are held out, but at least 1, and at least 1 stays (if n > 1).
    Targets that are no classes count as one class. A function of the targets, the fraction and the seed alone.
    """
    by_class, rank, counts = _ranks(targets, derive(seed, "split"))
    taken = torch.minimum((counts * fraction).round().clamp(min=1), counts - 1)
    out = rank < taken
    return by_class[~out].sort().values, by_class[out].sort().values


def _ranks(targets: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """All images ordered by class and shuffled within each; the rank of each in its class; the size of its class."""
    labels = targets if has_classes(targets) else torch.zeros(len(targets), dtype=torch.int64)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    sizes = torch.bincount(labels)
    ordered = labels[by_class]
    return by_class, torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[ordered], sizes[ordered]


def describe(dataset: Dataset) -> list[str]:
    """Lines: size of images, splits, images per class (of masks: shares of pixels), and the notes."""
    size = "points of 2 numbers" if dataset.train.has_points else f"{' x '.join(map(str, dataset.image_shape))} pixels"
    kinds = f"{len(dataset.classes)} classes" if dataset.classes else "no classes"
    remarks = dict.fromkeys(dataset.held_out, " (held out of train)")
    sizes = ", ".join(f"{name} {len(split):,}{remarks.get(name, '')}" for name, split in dataset.splits.items())
    lines = [f"{dataset.name}: {kinds}, {size}; {sizes}"]
    if dataset.counts:
        lines += _class_lines(dataset)
    if has_masks(dataset.train.targets):
        lines.append(_pixel_line(dataset))
    return [" ".join(line.split()) for line in (*lines, *dataset.notes)]  # a name may hold a line break


def _class_lines(dataset: Dataset) -> list[str]:
    rows = list(zip(dataset.classes, *dataset.counts.values(), strict=True))
    if len(rows) <= LISTED:
        named = ", ".join(f"{name} {train:,}/{val:,}/{test:,}" for name, train, val, test in rows)
        return [f"{'points' if dataset.train.has_points else 'images'} per class (train/val/test): {named}"]
    few, many = min(rows, key=lambda row: row[1]), max(rows, key=lambda row: row[1])
    return [
        f"classes: {', '.join(name for name, *_ in rows[:LISTED])}, ... in this order",
        f"training images per class: from {few[1]:,} ({few[0]}) to {many[1]:,} ({many[0]})",
    ]


def _pixel_line(dataset: Dataset) -> str:
    counts, total = count_pixels(dataset.train.targets), dataset.train.targets.numel()
    shares = [f"{name} {count / total:.1%}" for name, count in zip(dataset.classes, counts, strict=False)][:LISTED]
    if len(dataset.classes) > LISTED:
        shares.append("...")
    if counts[VOID]:
        shares.append(f"void {counts[VOID] / total:.1%}")
    return f"training pixels per class: {', '.join(shares)}"
