"""A dataset's name -> its training, validation and test images."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.config import DataConfig
from cnnlab.data.cache import cached, fingerprint
from cnnlab.data.dataset import Dataset, Source, Split
from cnnlab.data.digits import digits
from cnnlab.data.folder import DEFAULT_SIDE, list_images, read_folder
from cnnlab.data.places import data_root, default_root
from cnnlab.data.shapes import shapes
from cnnlab.data.split import hold_out, stratified_order
from cnnlab.data.torchvision_sets import IDX_CLASSES, download, find_files, read_archive_set, read_idx_set
from cnnlab.errors import BadInput

TEST_FRACTION = 0.2
"""Of a dataset without a test split of its own."""


def load(config: DataConfig, seed: int) -> Dataset:
    """The dataset that `config` names, with a validation split that depends on the seed alone.

    Raises:
        BadInput: files are missing or broken, or the training split is too small for what is asked of it.
    """
    source, digest = _READERS.get(config.dataset, _published)(config)
    train, val, test = source.splits["train"], source.splits.get("val"), source.splits.get("test")
    if test is None:  # the same images for every seed, so that all runs are measured on the same
        train, test = _part(train, TEST_FRACTION, seed=0)
    if val is None:
        train, val = _part(train, config.val_fraction, seed)
    _check_held_out(source, len(val), len(test))
    _check_sizes(config, len(train))
    if config.train_size is not None:
        train = train.take(stratified_order(train.targets, seed)[: config.train_size].sort().values)
    return Dataset(config.dataset, source.classes, train, val, test, digest, source.origin, source.skipped)


def _part(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    stay, out = hold_out(split.targets, fraction, seed)
    return split.take(stay), split.take(out)


def _check_held_out(source: Source, val: int, test: int) -> None:
    """Raises BadInput where the classes are too small to hold out a single image."""
    if val and test:
        return
    counts = torch.bincount(source.splits["train"].targets).tolist()
    few, name = min(zip(counts, source.classes, strict=True))
    without = [split for split in ("val", "test") if split not in source.splits]
    raise BadInput(
        f"data.root: the class {name} has {few} of the {1 + len(without)} images that it takes to hold one out for "
        f"{' and '.join(without)} each; put in more, or give folders train, val and test"
    )


def _check_sizes(config: DataConfig, train: int) -> None:
    if config.train_size is not None and config.train_size > train:
        raise BadInput(f"data.train_size: {config.train_size} is not allowed; the training split has {train} images")
    train = config.train_size or train
    if config.batch_size != "full" and config.batch_size > train:
        raise BadInput(
            f"data.batch_size: {config.batch_size} is not allowed; it must be from 1 to {train}, "
            "the size of the training split, or full"
        )


def _digits(config: DataConfig) -> tuple[Source, str]:
    return _cached_at(default_root(), config, "scikit-learn", digits)


def _shapes(config: DataConfig) -> tuple[Source, str]:
    return _cached_at(default_root(), config, "made", shapes)


def _folder(config: DataConfig) -> tuple[Source, str]:
    listing = list_images(config.root)
    side = config.resize or DEFAULT_SIDE
    files = [path for classes in listing.values() for paths in classes.values() for path in paths]
    key = fingerprint(files, side, config.skip_broken)
    # not below config.root: those are the user's images
    return cached(
        default_root() / "cache",
        "folder",
        key,
        lambda: read_folder(listing, str(config.root), side, config.skip_broken),
    )


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
    splits = {name: Split(_resize(split.inputs, side), split.targets) for name, split in source.splits.items()}
    return Source(source.classes, splits, source.origin, source.skipped)


def _resize(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, side, side) uint8, bilinear and antialiased, in parts to spare memory."""
    parts = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round_().clamp_(0, 255).byte()
        for part in torch.split(images, 2048)
    ]
    return torch.cat(parts)


_READERS: dict[str, Callable[[DataConfig], tuple[Source, str]]] = {
    "digits": _digits,
    "shapes": _shapes,
    "folder": _folder,
}
"""The datasets that are read in a way of their own; the others are published files."""
