"""Stratified splits: each part has the classes in the same shares, as near as whole images allow."""

import torch
from torch import Tensor

from cnnlab.seeds import derive


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """A seeded order of all images in which every beginning has the classes in about their shares.

    Args:
        labels: (N,) int64.

    Returns:
        (N,) int64, a permutation; a function of the labels and the seed alone.
    """
    by_class, rank, counts = _ranks(labels, derive(seed, "subset"))
    # an image's place is its rank as a share of its class
    return by_class[torch.argsort((rank.double() + 0.5) / counts, stable=True)]


def hold_out(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that stay and of those held out, both ascending.

    Of a class with n images round(n * fraction) are held out, but at least one, and at least one stays (where n > 1).
    A function of the labels, the fraction and the seed alone.
    """
    by_class, rank, counts = _ranks(labels, derive(seed, "split"))
    taken = torch.minimum((counts * fraction).round().clamp(min=1), counts - 1)
    out = rank < taken
    return by_class[~out].sort().values, by_class[out].sort().values


def _ranks(labels: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """All images ordered by class, shuffled within each; each one's rank in its class, and the size of its class."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    sizes = torch.bincount(labels)
    own = labels[by_class]
    return by_class, torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[own], sizes[own]
