"""Images with masks: the pairs of files, and the class of each pixel by its number, its grey level or its colour."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnnlab.config import DataConfig
from cnnlab.config.data import VOID, VOID_NAME
from cnnlab.config.messages import nearest_path
from cnnlab.data.dataset import Source
from cnnlab.data.folders import find_splits, side_named, split_folders
from cnnlab.data.kinds import bad_files
from cnnlab.data.listing import DEFAULT_SIDE, Unread, as_source
from cnnlab.data.pictures import (
    Array,
    Images,
    Picture,
    decode_all,
    decode_each,
    on_disk,
    opened,
    room_for,
    unreadable,
    upright,
    upright_size,
)
from cnnlab.data.tree import Tree, data_root, nfc, split_named
from cnnlab.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

CLASSES_FILE = "classes.txt"
"""Beside the folders: the name of class 0, 1 .., one per line."""
MASK_ENDING = re.compile(r"[ _.-](masks?|seg|segmentation|gt|labels?|annotations?)$", re.IGNORECASE)
"""What may follow the name of the image in the name of its mask."""
NEEDED = (
    "needed are images/ and masks/ side by side, or pairs like a.jpg and a_mask.png, perhaps in train/, val/, test/"
)
SMOOTHED = (
    "masks saved as JPEG or resized with smoothing mix the values of the classes; save masks as PNG, "
    "resize them with nearest"
)
"""Why a mask has values that are no classes, and what to do."""
SOLID = 0.2
"""A class has at least this number of uniform 2x2 squares per pixel; values that smoothing made at edges have fewer."""
MOST_LEVELS = 16
"""The most values that can be grey levels: among more values, almost any set is evenly spread."""


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
    decoded = decode_all([on_disk(pair.image) for pair in every], side, config.skip_broken, config.rendering)
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


class MaskFile(NamedTuple):
    """The K values in a mask's file, before it is cropped; each array is (K,)."""

    stored: Array
    """What stands for the value in the decoded mask."""
    number: Array
    """The value of a grey pixel, or the index into a palette; -1 for another colour."""
    colour: Array
    """0xRRGGBB"""
    pixels: Array
    """The number of pixels of this value."""
    blocks: Array
    """The number of squares of 2x2 pixels that have only this value."""
    palette: bool


def decode_masks(pictures: Sequence[Picture], side: int) -> tuple[Images, list[MaskFile]]:
    """Palette, grey or RGB images with their values unchanged, cropped and scaled as images are.

    Each pixel takes the value of the nearest in the file, since the mean of two classes is no class.

    Returns:
        (N, side, side) what stands for the values, and the values in each of the N files.

    Raises:
        BadInput: some files are no images, are JPEGs, are transparent in parts or have more than 256 colours.
    """
    values = np.zeros((len(pictures), side, side), np.uint8)

    def decode(index: int) -> MaskFile:
        values[index], file = _decode(pictures[index], side)
        return file

    files, broken = decode_each(pictures, range(len(pictures)), decode)
    if broken:
        faults = {index: why or "a text file" for index, why in broken.items()}
        raise bad_files(unreadable(pictures, faults, "a mask"))
    return values, [files[index] for index in sorted(files)]


def _decode(picture: Picture, side: int) -> tuple[Images, MaskFile]:
    from PIL import Image, ImageOps

    with opened(picture) as image, room_for(image):
        if image.format in ("JPEG", "MPO"):
            raise ValueError(f"it is a JPEG: {SMOOTHED}")
        turned = upright(image)
        in_colours = turned.mode in ("RGB", "RGBA", "LA")
        values, number, colour = _colour_values(turned) if in_colours else _number_values(turned)
        # squares of 2x2 pixels of one value, by their last pixel
        same = values[1:] == values[:-1]
        solid = same[:, 1:] & same[:, :-1] & (values[1:, 1:] == values[1:, :-1])
        pixels, blocks = (np.bincount(some, minlength=256) for some in (values.reshape(-1), values[1:, 1:][solid]))
        held = np.flatnonzero(pixels)
        square = ImageOps.fit(Image.fromarray(values), (side, side), Image.Resampling.NEAREST)
        file = MaskFile(held, number[held], colour[held], pixels[held], blocks[held], turned.mode == "P")
        return np.asarray(square), file


