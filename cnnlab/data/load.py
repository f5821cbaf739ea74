"""A dataset's name -> its training, validation and test images."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.config import DataConfig
from cnnlab.config.data import DATASETS
from cnnlab.data.cache import cached, fingerprint
from cnnlab.data.dataset import Dataset, Source, Split, has_classes, has_masks
from cnnlab.data.digits import digits
from cnnlab.data.duplicates import shared
from cnnlab.data.layouts import Found, find_layout
from cnnlab.data.listing import shown
from cnnlab.data.masks import find_mask_folder
from cnnlab.data.places import data_root, default_root
from cnnlab.data.shapes import shapes, shapes_masks
from cnnlab.data.split import hold_out, stratified_order
from cnnlab.data.torchvision_sets import IDX_CLASSES, download, find_files, read_archive_set, read_idx_set
from cnnlab.data.tree import links_out
from cnnlab.data.voc import find_voc, voc_is_here
from cnnlab.errors import BadInput, RunFailed, quoted

TEST_FRACTION = 0.2
"""Of a dataset without a test split of its own."""
AFTER_DECODING = {"root", "batch_size", "val_fraction", "train_size", "augment", "allow_conflicting_labels"}
"""The settings on which decoded images do not depend; of the root, its files are what counts."""
FEW = 50
"""Validation images, of which one is 2 %."""


def load(config: DataConfig, seed: int) -> Dataset:
    """The dataset that `config` names, with a validation split that depends on the seed alone.

    Raises:
        BadInput: files are missing or broken, or the training split is too small for what is asked of it.
        RunFailed: a file that its library cannot read.
    """
    source, digest = _read(config)
    if source.conflicts and DATASETS[config.dataset].root == "own" and not config.allow_conflicting_labels:
        raise BadInput(
            f"data.root: {source.conflicts}; keep one of each, or train on them as they are with "
            "--set data.allow_conflicting_labels=true"
        )
    parts = {name: _Part(split, source.marks[name]) for name, split in source.splits.items()}
    if "test" not in parts:  # the same images for every seed, so that all runs are measured on the same
        parts["train"], parts["test"] = parts["train"].hold_out(TEST_FRACTION, seed=0)
    if "val" not in parts:
        parts["train"], parts["val"] = parts["train"].hold_out(config.val_fraction, seed)
    _check_held_out(source, len(parts["val"].split), len(parts["test"].split))
    _check_sizes(config, len(parts["train"].split))
    if config.train_size is not None:
        order = stratified_order(parts["train"].split.targets, seed)
        parts["train"] = parts["train"].take(order[: config.train_size].sort().values)
    doubts = tuple(_doubts(source, parts))
    return Dataset(
        name=config.dataset,
        classes=source.classes,
        train=parts["train"].split,
        val=parts["val"].split,
        test=parts["test"].split,
        digest=digest,
        source=source.origin,
        skipped=source.skipped,
        notes=(*source.notes, *doubts),
        doubts=doubts,
        held_out=tuple(name for name in ("val", "test") if name not in source.splits),
    )


def _read(config: DataConfig) -> tuple[Source, str]:
    """What the dataset's files hold, and a digest of it."""
    try:
        return _READERS.get(config.dataset, _published)(config)
    except OSError as error:
        if error.errno is not None:  # the system's: a full disk, a file that may not be read
            raise
        where = config.root or default_root()  # a library's own, which says nothing of the file
        raise RunFailed(f"data.root: a file of {config.dataset} in {where} cannot be read ({error})") from None


class _Part(NamedTuple):
    """A split, and the marks of its images."""

    split: Split
    marks: Tensor

    def take(self, indices: Tensor) -> "_Part":
        return _Part(self.split.take(indices), self.marks[indices])

    def hold_out(self, fraction: float, seed: int) -> "tuple[_Part, _Part]":
        stay, out = hold_out(self.split.targets, fraction, seed)
        return self.take(stay), self.take(out)


def _doubts(source: Source, parts: dict[str, _Part]) -> list[str]:
    """Why results on these splits may deserve less trust than they seem to."""
    doubts = [source.conflicts] if source.conflicts else []
    train = parts["train"]
    if len(parts["val"].split) <= FEW:
        few = len(parts["val"].split)
        weight = f"one of them is {100 / few:.1f} % of them" if has_classes(train.split.targets) else "each counts"
        doubts.append(f"few validation images ({few}): {weight}")
    if has_classes(train.split.targets) and len(source.splits) < 3:
        counts = torch.bincount(source.splits["train"].targets, minlength=len(source.classes)).tolist()
        alone = [name for name, count in zip(source.classes, counts, strict=True) if count == 1]
        if alone:
            named = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
            many = f"{len(alone)} classes" if len(alone) > 1 else "1 class"
            doubts.append(f"{many} with a single image, which is in the training split alone: {named}")
    alike = [names for names in _alike(source.classes) if len(names) > 1]
    doubts.extend(f"classes whose names differ in capitals alone: {', '.join(names)}" for names in alike)
    for name in ("val", "test"):
        if same := shared(train.marks, parts[name].marks):
            size = len(parts[name].split)
            doubts.append(f"{same:,} of the {size:,} {name} images are training images too, pixel for pixel")
    return doubts


