"""Files that were located and are read later; pictures and their classes; classes numbered from 0."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.config import DataConfig
from cnnlab.data.dataset import Source, Split
from cnnlab.data.kinds import bad_files
from cnnlab.data.pictures import NAMED, Picture, decode_all
from cnnlab.data.tree import nfc, shown

DEFAULT_SIDE = 64


@dataclass(frozen=True)
class Unread:
    """A dataset whose files are known but not yet decoded."""

    files: list[Path]
    """All files that decide what `read` returns."""
    read: Callable[[], Source]
    layout: str = ""
    notes: tuple[str, ...] = ()
    """What was chosen and what was passed over, one line each."""


@dataclass(frozen=True)
class Listing:
    """Split -> its pictures and the number of the class of each; the tables that say so."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[list[Picture], list[int]]]
    tables: tuple[Path, ...] = ()


def listing(named: Mapping[str, Sequence[tuple[Picture, str]]], classes: Iterable[str] | None = None) -> Listing:
    """From split -> pictures with the names of their classes; without `classes`, these are sorted by their names.

    Raises BadInput if there are fewer than two classes, or a split has one that the training split does not have.
    """
    named = {split: [(picture, nfc(name)) for picture, name in some] for split, some in named.items()}
    order = tuple(classes if classes is not None else sorted({name for _, name in named["train"]}, key=_by_number))
    if len(order) < 2:
        raise bad_files(f"all training images are of the class {shown(order[0])}; at least 2 are needed")
    number = {name: index for index, name in enumerate(order)}
    for split, some in named.items():
        if strange := [(picture, name) for picture, name in some if name not in number]:
            picture, name = strange[0]
            raise bad_files(f"{picture.name} in {split} is of the class {shown(name)}, which no training image is")
    splits = {split: ([p for p, _ in some], [number[name] for _, name in some]) for split, some in named.items()}
    return Listing(order, splits)


def _by_number(name: str) -> tuple[bool, float, str]:
    """Sorts names of digits by their value, before all others."""
    return (not name.isdecimal(), float(name) if name.isdecimal() else 0, name)


def read_pictures(listed: Listing, top: Path, config: DataConfig) -> Source:
    """Decode all pictures to (3, side, side), all splits together, since one rule shows the deep values of all.

    Raises BadInput if some files are no images (unless skip_broken), or no image of a class is left.
    """
    side = config.resize or DEFAULT_SIDE
    decoded = decode_all([p for pictures, _ in listed.splits.values() for p in pictures], side, config.skip_broken)
    splits, names, start = {}, {}, 0
    for name, (pictures, numbers) in listed.splits.items():
        part = slice(start, start := start + len(pictures))
        images, good, labels = decoded.images[part], decoded.good[part], np.array(numbers, np.int64)
        if gone := sorted(set(numbers) - set(labels[good].tolist())):
            label = shown(listed.classes[gone[0]])
            raise bad_files(f"the class {label} of {name} has no file that is an image")
        if not good.all():
            images, labels = images[good], labels[good]
        splits[name] = Split(torch.from_numpy(images), torch.from_numpy(labels))
        names[name] = [shown(picture.name) for picture, yes in zip(pictures, good, strict=True) if yes]
    return Source(
        classes=tuple(map(shown, listed.classes)),
        splits=splits,
        origin=shown(str(top.resolve())),
        skipped=len(decoded.skipped),
        skipped_first=tuple(map(shown, decoded.skipped[:NAMED])),
        notes=tuple(map(shown, decoded.notes)),
        names=names,
    )


def numbered(
    labels: Mapping[str, np.ndarray[Any, Any]], where: object, names: Mapping[Any, str] | None = None
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The classes are the sorted values in the training split: words, or numbers from any first one and with gaps.

    Args:
        labels: split -> (N,) or (N, 1) whole numbers or words.
        where: the file, for messages.
        names: value -> the name of its class; without one the value itself is the name.

    Returns:
        the classes' names, and split -> (N,) int64.

    Raises:
        BadInput: other labels, fewer than two classes, or a class that is in no training image.
    """
    flat = {split: _flat(values, where) for split, values in labels.items()}
    values = np.unique(flat["train"])
    if len(values) < 2:
        raise bad_files(f"{where} has {len(values)} classes in its training split; at least 2 are needed")
    for split, some in flat.items():
        if strange := sorted(set(np.unique(some).tolist()) - set(values.tolist())):
            raise bad_files(f"{where} has the class {strange[0]} in {split}, but not in its training split")
    numbers = {split: torch.from_numpy(np.searchsorted(values, some).astype(np.int64)) for split, some in flat.items()}
    return tuple((names or {}).get(value, str(value)) for value in values.tolist()), numbers


def _flat(values: np.ndarray[Any, Any], where: object) -> np.ndarray[Any, Any]:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise bad_files(f"{where} has labels of the shape {values.shape}; one class per image is needed")
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iubUS":
        raise bad_files(f"{where} has labels of the type {values.dtype}; whole numbers or words are needed")
    return np.array([nfc(value) for value in values.tolist()]) if values.dtype.kind == "U" else values
