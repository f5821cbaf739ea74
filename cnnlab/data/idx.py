"""The idx format of LeCun's MNIST page: an array of bytes behind its sizes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Split
from cnnlab.data.kinds import content, odd_kind
from cnnlab.errors import BadInput

MOST = 8
"""Dimensions of an array that is still read."""
AGAIN = "remove it, and it is downloaded again"


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
    data = content(path)
    # two zero bytes, the type (8: unsigned byte), the number of dimensions, then each size as a big-endian int32
    dimensions = data[3] if len(data) > 3 and data[:3] == b"\0\0\x08" else 0
    begins = 4 + 4 * dimensions
    if not 1 <= dimensions <= MOST or len(data) < begins:
        raise _not_idx(path)
    shape = np.frombuffer(data, ">i4", dimensions, offset=4).astype(np.int64)
    if (shape < 0).any() or len(data) != begins + shape.prod():
        raise _not_idx(path)
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=begins).reshape(shape).copy())


def _not_idx(path: Path) -> BadInput:
    kind = odd_kind(path)
    return BadInput(f"data.root: {path} is {f'{kind}, not an' if kind else 'not a whole'} idx file; {AGAIN}")