def _number_values(image: "PillowImage") -> tuple[Images, Array, Array]:
    """(H, W) numbers; the number and the colour of each of the values 0 .. 255."""
    if image.mode not in ("1", "L", "P", "F") and not image.mode.startswith("I"):
        raise ValueError(f"its pixels are of the kind {image.mode}; save masks as grey, palette or RGB PNG")
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    plain = values.astype(np.uint8)
    if (plain != values).any():
        raise ValueError(f"its values go from {values.min()} to {values.max()}; classes are whole numbers, 0 to 255")
    colour = np.arange(256) * 0x010101
    if image.mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3)
        colour[: len(palette)] = _packed(palette)
    return plain, np.arange(256), colour


def _colour_values(image: "PillowImage") -> tuple[Images, Array, Array]:
    """(H, W) indices of colours in the order of their codes; the number and the colour of each index."""
    if "A" in image.mode and image.getchannel("A").getextrema() != (255, 255):
        raise ValueError("it is transparent in parts; save masks without transparency")
    rgb = image.convert("RGB")
    counted = rgb.getcolors(256)
    if counted is None:
        raise ValueError(f"it has more than 256 colours: {SMOOTHED}")
    colour = np.sort(_packed(np.array([channels for _, channels in counted])))
    index = np.zeros(2**24, np.uint8)
    index[colour] = np.arange(len(colour))
    return index[_packed(np.asarray(rgb))], np.where(colour % 0x010101 == 0, colour & 255, -1), colour


def _packed(rgb: Array) -> Array:
    """(..., 3) -> (...) 0xRRGGBB"""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    packed: Array = (red << 16) | (green << 8) | blue
    return packed


Meaning = tuple[tuple[str, ...], Mapping[int, int], list[str]]
"""The classes' names, a file's number or colour -> its class, and notes."""


def as_classes(
    masks: Images,
    files: Sequence[MaskFile],
    paths: Sequence[Path],
    names: tuple[str, ...] | None,
    colours: Mapping[str, str] | None,
    top: Path,
) -> tuple[Images, tuple[str, ...], list[str]]:
    """The number of a class or VOID for each pixel, the classes' names, and notes.

    Values are numbers of classes in grey and palette images, and in RGB images if all their colours are grey. If they
    are evenly spread from 0 to 255 (0 and 255; 0, 128 and 255), they are grey levels, and the classes are their ranks.
    If a file has another colour, or the palettes contradict each other, all files are read by their colours.

    Args:
        masks, files: as `decode_masks` returns them.
        paths: of the files.
        names: of the classes by number; None to name them by their numbers.
        colours: name -> "#rrggbb" in the order of the numbers; "void" names the colour of pixels of no class.
        top: of all files, for messages.

    Raises:
        BadInput: the edges of the masks were smoothed, a value is of no class, or there are fewer than two classes.
    """
    by_colour = colours is not None or _have_colours(files)
    values = [file.colour if by_colour else file.number for file in files]
    _check_edges(files, values, paths)
    every = sorted({value for some in values for value in some.tolist()})
    classes, number, notes = _by_colour(every, names, colours, top) if by_colour else _by_number(every, names, top)
    decoded = np.empty_like(masks)
    for path, file, some, mask, target in zip(paths, files, values, masks, decoded, strict=True):
        if strange := [value for value in some.tolist() if value not in number]:
            raise bad_files(
                f"{path} has the colour {_code(strange[0])}, which data.colours does not name; add it, as {VOID_NAME} "
                "if it is no class"
                if by_colour
                else f"{path} has the number {strange[0]}, but the {len(classes)} classes are numbered from 0; only "
                f"{VOID} is void"
            )
        table = np.zeros(256, np.uint8)
        table[file.stored] = [number[value] for value in some.tolist()]
        target[:] = table[mask]
    used = {number[value] for value in every}
    if unused := [name for index, name in enumerate(classes) if index not in used]:
        more = ", ..." if len(unused) > 5 else ""
        notes = [*notes, f"classes without a pixel ({len(unused)}): {', '.join(unused[:5])}{more}"]
    return decoded, classes, notes


