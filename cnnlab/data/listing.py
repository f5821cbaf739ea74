"""Files that were located and are read later; pictures and their classes, numbered from 0."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

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
        have = f"all training images are of the class {shown(order[0])}" if order else "there are 0 classes"
        raise bad_files(f"{have}; at least 2 are needed")
    number = {name: index for index, name in enumerate(order)}
    for split, some in named.items():
        if strange := [(picture, name) for picture, name in some if name not in number]:
            picture, name = strange[0]
            raise bad_files(f"{picture.name} in {split} is of the class {shown(name)}, which no training image is")
    splits = {split: ([p for p, _ in some], [number[name] for _, name in some]) for split, some in named.items()}
    return Listing(order, splits)


def _by_number(name: str) -> tuple[bool, int, str]:
    """Sorts whole numbers by their value, before all other names."""
    is_number = re.fullmatch(r"-?\d{1,30}", name) is not None
    return (not is_number, int(name) if is_number else 0, name)


def name_classes(listed: Listing, names: Sequence[str]) -> Listing:
    """With the names of the classes that are called 0, 1 .., as far as there are names."""
    known = {str(number): name for number, name in enumerate(names)}
    return replace(listed, classes=tuple(known.get(name, name) for name in listed.classes))


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
