"""Pictures and their classes, listed from one's own files: what is found first and decoded later."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cnnlab.data.dataset import Source, Split
from cnnlab.data.names import nfc
from cnnlab.data.pictures import Picture, decode_all
from cnnlab.errors import BadInput, printable

DEFAULT_SIDE = 64


@dataclass(frozen=True)
class Listing:
    """Split -> its pictures and the number of the class of each."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[list[Picture], list[int]]]


def listing(named: Mapping[str, Sequence[tuple[Picture, str]]], classes: Iterable[str] | None = None) -> Listing:
    """From split -> pictures with the names of their classes; classes in the order of their names, if none is given.

    Raises:
        BadInput: fewer than two classes, or a split has one that the training split has not got.
    """
    named = {split: [(picture, nfc(name)) for picture, name in some] for split, some in named.items()}
    order = tuple(classes if classes is not None else sorted({name for _, name in named["train"]}, key=by_number))
    if len(order) < 2:
        raise BadInput(f"data.root: all training images are of the class {shown(order[0])}; at least 2 are needed")
    number = {name: index for index, name in enumerate(order)}
    for split, some in named.items():
        if strange := [(picture, name) for picture, name in some if name not in number]:
            picture, name = strange[0]
            raise BadInput(
                f"data.root: {picture.name} in {split} is of the class {shown(name)}, which no training image is"
            )
    return Listing(
        order, {split: ([p for p, _ in some], [number[name] for _, name in some]) for split, some in named.items()}
    )


def by_number(name: str) -> tuple[bool, float, str]:
    """A key that sorts names of digits by what they are worth, before all others."""
    return (not name.isdecimal(), float(name) if name.isdecimal() else 0, name)


def read_pictures(listed: Listing, top: Path, side: int, skip_broken: bool) -> Source:
    """Decode every picture to (3, side, side), all splits in one go, since they share how deep values are shown.

    Raises:
        BadInput: naming the files that are no images (unless skip_broken), or a class of which nothing is left.
    """
    decoded = decode_all([p for pictures, _ in listed.splits.values() for p in pictures], side, skip_broken)
    splits, names, start = {}, {}, 0
    for name, (pictures, numbers) in listed.splits.items():
        part = slice(start, start := start + len(pictures))
        images, good, labels = decoded.images[part], decoded.good[part], np.array(numbers, np.int64)
        if gone := sorted(set(numbers) - set(labels[good].tolist())):
            label = shown(listed.classes[gone[0]])
            raise BadInput(f"data.root: the class {label} of {name} has no file that is an image")
        if not good.all():
            images, labels = images[good], labels[good]
        splits[name] = Split(torch.from_numpy(images), torch.from_numpy(labels))
        names[name] = [shown(picture.name) for picture, yes in zip(pictures, good, strict=True) if yes]
    return Source(
        classes=tuple(map(shown, listed.classes)),
        splits=splits,
        origin=shown(str(top.resolve())),
        skipped=decoded.skipped,
        notes=tuple(map(shown, decoded.notes)),
        names=names,
    )


def shown(name: str) -> str:
    """A file's name as text: of bytes that are no UTF-8, and of control characters, it has the numbers."""
    return printable(os.fsencode(name).decode("utf-8", "backslashreplace"))
