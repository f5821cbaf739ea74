"""One's own images: a folder a class, of any size."""

import logging
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
import torch

from cnnlab.data.dataset import Source, Split
from cnnlab.data.places import data_root
from cnnlab.errors import BadInput

Images: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

log = logging.getLogger("cnnlab")

DEFAULT_SIDE = 64
SPLITS = ("train", "val", "test")


def list_images(root: str | None) -> dict[str, dict[str, list[Path]]]:
    """Split -> class (the folder's name) -> its files, in the order of their names; hidden files are left out.

    The splits are the folders train, val and test where there is a train, else the one split "train" is the root.

    Raises:
        BadInput: no root, no class folders, one that is empty or cannot be read, or that one split has not got.
    """
    if not root:
        raise BadInput("data.root: the dataset folder needs --data-root, a folder with one subfolder of images a class")
    top = data_root(root)
    if not top.is_dir():
        raise BadInput(f"data.root: {root} is not a folder; give one with a subfolder of images for each class")
    found = {name: top / name for name in SPLITS if (top / name).is_dir()}
    splits = found if "train" in found else {"train": top}
    listing = {name: _classes(folder) for name, folder in splits.items()}
    for name, classes in listing.items():
        _check_classes(top, name, set(classes), set(listing["train"]))
    return listing


def _classes(folder: Path) -> dict[str, list[Path]]:
    classes = {}
    try:
        names = os.listdir(folder)
    except OSError as error:
        _refuse(error)
    for entry in sorted(folder / name for name in names if not name.startswith(".")):
        if entry.is_symlink() and not entry.exists():
            raise BadInput(f"data.root: {entry} is a link to nothing; mend it or remove it")
        if entry.is_dir():
            files = _files(entry)
            if not files:
                raise BadInput(f"data.root: the class {entry} has no images; put some in or remove the folder")
            classes[entry.name] = files
    if len(classes) < 2:
        raise BadInput(f"data.root: {folder} has {len(classes)} class folders; at least 2 are needed, one a class")
    return classes


def _files(folder: Path) -> list[Path]:
    """Whatever lies in it, at any depth, and is no folder: links to nothing too, for `_decode` to name."""
    found = os.walk(folder, onerror=_refuse)
    return sorted(Path(top, name) for top, _, names in found for name in names if not name.startswith("."))


def _refuse(error: OSError) -> NoReturn:
    raise BadInput(f"data.root: {error.filename} cannot be read ({error.strerror})")


def _check_classes(top: Path, split: str, here: set[str], in_train: set[str]) -> None:
    if missing := sorted(in_train - here):
        raise BadInput(f"data.root: {top / split} has no class {missing[0]}, which {top / 'train'} has")
    if extra := sorted(here - in_train):
        raise BadInput(f"data.root: {top / split} has a class {extra[0]}, which {top / 'train'} has not")


def read_folder(listing: dict[str, dict[str, list[Path]]], root: str, side: int, skip_broken: bool) -> Source:
    """Decode every image to (3, side, side): shorter side scaled, centre kept, turned as its EXIF says.

    Raises:
        BadInput: naming a file that is no image (unless skip_broken), or a class of which nothing is left.
    """
    classes = tuple(listing["train"])
    splits, skipped = {}, 0
    for name, by_class in listing.items():
        files = [path for label in classes for path in by_class[label]]
        labels = np.repeat(np.arange(len(classes)), [len(by_class[label]) for label in classes])
        images, good = _decode_all(files, side, skip_broken)
        skipped += int((~good).sum())
        splits[name] = Split(torch.from_numpy(images[good]), torch.from_numpy(labels[good]))
        if empty := sorted(set(range(len(classes))) - set(labels[good].tolist())):
            raise BadInput(f"data.root: the class {_shown(classes[empty[0]])} of {name} has no file that is an image")
    if skipped:
        log.warning("%d files below %s are no images and were skipped", skipped, root)
    return Source(tuple(map(_shown, classes)), splits, origin=_shown(str(data_root(root).resolve())), skipped=skipped)


def _shown(name: str) -> str:
    """A file's name as text: of bytes that are no UTF-8 it has the numbers."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _decode_all(files: Sequence[Path], side: int, skip_broken: bool) -> tuple[Images, Mask]:
    """(N, 3, side, side) and which of them are images."""
    images = np.zeros((len(files), 3, side, side), np.uint8)
    good = np.ones(len(files), bool)

    def decode(index: int) -> None:
        try:
            images[index] = _decode(files[index], side)
        except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
            if not skip_broken:
                raise BadInput(
                    f"data.root: {files[index]} is not an image that can be read ({' '.join(str(error).split())}); "
                    "remove it, or skip such files with --set data.skip_broken=true"
                ) from None
            good[index] = False

    # threads serve: Pillow releases the interpreter while it decodes and resizes
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # of large images and odd metadata: they were decoded
        for _ in pool.map(decode, range(len(files))):
            pass
    return images, good


def _decode(path: Path, side: int) -> Images:
    from PIL import Image, ImageOps

    if not path.is_file():  # a pipe would be waited for
        raise OSError("it is no file, or a link to nothing")
    with Image.open(path) as image:
        image.draft("RGB", (2 * side, 2 * side))  # JPEGs are decoded at a fraction of their size
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bits a pixel: Pillow's convert would clip all above 255 to white
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        upright = upright.convert("RGB")
        square = ImageOps.fit(upright, (side, side), Image.Resampling.BILINEAR)
        return np.moveaxis(np.asarray(square), 2, 0)
