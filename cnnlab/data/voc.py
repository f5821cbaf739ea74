"""PASCAL VOC 2012's segmentation (Everingham et al. 2010) from the files of its archive."""

from functools import partial
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.layouts import Found
from cnnlab.data.masks import Pair, read_pairs
from cnnlab.errors import BadInput

FOLDER = Path("VOCdevkit", "VOC2012")
"""As the archive has it."""
LISTS = {"train": "train.txt", "test": "val.txt"}
"""The masks of VOC's own test images are not public, so what is published as val is the test here."""

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def voc_is_here(root: Path) -> bool:
    return _list(root, "train").exists()


def find_voc(config: DataConfig, root: Path) -> Found:
    """The images that the lists name, with their masks; 255 is void: outlines and what is too hard to tell.

    Raises:
        BadInput: a list is missing or empty, or names a file that is not there.
    """
    pairs = {split: _pairs(root, split) for split in LISTS}
    files = [_list(root, split) for split in LISTS] + [
        path for some in pairs.values() for pair in some for path in pair
    ]
    return Found(files, partial(read_pairs, pairs, CLASSES, root / FOLDER, config), "voc2012")


def _list(root: Path, split: str) -> Path:
    return root / FOLDER / "ImageSets" / "Segmentation" / LISTS[split]


def _pairs(root: Path, split: str) -> list[Pair]:
    path = _list(root, split)
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"data.root: {path} cannot be read ({error}); unpack VOC's archive again") from None
    folder = root / FOLDER
    pairs = [Pair(folder / "JPEGImages" / f"{n}.jpg", folder / "SegmentationClass" / f"{n}.png") for n in names]
    if not pairs:
        raise BadInput(f"data.root: {path} is empty; unpack VOC's archive again")
    for pair in pairs:
        for file in pair:
            if not file.exists():
                raise BadInput(f"data.root: {file} is not there, though {path} names it; unpack VOC's archive again")
    return pairs