def _alike(classes: tuple[str, ...]) -> Iterable[list[str]]:
    """Names that are one name without their capitals and the spaces around them."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(name.strip().casefold(), []).append(name)
    return groups.values()


def _check_held_out(source: Source, val: int, test: int) -> None:
    """Raises BadInput where the classes are too small to hold out a single image."""
    if val and test:
        return
    targets = source.splits["train"].targets
    counts = torch.bincount(targets).tolist() if has_classes(targets) else [len(targets)]
    few, name = min((count, name) for count, name in zip(counts, source.classes, strict=False))
    what = f"class {quoted(name)}" if has_classes(targets) else "the training split"
    needed = [split for split in ("train", "val", "test") if split == "train" or split not in source.splits]
    raise BadInput(
        f"data.root: {what} has {few} image{'' if few == 1 else 's'}; at least {len(needed)} are needed "
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


def _digits(config: DataConfig) -> tuple[Source, str]:
    return _cached_at(default_root(), config, "scikit-learn", digits)


def _shapes(config: DataConfig) -> tuple[Source, str]:
    return _cached_at(default_root(), config, "made", shapes)


def _shapes_masks(config: DataConfig) -> tuple[Source, str]:
    return _cached_at(default_root(), config, "made", shapes_masks)


def _own(config: DataConfig, find: Callable[[DataConfig], Found]) -> tuple[Source, str]:
    return _found(config, find(config), default_root())  # not below config.root: those are the user's images


def _voc(config: DataConfig) -> tuple[Source, str]:
    root = data_root(config.root) if config.root else default_root()
    if not voc_is_here(root):
        download(config.dataset, root)
    return _found(config, find_voc(config, root), root)


def _found(config: DataConfig, found: Found, root: Path) -> tuple[Source, str]:
    key = fingerprint(found.files, found.layout, config.model_dump_json(exclude=AFTER_DECODING))
    source, digest = cached(root / "cache", config.dataset, key, lambda: _resized(found.read(), config.resize))
    links = map(shown, links_out(found.files, data_root(config.root) if config.root else root))
    return replace(source, notes=(*found.notes, *links, *source.notes)), digest


def _published(config: DataConfig) -> tuple[Source, str]:
    root = data_root(config.root) if config.root else default_root()
    files = find_files(config.dataset, root)
    if not files:
        download(config.dataset, root)
        files = find_files(config.dataset, root)

    def read() -> Source:
        if config.dataset in IDX_CLASSES:
            return read_idx_set(config.dataset, files)
        return read_archive_set(config.dataset, root)

    return _cached_at(root, config, fingerprint(files), read)


def _cached_at(root: Path, config: DataConfig, key: str, read: Callable[[], Source]) -> tuple[Source, str]:
    return cached(root / "cache", config.dataset, f"{key} {config.resize}", lambda: _resized(read(), config.resize))


def _resized(source: Source, side: int | None) -> Source:
    if side is None:
        return source
    splits = {
        name: Split(
            _resize(split.inputs, side),
            _resize_masks(split.targets, side) if has_masks(split.targets) else split.targets,
        )
        for name, split in source.splits.items()
    }
    return replace(source, splits=splits)


def _resize(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, side, side) uint8, bilinear and antialiased, in parts to spare memory."""
    if images.shape[2:] == (side, side):
        return images
    parts = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round_().clamp_(0, 255).byte()
        for part in torch.split(images, 2048)
    ]
    return torch.cat(parts)


def _resize_masks(masks: Tensor, side: int) -> Tensor:
    """(N, H, W) uint8 -> (N, side, side) uint8, each pixel that of the nearest: a mean of two classes is none."""
    return F.interpolate(masks[:, None], (side, side), mode="nearest-exact")[:, 0]


_READERS: dict[str, Callable[[DataConfig], tuple[Source, str]]] = {
    "digits": _digits,
    "shapes": _shapes,
    "shapes_masks": _shapes_masks,
    "folder": partial(_own, find=find_layout),
    "mask_folder": partial(_own, find=find_mask_folder),
    "voc2012": _voc,
}
"""The datasets that are read in a way of their own; the others are published files."""
