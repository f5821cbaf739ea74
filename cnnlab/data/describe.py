"""What people see of a dataset before it is trained on."""

from cnnlab.config.data import VOID
from cnnlab.data.dataset import Dataset, count_pixels, has_masks

LISTED = 20
"""So many classes at most are listed one by one."""


def describe(dataset: Dataset) -> list[str]:
    """Lines: what it is, its splits, the images of each class (of masks: their pixels), and what to know about it."""
    channels, height, width = dataset.image_shape
    kinds = f"{len(dataset.classes)} classes" if dataset.classes else "no classes"
    lines = [
        f"{dataset.name}: {kinds}, {channels} x {height} x {width} pixels; {_sizes(dataset)}",
        *_classes(dataset),
        *_pixels(dataset),
        *dataset.notes,
    ]
    return [" ".join(line.split()) for line in lines]  # a name may hold a line break


def _sizes(dataset: Dataset) -> str:
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return ", ".join(
        f"{name} {len(split):,}" + (" (held out of train)" if name in dataset.held_out else "")
        for name, split in splits.items()
    )


def _classes(dataset: Dataset) -> list[str]:
    """In the order of their numbers, with the images of each in the three splits."""
    if not dataset.counts:
        return []
    rows = list(zip(dataset.classes, *dataset.counts.values(), strict=True))
    if len(rows) <= LISTED:
        named = ", ".join(f"{name} {train:,}/{val:,}/{test:,}" for name, train, val, test in rows)
        return [f"images per class (train/val/test): {named}"]
    few, many = min(rows, key=lambda row: row[1]), max(rows, key=lambda row: row[1])
    return [
        f"classes: {', '.join(name for name, *_ in rows[:LISTED])}, ... in this order",
        f"training images per class: from {few[1]:,} ({few[0]}) to {many[1]:,} ({many[0]})",
    ]


def _pixels(dataset: Dataset) -> list[str]:
    """The shares of the classes in the masks, in the order of their numbers."""
    masks = dataset.train.targets
    if not has_masks(masks):
        return []
    counts = count_pixels(masks)
    named = zip(dataset.classes, counts, strict=False)
    shares = [f"{name} {count / masks.numel():.1%}" for name, count in named][:LISTED]
    if len(dataset.classes) > LISTED:
        shares.append("...")
    if counts[VOID]:
        shares.append(f"void {counts[VOID] / masks.numel():.1%}")
    return [f"training pixels per class: {', '.join(shares)}"]
