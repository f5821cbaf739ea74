"""The idx format of LeCun's MNIST page: an array of bytes behind its sizes; one's own sets of such files."""

import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, Split
from cnnlab.data.kinds import Unpacked, check_unpacked, is_gzip, odd_kind
from cnnlab.data.labels import numbered
from cnnlab.data.listing import shown
from cnnlab.data.names import SPLITS, split_named
from cnnlab.errors import BadInput

MOST = 8
"""Dimensions of an array that is still read."""
AGAIN = "remove it, and get it again"

_NAME = re.compile(r"(?P<set>.*?)(?P<split>[a-z0-9]+)[-_.](?P<what>images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?", re.I)
""""emnist-letters-train-images-idx3-ubyte.gz", "t10k-labels.idx1-ubyte"."""

IdxSet = dict[tuple[str, str], Path]
"""(split, "images" or "labels") -> its file."""


def idx_sets(paths: list[Path]) -> dict[str, IdxSet]:
    """The sets among these files by the beginnings of their names; of a plain set that is empty.

    Raises:
        BadInput: two files for the same.
    """
    sets: dict[str, IdxSet] = {}
    for path in paths:
        if match := _NAME.fullmatch(path.name):
            split = "test" if match["split"].lower() == "t10k" else split_named(match["split"])
            files = sets.setdefault(match["set"].rstrip("-_."), {})
            if split and (twin := files.setdefault((split, match["what"].lower()), path)) != path:
                raise BadInput(f"data.root: {twin} and {path} mean the same; remove one")
    return {name: files for name, files in sets.items() if {("train", "images"), ("train", "labels")} <= files.keys()}


def read_idx_files(name: str, files: IdxSet, mapping: Path | None = None) -> Source:
    """One's own set, (N, 1, H, W).

    Args:
        name: EMNIST's (Cohen et al. 2017) have rows and columns exchanged, and are turned.
        files: of `idx_sets`.
        mapping: EMNIST's file of lines "label code code", whose first code is the character that the class is.

    Raises:
        BadInput: naming the file that is wrong.
    """
    splits = {
        split: read_idx_pair(files[split, "images"], files[split, "labels"])
        for split in SPLITS
        if (split, "images") in files and (split, "labels") in files
    }
    names = _characters(mapping) if mapping else {}
    classes, targets = numbered(
        {split: part.targets.numpy() for split, part in splits.items()},
        files["train", "labels"],
        lambda value: names.get(value, str(value)),
    )
    turned = name.lower().startswith("emnist")
    return Source(
        classes=classes,
        splits={
            split: Split((part.inputs.mT if turned else part.inputs).contiguous(), targets[split])
            for split, part in splits.items()
        },
        origin=shown(str(files["train", "images"].parent.resolve())),
        notes=("EMNIST's images are stored with rows and columns exchanged; they were turned upright",) * turned,
    )


def _characters(mapping: Path) -> dict[int, str]:
    try:
        lines = [line.split() for line in mapping.read_text().splitlines() if line.strip()]
        return {int(line[0]): chr(int(line[1])) for line in lines}
    except (OSError, ValueError, LookupError) as error:
        raise BadInput(f"data.root: {mapping} is not a mapping of labels to characters ({error})") from None


def read_idx_pair(images: Path, labels: Path) -> Split:
    """Images (N, 1, H, W) and their labels, from two files.

    Raises:
        BadInput: naming the file that is no idx file, has other dimensions, no images, or fewer labels than images.
    """
    pixels, targets = _read(images, 3, "images"), _read(labels, 1, "labels")
    if not pixels.numel():
        raise BadInput(f"data.root: {images} has no images; {AGAIN}")
    if len(pixels) != len(targets):
        raise BadInput(f"data.root: {labels} has {len(targets):,} labels for the {len(pixels):,} images in {images}")
    return Split(pixels.unsqueeze(1), targets.long())


def _read(path: Path, dimensions: int, what: str) -> Tensor:
    array = read_idx(path)
    if array.dim() != dimensions:
        raise BadInput(f"data.root: {path} has {array.dim()} dimensions; {what} have {dimensions}")
    return array


def read_idx(path: Path) -> Tensor:
    """An array of bytes, packed by gzip or not. Raises BadInput for anything else."""
    try:
        with Unpacked(path) if is_gzip(path) else path.open("rb") as file:
            # two zero bytes, the type (8: unsigned byte), the number of dimensions, then each size as big-endian int32
            head = file.read(4)
            dimensions = head[3] if len(head) == 4 and head[:3] == b"\0\0\x08" else 0
            sizes = file.read(4 * dimensions)
            if not 1 <= dimensions <= MOST or len(sizes) < 4 * dimensions:
                raise _not_idx(path)
            shape = np.frombuffer(sizes, ">i4").tolist()
            check_unpacked(path, math.prod(shape))
            data = file.read(math.prod(shape) + 1) if min(shape) > 0 else b""
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"data.root: {path} cannot be read ({error}); {AGAIN}") from None
    if len(data) != math.prod(shape):
        raise _not_idx(path)
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())


def _not_idx(path: Path) -> BadInput:
    kind = odd_kind(path)
    return BadInput(f"data.root: {path} is {f'{kind}, not an' if kind else 'not a whole'} idx file; {AGAIN}")
