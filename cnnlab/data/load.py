"""A dataset's name -> its training, validation and test samples."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.config import DataConfig
from cnnlab.config.data import DATASETS
from cnnlab.data.builtin import digits, shapes, shapes_masks
from cnnlab.data.cache import cached, fingerprint
from cnnlab.data.dataset import Dataset, Source, Split, has_classes, has_masks, stratified_order
from cnnlab.data.kinds import bad_files, shown
from cnnlab.data.layouts import find_layout
from cnnlab.data.listing import Unread
from cnnlab.data.masks import find_mask_folder
from cnnlab.data.points import MAKERS, points
from cnnlab.data.published import find_published
from cnnlab.data.tree import data_root, default_root
from cnnlab.errors import BadInput, RunFailed, quoted

TEST_FRACTION = 0.2
"""Of a dataset without a test split."""
AFTER_DECODING = {
    "root",
    "batch_size",
    "val_fraction",
    "train_size",
    "augment",
    "mixup_alpha",
    "allow_conflicting_labels",
}
"""The settings on which decoded images do not depend. The root is one: its files are part of the key."""
FEW = 50
"""With so few validation images each counts for 2 % or more."""

FINDERS: dict[str, Callable[[DataConfig], Unread]] = {
    "digits": lambda config: Unread([], digits),
    "shapes": lambda config: Unread([], shapes),
    "shapes_masks": lambda config: Unread([], shapes_masks),
    "folder": find_layout,
    "mask_folder": find_mask_folder,
    **dict.fromkeys(MAKERS, lambda config: Unread([], partial(points, config.dataset))),
}
"""Dataset -> what finds its files; `find_published` finds those of all others."""


def load(config: DataConfig, seed: int) -> Dataset:
    """The dataset that `config` names, with a validation split that depends on the seed alone.

    Raises:
        BadInput: files are missing or broken, or the training split is too small for the settings.
        RunFailed: a library cannot read a file.
    """
    source, digest = _read(config)
    if source.conflicts and DATASETS[config.dataset].root == "own" and not config.allow_conflicting_labels:
        raise bad_files(
            f"{source.conflicts}; keep one of each, or train on them as they are with "
            "--set data.allow_conflicting_labels=true"
        )
    splits = dict(source.splits)
    if "test" not in splits:  # the same images for each seed, so that all runs are measured on the same
        splits["train"], splits["test"] = splits["train"].hold_out(TEST_FRACTION, seed=0)
    if "val" not in splits:
        splits["train"], splits["val"] = splits["train"].hold_out(config.val_fraction, seed)
    if not len(splits["val"]) or not len(splits["test"]):
        raise _too_few(source)
    _check_sizes(config, len(splits["train"]))
    if config.train_size is not None:
        order = stratified_order(splits["train"].targets, seed)
        splits["train"] = splits["train"].take(order[: config.train_size].sort().values)
    doubts = tuple(_doubts(source, splits))
    return Dataset(
        name=config.dataset,
        classes=source.classes,
        **splits,
        digest=digest,
        source=source.origin,
        skipped=source.skipped,
        notes=(*source.notes, *doubts),
        doubts=doubts,
        rendering=source.rendering,
        stored_size=source.stored_size,
        held_out=tuple(name for name in ("val", "test") if name not in source.splits),
    )


def _read(config: DataConfig) -> tuple[Source, str]:
    """The dataset from its files or from the cache, and its digest."""
    try:
        unread = FINDERS.get(config.dataset, find_published)(config)
        root = config.root if DATASETS[config.dataset].root == "cache" else None  # never among the user's own images
        folder = (data_root(root) if root else default_root()) / "cache"
        key = fingerprint(unread.files, unread.layout, config.model_dump_json(exclude=AFTER_DECODING))
        source, digest = cached(folder, config.dataset, key, lambda: _resized(unread.read(), config.resize))
    except OSError as error:
        if error.errno is not None:  # the system's: a full disk, a file that may not be read
            raise
        where = config.root or default_root()  # a library's error, which does not name the file
        raise RunFailed(f"data.root: a file of {config.dataset} in {where} cannot be read ({error})") from None
    return replace(source, notes=(*map(shown, unread.notes), *source.notes)), digest


def _doubts(source: Source, splits: dict[str, Split]) -> Iterator[str]:
    """Reasons to distrust results on these splits, one line each."""
    if source.conflicts:
        yield source.conflicts
    with_classes = has_classes(splits["train"].targets)
    if (few := len(splits["val"])) <= FEW:
        weight = f"each is {100 / few:.1f} % of them" if with_classes else "each counts"
        yield f"few validation images ({few}): {weight}"
    if with_classes and len(source.splits) < 3:
        counts = torch.bincount(source.splits["train"].targets, minlength=len(source.classes)).tolist()
        if alone := [name for name, count in zip(source.classes, counts, strict=True) if count == 1]:
            named = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
            many = f"{len(alone)} classes" if len(alone) > 1 else "1 class"
            yield f"{many} with a single image, which is in the training split alone: {named}"
    alike: dict[str, list[str]] = {}
    for name in source.classes:
        alike.setdefault(name.strip().casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            yield f"classes whose names differ in capitals alone: {', '.join(names)}"
    for name in ("val", "test"):
        marks, in_train = splits[name].marks, splits["train"].marks
        # torch.isin takes 5 times as long
        if marks is not None and in_train is not None and (same := int(np.isin(marks.numpy(), in_train.numpy()).sum())):
            size = len(splits[name])
            yield f"{same:,} of the {size:,} {name} images are training images too, pixel for pixel"


def _too_few(source: Source) -> BadInput:
    """The classes are too small to hold out a single image."""
    targets = source.splits["train"].targets
    counts = torch.bincount(targets).tolist() if has_classes(targets) else [len(targets)]
    few, name = min((count, name) for count, name in zip(counts, source.classes, strict=False))
    what = f"class {quoted(name)}" if has_classes(targets) else "the training split"
    needed = [split for split in ("train", "val", "test") if split == "train" or split not in source.splits]
    return bad_files(
        f"{what} has {few} image{'' if few == 1 else 's'}; at least {len(needed)} are needed "
        f"(1 each for {', '.join(needed[:-1])} and {needed[-1]}); add more, or give folders train, val and test"
    )


def _check_sizes(config: DataConfig, train: int) -> None:
    if config.train_size is not None and config.train_size > train:
        raise BadInput(f"data.train_size: {config.train_size} is not allowed; the training split has {train} images")
    train = config.train_size or train
    if isinstance(config.batch_size, int) and config.batch_size > train:
        raise BadInput(
            f"data.batch_size: {config.batch_size} is not allowed; it must be from 1 to {train}, "
            "the size of the training split, or full or auto"
        )


def _resized(source: Source, side: int | None) -> Source:
    if source.splits["train"].has_points:
        return source
    height, width = source.splits["train"].inputs.shape[2:]
    source = replace(source, stored_size=(height, width))
    if side is None:
        return source
    return replace(source, splits={name: resize_split(split, side) for name, split in source.splits.items()})


def resize_split(split: Split, side: int) -> Split:
    """Images and masks with this side."""
    targets = split.targets
    if has_masks(targets):  # by the nearest pixel, because the mean of two classes is not a class
        targets = F.interpolate(targets[:, None], (side, side), mode="nearest-exact")[:, 0]
    return Split(resize(split.inputs, side), targets)


def resize(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, side, side) uint8, bilinear and antialiased, in parts to limit memory."""
    if images.shape[2:] == (side, side):
        return images
    parts = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round_().clamp_(0, 255).byte()
        for part in torch.split(images, 2048)
    ]
    return torch.cat(parts)
