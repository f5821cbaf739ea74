"""Images with masks: a file beside each image that has the number of a class for each pixel."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cnnlab.config import DataConfig
from cnnlab.config.data import VOID
from cnnlab.config.messages import nearest_path
from cnnlab.data.dataset import Source, Split
from cnnlab.data.folders import split_folders
from cnnlab.data.layouts import Found
from cnnlab.data.listing import DEFAULT_SIDE, shown
from cnnlab.data.names import split_named
from cnnlab.data.pictures import SUFFIXES, Masks, decode_all, decode_masks, on_disk, upright_size
from cnnlab.data.places import data_root
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput

CLASSES_FILE = "classes.txt"
"""Beside the folders: the name of class 0, 1 .., one a line."""
LOSSY = frozenset((".jpg", ".jpeg", ".jpe", ".jfif"))
"""Of files that do not keep the values that were written."""
NEEDED = "needed are images/ and masks/ side by side, or inside train/, val/ and test/"


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


Pairs = Mapping[str, Sequence[Pair]]
"""Split -> its pairs."""


def find_mask_folder(config: DataConfig) -> Found:
    """The images and masks of the same names at `config.root`.

    Raises:
        BadInput: nothing of the kind is there, or a mask has no image.
    """
    if not config.root:
        raise BadInput(f"data.root: the dataset mask_folder needs --data-root, a folder; {NEEDED}")
    root = data_root(config.root)
    if not root.is_dir():
        raise BadInput(f"data.root: {config.root} is not a folder; {NEEDED}{nearest_path(root)}")
    tree = Tree()
    top = tree.enter(root)
    content = tree.look(top)
    if any(split_named(folder.name) == "train" for folder in content.folders):
        folders = split_folders(tree, top, used=(CLASSES_FILE,))
    else:
        folders = {"train": top}
        others = [folder for folder in content.folders if folder.name.lower() not in ("images", "masks")]
        tree.pass_over(others, "neither images nor masks")
        tree.pass_over([path for path in content.files if path.name != CLASSES_FILE], "beside the folders")
    pairs = {split: _pairs(tree, folder) for split, folder in folders.items()}
    names = [path for path in content.files if path.name == CLASSES_FILE]
    files = [path for some in pairs.values() for pair in some for path in pair]
    classes = _class_names(*names) if names else None
    read = partial(read_pairs, pairs, classes, top, config)
    return Found([*files, *names], read, "masks", tree.said())


def _pairs(tree: Tree, folder: Path) -> list[Pair]:
    """In the order of their names."""
    inside = {inner.name.lower(): inner for inner in tree.look(folder).folders}
    if not {"images", "masks"} <= inside.keys():
        has = ", ".join(f"{name}/" for name in inside) or "no folder"
        raise BadInput(f"data.root: {folder} has {has}; {NEEDED}")
    images, masks = (_by_name(tree, inside[name]) for name in ("images", "masks"))
    for name, mask in masks.items():
        if name not in images:
            raise BadInput(f"data.root: {mask} has no image of its name in {inside['images']}; put one in or remove it")
        if mask.suffix.lower() in LOSSY:
            raise BadInput(f"data.root: {mask} is a JPEG, which changes the numbers of the classes; save masks as PNG")
    tree.pass_over([path for name, path in images.items() if name not in masks], "images without a mask")
    if not masks:
        raise BadInput(f"data.root: {inside['masks']} has no masks; put in one per image, of the same name")
    return [Pair(images[name], masks[name]) for name in sorted(masks)]


def _by_name(tree: Tree, folder: Path) -> dict[str, Path]:
    """Path inside the folder, without the extension -> the file, of those that are images by their names."""
    found: dict[str, Path] = {}
    others = []
    for path in tree.files(folder):
        name = str(path.relative_to(folder).with_suffix(""))
        if path.suffix.lower() not in SUFFIXES:
            others.append(path)
        elif name in found:
            raise BadInput(f"data.root: {found[name]} and {path} have one name; remove or rename one")
        else:
            found[name] = path
    tree.pass_over(others, f"no images, in {folder.name}")
    return found


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"data.root: {path} cannot be read ({error})") from None
    if not 2 <= len(names) <= VOID:
        raise BadInput(f"data.root: {path} has {len(names)} lines; it must have one per class, from 2 to {VOID}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"data.root: {path} names the class {twice[0] or 'of an empty line'} twice; give each its own")
    return names


def read_pairs(pairs: Pairs, classes: tuple[str, ...] | None, top: Path, config: DataConfig) -> Source:
    """Decode images to (3, side, side) and masks to (side, side), all splits in one go.

    Args:
        classes: their names; None to number those that the masks have.

    Raises:
        BadInput: naming a file that is no image or no mask, a mask of another size, or one with a class too many.
    """
    side = config.resize or DEFAULT_SIDE
    every = [pair for some in pairs.values() for pair in some]
    decoded = decode_all([on_disk(pair.image) for pair in every], side, config.skip_broken)
    masks = decode_masks([on_disk(pair.mask) for pair in every], side)
    for pair, good in zip(every, decoded.good, strict=True):
        if good:
            _check_size(pair)
    names = classes or _numbered(masks, top)
    _check_labels(every, masks, names)
    splits, start = {}, 0
    for split, some in pairs.items():
        part = slice(start, start := start + len(some))
        good = decoded.good[part]
        images, values = decoded.images[part][good], masks.values[part][good]
        splits[split] = Split(torch.from_numpy(images), torch.from_numpy(values))
    return Source(
        classes=names,
        splits=splits,
        origin=shown(str(top.resolve())),
        skipped=int((~decoded.good).sum()),
        notes=(*map(shown, decoded.notes), *_unused(names, masks)),
    )


def _check_size(pair: Pair) -> None:
    image, mask = (upright_size(on_disk(path)) for path in pair)
    if image != mask:
        raise BadInput(
            f"data.root: {pair.mask} has {mask[0]}x{mask[1]} pixels, but its image {pair.image} has "
            f"{image[0]}x{image[1]}; a mask has the size of its image"
        )


def _numbered(masks: Masks, top: Path) -> tuple[str, ...]:
    """Classes from 0 to the greatest number in any mask."""
    found = np.flatnonzero(masks.present.any(0)).tolist()
    classes = [value for value in found if value != VOID]
    if len(classes) < 2:
        void = f" and {VOID}, which is void; write another number for the class that {VOID} was to be" * (VOID in found)
        raise BadInput(f"data.root: the masks in {top} have only {', '.join(map(str, classes)) or 'no class'}{void}")
    return tuple(str(number) for number in range(classes[-1] + 1))


def _check_labels(every: Sequence[Pair], masks: Masks, classes: tuple[str, ...]) -> None:
    strange = masks.present[:, len(classes) : VOID]
    if strange.any():
        index = int(strange.any(1).argmax())
        raise BadInput(
            f"data.root: {every[index].mask} has the number {len(classes) + int(strange[index].argmax())}, but the "
            f"{len(classes)} classes are numbered from 0; only {VOID} is void"
        )


def _unused(classes: tuple[str, ...], masks: Masks) -> list[str]:
    used = set(np.flatnonzero(masks.present.any(0)).tolist())
    unused = [name for number, name in enumerate(classes) if number not in used]
    if not unused:
        return []
    return [f"classes that no pixel is of ({len(unused)}): {', '.join(unused[:5])}{', ...' if len(unused) > 5 else ''}"]