def _have_colours(files: Sequence[MaskFile]) -> bool:
    if any((file.number < 0).any() for file in files):
        return True
    entries = {pair for f in files if f.palette for pair in zip(f.number.tolist(), f.colour.tolist(), strict=True)}
    return len(entries) > len({number for number, _ in entries})


def _by_number(every: list[int], names: tuple[str, ...] | None, top: Path) -> Meaning:
    count = len(every)
    spread = 2 <= count <= MOST_LEVELS and np.abs(np.array(every) - np.linspace(0, VOID, count)).max() <= 1
    if spread and (names is None or len(names) == count):
        levels, ranks = ", ".join(map(str, every)), ", ".join(map(str, range(count)))
        note = f"the grey levels {levels} in the masks are the classes {ranks}; none is void"
        return names or tuple(map(str, range(count))), {value: rank for rank, value in enumerate(every)}, [note]
    known = [value for value in every if value != VOID]
    if len(known) < 2:
        void = f" and {VOID}, which is void" * (VOID in every)
        raise bad_files(
            f"the masks in {top} have only {', '.join(map(str, known)) or 'no class'}{void}; "
            "at least 2 classes are needed"
        )
    classes = names or tuple(map(str, range(known[-1] + 1)))
    return classes, {**{number: number for number in range(len(classes))}, VOID: VOID}, []


def _by_colour(
    every: list[int], names: tuple[str, ...] | None, colours: Mapping[str, str] | None, top: Path
) -> Meaning:
    if colours is not None:
        classes = tuple(name for name in colours if name != VOID_NAME)
        numbers = {name: number for number, name in enumerate(classes)}
        return classes, {int(code[1:], 16): numbers.get(name, VOID) for name, code in colours.items()}, []
    listed = ", ".join(map(_code, every[:8])) + (", ..." if len(every) > 8 else "")
    if names is not None:
        raise bad_files(
            f"the masks in {top} are in colours ({listed}), which classes.txt does not name; remove it and "
            """name them as in --set 'data.colours={road: "#804080", sky: "#4682b4"}'"""
        )
    if not 2 <= len(every) <= VOID:
        raise bad_files(f"the masks in {top} have {len(every)} colours ({listed}); allowed are 2 to {VOID}")
    note = f"masks in {len(every)} colours, numbered from 0: {listed}; data.colours names them and says which is void"
    return tuple(map(_code, every)), {value: number for number, value in enumerate(every)}, [note]


def _code(colour: int) -> str:
    return f"#{colour:06x}"


def _check_edges(files: Sequence[MaskFile], values: Sequence[Array], paths: Sequence[Path]) -> None:
    """Raises BadInput if too many values occur only at edges and lie between those of the classes.

    Too many are 8 in one file, since a small file may have a few regions that are one pixel wide, or 3 in all files
    together.
    """
    every, inverse = np.unique(np.concatenate(values), return_inverse=True)
    counts = [
        np.bincount(inverse, np.concatenate([getattr(file, part) for file in files])) for part in ("pixels", "blocks")
    ]
    smoothed = (_count_mixed(some, file.pixels, file.blocks) >= 8 for file, some in zip(files, values, strict=True))
    if _count_mixed(every, *counts) >= 3 or any(smoothed):
        count, path = max((len(some), path) for path, some in zip(paths, values, strict=True))
        raise bad_files(f"{path} has {count} values, most of them only at the edges of regions: {SMOOTHED}")


def _count_mixed(values: Array, pixels: Array, blocks: Array) -> int:
    """The number of values that occur only at edges and lie between the others; 0 if the others are more."""
    solid = blocks >= SOLID * pixels
    if not solid.any():
        return 0
    channels = np.stack([values >> 16, values >> 8, values]) & 255
    low, high = channels[:, solid].min(1, keepdims=True), channels[:, solid].max(1, keepdims=True)
    mixed = int((~solid & ((low <= channels) & (channels <= high)).all(0)).sum())
    return mixed if mixed >= solid.sum() else 0
