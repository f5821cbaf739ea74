"""Seeded splits: where targets are classes, each part has them in the same shares, as near as whole images allow."""

import torch
from torch import Tensor

from cnnlab.data.dataset import has_classes
from cnnlab.seeds import derive


def stratified_order(targets: Tensor, seed: int) -> Tensor:
    """A seeded order of all images in which every beginning has the classes in about their shares.

    Args:
        targets: classes (N,) int64, or anything else of length N, for a plain random order.

    Returns:
        (N,) int64, a permutation; a function of the targets and the seed alone.
    """
    by_class, rank, counts = _ranks(targets, derive(seed, "subset"))
    # an image's place is its rank as a share of its class
    return by_class[torch.argsort((rank.double() + 0.5) / counts, stable=True)]


def hold_out(targets: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the images that stay and of those held out, both ascending.

    Of a class with n images round(n * fraction) are held out, but at least one, and at least one stays (where n > 1).
    Targets that are no classes count as one class. A function of the targets, the fraction and the seed alone.
    """
    by_class, rank, counts = _ranks(targets, derive(seed, "split"))
    taken = torch.minimum((counts * fraction).round().clamp(min=1), counts - 1)
    out = rank < taken
    return by_class[~out].sort().values, by_class[out].sort().values


def _ranks(targets: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """All images ordered by class, shuffled within each; each one's rank in its class, and the size of its class."""
    labels = targets if has_classes(targets) else torch.zeros(len(targets), dtype=torch.int64)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    sizes = torch.bincount(labels)
    own = labels[by_class]
    return by_class, torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[own], sizes[own]
