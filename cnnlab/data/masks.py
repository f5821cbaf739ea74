"""Images with masks: the pairs of files in a folder, and how they are read."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import NamedTuple

from cnnlab.config import DataConfig
from cnnlab.config.data import VOID
from cnnlab.config.messages import nearest_path
from cnnlab.data.dataset import Source
from cnnlab.data.folders import find_splits, side_named, split_folders
from cnnlab.data.kinds import bad_files
from cnnlab.data.listing import DEFAULT_SIDE, Unread, as_source
from cnnlab.data.mask_values import as_classes, decode_masks
from cnnlab.data.pictures import decode_all, on_disk, upright_size
from cnnlab.data.tree import Tree, data_root, nfc, split_named
from cnnlab.errors import BadInput

CLASSES_FILE = "classes.txt"
"""Beside the folders: the name of class 0, 1 .., one per line."""
MASK_ENDING = re.compile(r"[ _.-](masks?|seg|segmentation|gt|labels?|annotations?)$", re.IGNORECASE)
"""What may follow the name of the image in the name of its mask."""
NEEDED = (
    "needed are images/ and masks/ side by side, or pairs like a.jpg and a_mask.png, perhaps in train/, val/, test/"
)


class Pair(NamedTuple):
    """An image and its mask."""

    image: Path
    mask: Path


Sides = tuple[Path, Path]
"""The folder of images and that of masks, which may be the same."""


def find_mask_folder(config: DataConfig) -> Unread:
    """The images and masks at `config.root`. Raises BadInput if there are none, or a mask has no image."""
    if not config.root:
        raise bad_files(f"the dataset mask_folder needs --data-root, a folder; {NEEDED}")
    root = data_root(config.root)
    if not root.is_dir():
        raise bad_files(f"{config.root} is not a folder; {NEEDED}{nearest_path(root)}")
    tree = Tree()
    top = tree.enter(root)
    pairs = {split: _pairs(tree, *sides) for split, sides in _find_sides(tree, top).items()}
    names = [path for path in tree.look(top).files if path.name == CLASSES_FILE]
    if names and config.colours:
        raise BadInput(f"data.colours: {names[0]} names the classes too; remove one of them")
    files = [*(path for some in pairs.values() for pair in some for path in pair), *names]
    read = partial(read_pairs, pairs, _class_names(*names) if names else None, top, config)
    return Unread(files, read, notes=tree.all_notes(files, root))


def _find_sides(tree: Tree, top: Path) -> dict[str, Sides]:
    """Split -> where its images and masks are."""
    content = tree.look(top)
    splits = {*find_splits(tree, top).values()} | {split_named(folder.name) for folder in content.folders} - {None}
    sides = _sides(tree, top)
    if "train" in splits or (splits and not sides):
        folders = split_folders(tree, top, used=(CLASSES_FILE,))
        return {split: _sides(tree, folder) or (folder, folder) for split, folder in folders.items()}
    if not sides:
        return {"train": (top, top)}
    tree.pass_over([folder for folder in content.folders if folder not in sides], "neither images nor masks")
    tree.pass_over([path for path in content.files if path.name != CLASSES_FILE], "beside the folders")
    if not any(find_splits(tree, side) for side in sides):
        return {"train": sides}
    images, masks = (split_folders(tree, side) for side in sides)
    if extra := masks.keys() - images.keys():
        raise bad_files(f"{masks[extra.pop()]} has masks of a split that {sides[0]} does not have; put in its images")
    tree.pass_over([folder for split, folder in images.items() if split not in masks], "images without masks")
    tree.notes.append(", ".join(f"{s} is {images[s].relative_to(top)} with {masks[s].relative_to(top)}" for s in masks))
    return {split: (images[split], folder) for split, folder in masks.items()}


def _sides(tree: Tree, folder: Path) -> Sides | None:
    """The folders of images and of masks in it, if it has both."""
    inside: dict[str, Path] = {}
    for inner in tree.look(folder).folders:
        if (side := side_named(inner.name)) and (twin := inside.setdefault(side, inner)) != inner:
            raise bad_files(f"{twin} and {inner} both mean {side}; remove or rename one")
    return (inside["images"], inside["masks"]) if len(inside) == 2 else None


def _pairs(tree: Tree, image_folder: Path, mask_folder: Path) -> list[Pair]:
    """In the order of their names."""
    images = _by_name(tree, image_folder)
    if image_folder == mask_folder:
        masks = {name: images.pop(name) for name in list(images) if MASK_ENDING.search(name)}
    else:
        masks = _by_name(tree, mask_folder)
    paired: dict[str, Path] = {}
    for name, mask in masks.items():
        image = name if name in images else MASK_ENDING.sub("", name)
        if image not in images:
            raise bad_files(f"{mask} has no image of its name in {image_folder}; put one in or remove it")
        if image in paired:
            raise bad_files(f"{paired[image]} and {mask} are both masks of {images[image]}; remove one")
        paired[image] = mask
    tree.pass_over([path for name, path in images.items() if name not in paired], "images without a mask")
    if not paired and image_folder == mask_folder:
        has = ", ".join(f"{inner.name}/" for inner in tree.look(image_folder).folders) or f"{len(images)} images"
        raise bad_files(f"{image_folder} has {has}, but no masks; {NEEDED}")
    if not paired:
        raise bad_files(f"{mask_folder} has no masks; put in one per image, of the same name")
    return [Pair(images[name], paired[name]) for name in sorted(paired)]


def _by_name(tree: Tree, folder: Path) -> dict[str, Path]:
    """Path inside the folder, without the extension, in NFC -> the file, of those that are images by their names."""
    images, others = tree.pictures(folder)
    by_name: dict[str, Path] = {}
    for path in images:
        if (twin := by_name.setdefault(nfc(str(path.relative_to(folder).with_suffix(""))), path)) != path:
            raise bad_files(f"{twin} and {path} have one name; remove or rename one")
    tree.pass_over([path for path in others if path.name != CLASSES_FILE], f"no images, in {folder.name}")
    return by_name


def _class_names(path: Path) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise bad_files(f"{path} cannot be read ({error})") from None
    if not 2 <= len(names) <= VOID:
        raise bad_files(f"{path} has {len(names)} lines; it must have one per class, from 2 to {VOID}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise bad_files(f"{path} names the class {twice[0] or 'of an empty line'} twice; give each its own")
    return names


def read_pairs(
    pairs: Mapping[str, Sequence[Pair]], classes: tuple[str, ...] | None, top: Path, config: DataConfig
) -> Source:
    """Decode images to (3, side, side) and masks to (side, side), all splits together.

    An image whose mask is all void is left out: its loss is undefined, so no mean may count it.
    pairs: of each split; classes: their names, or None to number those that the masks have.

    Raises BadInput if a file is no image or no mask, or a mask has another size than its image or a value of no class.
    """
    side = config.resize or DEFAULT_SIDE
    every = [pair for some in pairs.values() for pair in some]
    decoded = decode_all([on_disk(pair.image) for pair in every], side, config.skip_broken)
    paths = [pair.mask for pair in every]
    values, files = decode_masks([on_disk(path) for path in paths], side)
    targets, classes, notes = as_classes(values, files, paths, classes, config.colours, top)
    for pair in compress(every, decoded.good):
        image, mask = (upright_size(on_disk(path)) for path in pair)
        if image != mask:
            raise bad_files(
                f"{pair.mask} has {mask[0]}x{mask[1]} pixels, but its image {pair.image} has "
                f"{image[0]}x{image[1]}; a mask has the size of its image"
            )
    void = decoded.good & (targets == VOID).all((1, 2))
    if void.any():
        first = paths[int(void.argmax())]
        notes.append(f"left out, as their masks are all void: {void.sum():,} of {len(every):,} images, {first} first")
    images = {split: [on_disk(pair.image) for pair in some] for split, some in pairs.items()}
    return as_source(images, decoded, targets, decoded.good & ~void, classes, top, notes)
