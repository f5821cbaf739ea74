"""Which images are in two splits at once, or have two labels: the same pixels, byte for byte."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, has_classes

NAMED = 3
"""Images with several labels are named up to this number."""


def marks(inputs: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N,) int64, a hash of each image's pixels."""
    pixels = inputs.contiguous().flatten(1).numpy()
    hashes = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in pixels)
    return torch.frombuffer(bytearray(hashes), dtype=torch.int64)


def shared(train: Tensor, other: Tensor) -> int:
    """How many images of the other split are among the training images too, by their marks."""
    return int(np.isin(other.numpy(), train.numpy()).sum())


def conflicts(source: Source) -> str:
    """How many images have several classes and the first of them, in words; empty if there are none."""
    if not all(has_classes(part.targets) for part in source.splits.values()):
        return ""
    marked = np.concatenate([marks.numpy() for marks in source.marks.values()])
    labels = np.concatenate([part.targets.numpy() for part in source.splits.values()])
    different, counts = np.unique(np.unique(np.stack([marked, labels]), axis=1)[0], return_counts=True)
    wrong = np.flatnonzero(np.isin(marked, different[counts > 1]))
    if not len(wrong):
        return ""
    names = [
        name
        for split, part in source.splits.items()
        for name in source.names.get(split) or [f"image {index} of {split}" for index in range(len(part))]
    ]
    first = [
        " and ".join(f"{names[i]} ({source.classes[labels[i]]})" for i in wrong[marked[wrong] == mark][:NAMED])
        for mark in list(dict.fromkeys(marked[wrong].tolist()))[:NAMED]
    ]
    many = int((counts > 1).sum())
    return f"{many:,} image{'s' * (many > 1)} with several labels: {'; '.join(first)}{'; ...' * (many > NAMED)}"
