"""Images as arrays in .npz and .npy files: train_images and train_labels as MedMNIST has them, x_train and so on."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from cnnlab.data.dataset import Source, Split
from cnnlab.data.kinds import check_unpacked, odd_kind
from cnnlab.data.labels import numbered
from cnnlab.data.listing import shown
from cnnlab.data.names import SPLITS, split_named
from cnnlab.data.pictures import scale, to_bytes
from cnnlab.errors import LONGEST_REASON, BadInput, one_line, shortened

Array: TypeAlias = np.ndarray[Any, Any]
Role: TypeAlias = tuple[str, str]
"""A split, and "images" or "labels"."""

_WORDS = {"images": ("images", "image", "imgs", "x", "data"), "labels": ("labels", "label", "y", "targets", "target")}


def role(name: str) -> Role | None:
    """What an array of this name is: `x_train` is the images of train, `labels` those of the only split."""
    words = re.split(r"[\W_]+", name.lower())
    what = [kind for kind, meant in _WORDS.items() if any(word in meant for word in words)]
    splits = [split for word in words if (split := split_named(word))]
    return (splits[0] if splits else "train", what[0]) if len(what) == 1 and len(splits) <= 1 else None


def npy_pairs(paths: list[Path]) -> list[Path]:
    """The .npy files among these that are images or labels by their names, if there are both for training."""
    found = [path for path in paths if path.suffix.lower() == ".npy" and role(path.stem)]
    roles = {role(path.stem) for path in found}
    return found if {("train", "images"), ("train", "labels")} <= roles else []


def read_npz(path: Path) -> Source:
    """One file with all arrays. Raises BadInput, naming it, for what is not that."""
    try:
        # opened here, since NumPy leaves the file open if it is no archive
        with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
            check_unpacked(path, sum(member.file_size for member in archive.infolist()))
            names = sorted(archive.namelist())
            arrays = {}
            for name in names:
                if role(stem := name.removesuffix(".npy")):
                    with archive.open(name) as member:
                        arrays[stem] = np.lib.format.read_array(member, allow_pickle=False)
    except BadInput:
        raise
    except Exception as error:  # what zipfile and NumPy raise of a broken file: 12 kinds of exceptions
        raise BadInput(f"data.root: {path} cannot be read as an .npz file ({_why(path, error)})") from None
    return _source(arrays, path, path, [name.removesuffix(".npy") for name in names])


def read_npy(paths: list[Path]) -> Source:
    """A file for each array. Raises BadInput, naming one, for what is not that."""
    arrays = {}
    for path in paths:
        try:
            arrays[path.stem] = np.load(path, allow_pickle=False)
        except Exception as error:
            raise BadInput(f"data.root: {path} cannot be read as an .npy file ({_why(path, error)})") from None
    return _source(arrays, paths[0].parent, paths[0].parent, sorted(arrays))


def _why(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error) and odd_kind(path) is None:
        return "it has Python objects, as of images of several sizes; save arrays of numbers or words"
    if kind := odd_kind(path):
        return kind
    why = shortened(one_line(str(error)) or type(error).__name__, LONGEST_REASON)
    return why if isinstance(error, OSError | MemoryError) else f"it is damaged or not whole: {why}; get it again"


def _source(arrays: Mapping[str, Array], origin: Path, where: Path, names: list[str]) -> Source:
    by_role: dict[Role, str] = {}
    for name in arrays:
        found = role(name)
        if found in by_role:
            raise BadInput(f"data.root: {where} has {by_role[found]} and {name}, which mean the same; remove one")
        if found:
            by_role[found] = name
    splits = [split for split in SPLITS if (split, "images") in by_role and (split, "labels") in by_role]
    if "train" not in splits:
        raise BadInput(
            f"data.root: {where} has the arrays {', '.join(names)}; needed are train_images and train_labels, or such"
        )
    images = {split: arrays[by_role[split, "images"]] for split in splits}
    classes, targets = numbered({split: arrays[by_role[split, "labels"]] for split in splits}, where)
    pixels, notes = as_bytes({split: _channels_first(some, where) for split, some in images.items()}, where)
    return Source(
        classes=classes,
        splits={split: Split(torch.from_numpy(pixels[split]), targets[split]) for split in splits},
        origin=shown(str(origin.resolve())),
        notes=notes,
    )


def _channels_first(images: Array, where: Path) -> Array:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) -> (N, C, H, W), C being 1 or 3."""
    if images.ndim == 3 and images[:1].size:
        return images[:, None]
    if images.ndim == 4 and images[:1].size and images.shape[3] in (1, 3):
        return np.moveaxis(images, 3, 1)
    if images.ndim == 4 and images[:1].size and images.shape[1] in (1, 3):
        return images
    raise BadInput(
        f"data.root: {where} has images of the shape {images.shape}; "
        "needed is (number, height, width), with 1 or 3 channels behind the number or at the end"
    )


def as_bytes(images: Mapping[str, Array], where: Path) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Of any numbers uint8, all splits by one scale, and what is to be said of it."""
    kinds = {some.dtype.kind for some in images.values()}
    if all(some.dtype == np.uint8 for some in images.values()):
        return {split: np.ascontiguousarray(some) for split, some in images.items()}, ()
    if not kinds <= set("biuf"):
        raise BadInput(f"data.root: {where} has images of the type {next(iter(images.values())).dtype}, no numbers")
    if kinds == {"b"}:
        return {split: some * np.uint8(255) for split, some in images.items()}, ()
    finite = [some[np.isfinite(some)] if some.dtype.kind == "f" else some for some in images.values()]
    low = min((float(some.min()) for some in finite if some.size), default=0.0)
    high = max((float(some.max()) for some in finite if some.size), default=0.0)
    bottom, top = scale("real" if "f" in kinds else "whole", low, high)
    note = f"values from {low:g} to {high:g}: {bottom:g} is shown as 0 and {top:g} as 255"
    return {split: np.ascontiguousarray(to_bytes(some, bottom, top)) for split, some in images.items()}, (note,)
