"""Files that were located and are read later: pictures with the names of their classes, and what holds them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cnnlab.config import DataConfig
from cnnlab.data.dataset import Source, Split
from cnnlab.data.kinds import bad_files
from cnnlab.data.pictures import Decoded, Picture, decode_all
from cnnlab.data.tree import nfc

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


class Listing(NamedTuple):
    """Split -> its pictures, each with the name of its class."""

    named: Mapping[str, Sequence[tuple[Picture, str]]]
    classes: tuple[str, ...] = ()
    """In their order; if empty, the sorted names of the training pictures' classes."""
    tables: tuple[Path, ...] = ()
    """The files that say the classes."""


def read_pictures(listed: Listing, top: Path, config: DataConfig, titles: Sequence[str] = ()) -> Source:
    """Decode all pictures to (3, side, side), all splits together, since one rule shows the deep values of all.

    titles: what the classes 0, 1 .. are called, as far as there are titles.

    Raises BadInput if there are fewer than two classes, a split has one that the training split does not have, some
    files are no images (unless skip_broken), or no image of a class is left.
    """
    named = {split: [(picture, nfc(name)) for picture, name in some] for split, some in listed.named.items()}
    classes = listed.classes or tuple(sorted({name for _, name in named["train"]}, key=_by_number))
    if len(classes) < 2:
        have = f"all training images are of the class {classes[0]}" if classes else "there are 0 classes"
        raise bad_files(f"{have}; at least 2 are needed")
    number = {name: index for index, name in enumerate(classes)}
    for split, some in named.items():
        if strange := [(picture, name) for picture, name in some if name not in number]:
            picture, name = strange[0]
            raise bad_files(f"{picture.name} in {split} is of the class {name}, which no training image is")
    parts = {split: [picture for picture, _ in some] for split, some in named.items()}
    labels = np.array([number[name] for some in named.values() for _, name in some], np.int64)
    pictures = [picture for some in parts.values() for picture in some]
    decoded = decode_all(pictures, config.resize or DEFAULT_SIDE, config.skip_broken, config.rendering)
    known = {str(index): title for index, title in enumerate(titles)}
    source = as_source(parts, decoded, labels, decoded.good, tuple(known.get(name, name) for name in classes), top)
    for split, some in named.items():
        if gone := sorted({number[name] for _, name in some} - set(source.splits[split].targets.tolist())):
            raise bad_files(f"the class {source.classes[gone[0]]} of {split} has no file that is an image")
    return source


def _by_number(name: str) -> tuple[bool, int, str]:
    """Sorts whole numbers by their value, before all other names."""
    is_number = re.fullmatch(r"-?\d{1,30}", name) is not None
    return (not is_number, int(name) if is_number else 0, name)


def as_source(
    parts: Mapping[str, Sequence[Picture]],
    decoded: Decoded,
    targets: "np.ndarray[Any, Any]",
    kept: "np.ndarray[Any, np.dtype[np.bool_]]",
    classes: tuple[str, ...],
    top: Path,
    notes: Sequence[str] = (),
) -> Source:
    """The splits of pictures that were decoded together; kept: (N,), which of them are used."""
    splits, names, start = {}, {}, 0
    for split, pictures in parts.items():
        part = slice(start, start := start + len(pictures))
        whole = kept[part].all()  # then there is no copy
        images, labels = (every[part] if whole else every[part][kept[part]] for every in (decoded.images, targets))
        splits[split] = Split(torch.from_numpy(images), torch.from_numpy(labels))
        names[split] = [picture.name for picture in compress(pictures, kept[part])]
    return Source(
        classes,
        splits,
        str(top.resolve()),
        skipped=decoded.skipped,
        notes=(*decoded.notes, *notes),
        names=names,
        rendering=decoded.how,
    )
